# shellcheck shell=sh
# How a buildpack speaks to whoever pushed.
step() { echo "-----> $*"; }
detail() { echo "       $*"; }
warn() { for line in "$@"; do echo " !     $line"; done; }
indent() { sed -u 's/^/       /'; }

# Prints each argument as a line of an error, and ends the build.
fail() {
    warn "$@" >&2
    exit 1
}

# Runs a command with its output indented; a pipe alone would hide its exit status.
run() {
    status_file=$(mktemp)
    { "$@" 2>&1 || echo $? > "$status_file"; } | indent
    status=$(cat "$status_file")
    rm -f "$status_file"
    return "${status:-0}"
}

run_hook() {
    [ -f "$1" ] || return 0
    step "Running $1"
    chmod +x "$1"
    run "./$1" || fail "$1 failed with status $?."
}
