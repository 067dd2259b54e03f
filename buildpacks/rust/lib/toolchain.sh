# shellcheck shell=sh
# Which Rust the app wants, and where it comes from.

# Prints the channel of rust-toolchain.toml or rust-toolchain, "" where there is none.
wanted_channel() {
    for file in rust-toolchain.toml rust-toolchain; do
        [ -f "$file" ] || continue
        channel=$(sed -n 's/^[[:space:]]*channel[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$file" | head -n 1)
        [ -n "$channel" ] || grep -q '=' "$file" || channel=$(head -n 1 "$file" | tr -d '[:space:]')
        echo "$channel"
        return
    done
}

# Takes the toolchain on PATH where it is the wanted one, and asks rustup for any other.
choose_toolchain() {
    wanted=$(wanted_channel)
    # A rustup on PATH would obey the file before we can say whether it may.
    there=$(cd / && rustc --version 2> /dev/null | cut -d ' ' -f 2) || there=
    case ${wanted:-any} in
    any | stable) fits=${there:+yes} ;;
    "$there" | "${there%.*}") fits=yes ;;
    *) fits= ;;
    esac
    if [ -n "$fits" ]; then
        step "Using Rust $there"
        # Where a rustup stands behind these programs: only the version counts here. Components and
        # targets in the file are for a developer's machine, and may not be installable.
        if command -v rustup > /dev/null; then
            RUSTUP_TOOLCHAIN=$(cd / && rustup show active-toolchain | cut -d ' ' -f 1)
            export RUSTUP_TOOLCHAIN
        fi
        return
    fi
    rustup_toolchain "${wanted:-stable}" "$there"
}

rustup_toolchain() {
    step "Installing Rust $1"
    expr "x$1" : 'x[a-z0-9.-]*$' > /dev/null || fail "'$1' is no Rust toolchain."
    export RUSTUP_HOME="$CACHE_DIR/rustup" PATH="$CARGO_HOME/bin:$PATH"
    unset RUSTUP_TOOLCHAIN
    installer=$(mktemp)
    url=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init
    if [ -x "$CARGO_HOME/bin/rustup" ] || {
        curl -fsS --connect-timeout 5 --max-time 60 -o "$installer" "$url" 2> /dev/null && chmod +x "$installer" &&
            run "$installer" -y --no-modify-path --profile minimal --default-toolchain none
    }; then
        run rustup toolchain install --profile minimal "$1" && rm -f "$installer" && return 0
    fi
    rm -f "$installer"
    fail "Rust $1 is not available here; the build has Rust ${2:-none}." \
        "Ask for ${2:-another version} in rust-toolchain.toml, or make static.rust-lang.org reachable."
}
