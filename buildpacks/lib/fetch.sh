# shellcheck shell=sh
# Downloads: from the folder of downloads at hand ($LATHE_MIRROR), which has each under HOST/PATH of
# its URL, else from where it is published. A host that cannot be reached is given up soon.
FETCH_CONNECT_TIMEOUT_S=4
FETCH_TIMEOUT_S=300
FETCH_BYTES_MAX=1073741824
# For how long nobody asks whether there is a newer release of what the cache has.
FRESH_DAYS=7

# `fetch URL FILE`: silent, and fails where there is no such thing.
fetch() {
    at_hand=${LATHE_MIRROR:-/nonexistent}/${1#https://}
    if [ -f "$at_hand" ]; then
        cp "$at_hand" "$2"
        return
    fi
    curl --fail --silent --location --proto '=https' --globoff --retry 1 \
        --connect-timeout "$FETCH_CONNECT_TIMEOUT_S" --max-time "$FETCH_TIMEOUT_S" \
        --max-filesize "$FETCH_BYTES_MAX" --output "$2" -- "$1" 2> /dev/null
}

# `fetch_text URL`: prints a small text, such as a list of checksums.
fetch_text() {
    text_file=$(mktemp)
    if fetch "$1" "$text_file"; then
        cat "$text_file"
        rm -f "$text_file"
    else
        rm -f "$text_file"
        return 1
    fi
}

# `fetch_checked URL FILE SUM`: SHA-256 or SHA-512, as its length says. What is there but is not
# what was published ends the build.
fetch_checked() {
    fetch "$1" "$2" || return 1
    case ${#3} in
    64) program=sha256sum ;;
    128) program=sha512sum ;;
    *) fail "The checksum published for $1 is none." ;;
    esac
    echo "$3  $2" | "$program" --check --status ||
        fail "$1 is damaged: its checksum is not the published one." "Push again."
}

# Whether what the cache has was looked for lately: `is_fresh FILE`.
is_fresh() { [ -n "$(find "$1" -maxdepth 0 -mtime "-$FRESH_DAYS" 2> /dev/null)" ]; }
