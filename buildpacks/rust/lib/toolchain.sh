# shellcheck shell=sh
# Which Rust the app wants, and where it comes from.

# Prints the channel of rust-toolchain.toml or rust-toolchain, "" where there is none.
wanted_channel() {
    for file in rust-toolchain.toml rust-toolchain; do
        [ -f "$file" ] || continue
        channel=$(sed -n 's/^[[:space:]]*channel[[:space:]]*=[[:space:]]*["'"'"']\([^"'"'"']*\)["'"'"'].*/\1/p' "$file" | head -n 1)
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
    # rustup is many programs in one, and goes by the name it is called by.
    installer=$(mktemp -d)/rustup-init
    url=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init
    # Where toolchains are at hand, rustup itself looks there only.
    at_hand=${LATHE_MIRROR:-/nonexistent}/static.rust-lang.org
    [ ! -d "$at_hand" ] || export RUSTUP_DIST_SERVER="file://$at_hand"
    if [ -x "$CARGO_HOME/bin/rustup" ] || {
        sum=$(fetch_text "$url.sha256") && fetch_checked "$url" "$installer" "${sum%% *}" && chmod +x "$installer" &&
            run "$installer" -y --no-modify-path --profile minimal --default-toolchain none
    }; then
        run rustup toolchain install --profile minimal "$1" && rm -rf "${installer%/*}" && return 0
    fi
    rm -rf "${installer%/*}"
    fail "Rust $1 is not available here; the build has Rust ${2:-none}." \
        "Ask for ${2:-another version} in rust-toolchain.toml, or make static.rust-lang.org reachable."
}
