# shellcheck shell=sh
# Which Go the app wants.
DEFAULT_GO=1.25

# Prints a version as 1.25 or 1.25.5: what the config var GOVERSION says, or go.mod's comment for
# Heroku, its toolchain line or its go line, in that order (Heroku Dev Center, "Go Dependencies via
# Go Modules"). The go line names the least version (Go Modules Reference, "go directive"), which a
# + says: 1.14+ is 1.14 where that can be had, and a later one elsewhere.
wanted_go() {
    asked=${GOVERSION:-}
    [ -n "$asked" ] || asked=$(sed -n 's|^//[[:space:]]*+heroku[[:space:]]\{1,\}goVersion[[:space:]]\{1,\}||p' go.mod | head -n 1)
    [ -n "$asked" ] || asked=$(directive toolchain)
    least=
    if [ -z "$asked" ] || [ "$asked" = default ]; then
        asked=$(directive go)
        least=+
    fi
    asked=$(echo "${asked:-$DEFAULT_GO}" | tr -d '[:space:]')
    asked=${asked#go}
    echo "$asked" | grep -Eqx '1\.[0-9]{1,3}(\.[0-9]{1,3})?' ||
        fail "go.mod asks for Go '$asked', which is not a version." "Write one as 1.25 or 1.25.5."
    echo "$asked$least"
}

# Prints what a line of go.mod says: `directive toolchain`.
directive() {
    sed -n "s/^$1[[:space:]]\{1,\}\([^[:space:]]*\).*/\1/p" go.mod | head -n 1
}
