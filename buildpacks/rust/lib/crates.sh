# shellcheck shell=sh
# Crates downloaded before, where the platform has them at hand: $LATHE_MIRROR/cargo is then a
# CARGO_HOME, as `cargo fetch` leaves it. Sources as they were published, nothing compiled.
take_crates_at_hand() {
    at_hand=${LATHE_MIRROR:-/nonexistent}/cargo/registry
    [ -d "$at_hand" ] && [ ! -e "$CARGO_HOME/registry" ] || return 0
    step "Taking crates that are at hand"
    mkdir -p "$CARGO_HOME/registry"
    cp -R "$at_hand/cache" "$at_hand/index" "$CARGO_HOME/registry/"
}
