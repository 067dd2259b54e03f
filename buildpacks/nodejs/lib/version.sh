# shellcheck shell=sh
# Which Node.js the app wants.
DEFAULT_NODE=24.x

# Prints a value of package.json, "" where there is none: `field engines.node`. With the stack's own
# Node.js, as the app's is not there yet.
field() {
    node -e '
        const app = JSON.parse(require("fs").readFileSync("package.json", "utf8"));
        const value = process.argv[1].split(".").reduce((at, name) => at && at[name], app);
        process.stdout.write(value === undefined ? "" : String(value));
    ' "$1"
}

has_script() { [ -n "$(field "scripts.$1")" ]; }

check_source() {
    field name > /dev/null 2>&1 || fail "package.json is not valid JSON."
    locks=
    for lock in package-lock.json yarn.lock pnpm-lock.yaml; do
        [ ! -f "$lock" ] || locks="$locks $lock"
    done
    # shellcheck disable=SC2086
    set -- $locks
    [ $# -le 1 ] || fail "There are several lock files:$locks." \
        "Keep that of the package manager you use and remove the others."
}

# Prints the exact version that fits engines.node, .nvmrc or .node-version, in that order.
wanted_node() {
    asked=$(field engines.node)
    for file in .nvmrc .node-version; do
        [ -n "$asked" ] || [ ! -f "$file" ] || asked=$(tr -d '[:space:]' < "$file")
    done
    asked=${asked#v}
    case ${asked:-$DEFAULT_NODE} in
    lts* | node | stable | latest) asked=$DEFAULT_NODE ;;
    esac
    asked=${asked:-$DEFAULT_NODE}
    if expr "x$asked" : 'x[0-9]\{1,\}\.[0-9]\{1,\}\.[0-9]\{1,\}$' > /dev/null; then
        echo "$asked"
        return
    fi
    # The registry resolves a range as npm does. It knows each version of Node.js as a package.
    npm view "node-linux-$ARCH@$asked" version --json 2> /dev/null |
        tr -c '0-9.\n' '\n' | grep -x '[0-9]*\.[0-9]*\.[0-9]*' | sort -V | tail -n 1
}
