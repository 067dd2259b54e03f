# shellcheck shell=sh
# Builds the main packages of the module.

build_packages() {
    packages=$(packages_wanted)
    [ -n "$packages" ] || fail "There is no main package in this module: nothing can be started."
    step "Running go install $(echo "$packages" | tr '\n' ' ')"
    mkdir -p "$GOBIN"
    before=$(programs)
    # Without what a checkout knows of git, the same source makes the same programs.
    # shellcheck disable=SC2086
    run go install -tags heroku -trimpath -buildvcs=false $packages || build_failed
    made=$(programs | grep -Fxv "${before:-/}") || made=
    echo "$made" > "$BUILD_DIR/.heroku/go/programs"
    for program in $made; do detail "bin/$program"; done
}

programs() { find "$GOBIN" -maxdepth 1 -type f -perm -100 -printf '%f\n' | LC_ALL=C sort; }

# Prints what the app says is to be built, or else every main package there is.
packages_wanted() {
    asked=${GO_INSTALL_PACKAGE_SPEC:-}
    [ -n "$asked" ] || asked=$(sed -n 's|^//[[:space:]]*+heroku[[:space:]]\{1,\}install[[:space:]]\{1,\}||p' go.mod | head -n 1)
    if [ -n "$asked" ]; then
        echo "$asked"
    else
        # -e: what is wrong with a package is told when it is built.
        said=$(mktemp)
        go list -e -find -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./... 2> "$said" || {
            indent < "$said" >&2
            build_failed
        }
    fi
}

build_failed() {
    [ -f vendor/modules.txt ] || [ ! -f go.sum ] ||
        fail "The app could not be built." \
            "If its modules could not be downloaded, commit them: go mod vendor"
    fail "The app could not be built."
}
