# shellcheck shell=sh
# Debian's packages as parts of a slug: downloaded and checked by apt, unpacked into a folder. Nothing
# is installed, so what a package depends on has to be named too, or be in the run stack.

# `debian_packages NAME PACKAGE...`: unpacked into $CACHE_DIR/debian/NAME/tree, and left there until
# Debian has newer ones. Where Debian cannot be reached, what the cache has will do.
debian_packages() {
    debian_room=$CACHE_DIR/debian/$1
    shift
    if is_fresh "$debian_room/have" && [ "$(cat "$debian_room/names")" = "$*" ]; then
        return 0
    fi
    mkdir -p "$debian_room" "$CACHE_DIR/debian/lists/partial"
    # A failed update may leave half of the lists: what they say is then asked no more.
    if ! apt_get update > "$CACHE_DIR/debian/log" 2>&1 ||
        ! apt_get download --print-uris "$@" > "$debian_room/wanted" 2> "$CACHE_DIR/debian/log"; then
        [ ! -d "$debian_room/tree" ] || return 0
        tail -n 2 "$CACHE_DIR/debian/log" | indent
        fail "Debian's packages could not be asked for." "Push again in a minute."
    fi
    cmp -s "$debian_room/wanted" "$debian_room/have" || renew_tree "$@"
    touch "$debian_room/have"
    # The lists are larger than most of what comes of them.
    rm -rf "$CACHE_DIR/debian/lists"
}

renew_tree() {
    rm -rf "$debian_room/tree" "$debian_room/have" "$debian_room/archives"
    mkdir -p "$debian_room/archives" "$debian_room/new"
    (cd "$debian_room/archives" && apt_get download "$@" > "$CACHE_DIR/debian/log" 2>&1) || {
        tail -n 2 "$CACHE_DIR/debian/log" | indent
        fail "Debian's packages could not be downloaded: $*" "Push again in a minute."
    }
    for archive in "$debian_room"/archives/*.deb; do
        dpkg-deb --extract "$archive" "$debian_room/new"
    done
    rm -rf "$debian_room/archives"
    mv "$debian_room/new" "$debian_room/tree"
    mv "$debian_room/wanted" "$debian_room/have"
    echo "$*" > "$debian_room/names"
}

# Prints the version of one of the packages last asked for, as Debian writes it.
debian_version() {
    sed -n "s/^'[^']*' $1_\([^_]*\)_.*/\1/p" "$debian_room/have" | sed 's/%3a/:/'
}

apt_get() {
    apt-get --quiet --option "Dir::State::Lists=$CACHE_DIR/debian/lists" \
        --option Dir::Cache::pkgcache= --option Dir::Cache::srcpkgcache= \
        --option Debug::NoLocking=true --option APT::Sandbox::User=root \
        --option Acquire::Retries=1 --option Acquire::http::Timeout=10 "$@"
}
