# shellcheck shell=sh
# Gets Node.js: from the cache, from nodejs.org where that answers quickly, from the registry elsewhere.
case $(uname -m) in
aarch64) ARCH=arm64 ;;
*) ARCH=x64 ;;
esac

install_node() {
    step "Installing Node.js"
    version=$(wanted_node)
    [ -n "$version" ] || fail "No version of Node.js fits engines.node '$(field engines.node)'." \
        "Ask for one in package.json, as in \"engines\": {\"node\": \"22.x\"}."
    kept=$CACHE_DIR/nodejs/$version-$ARCH-npm$(npm_of "$version")
    if [ ! -x "$kept/bin/node" ]; then
        # Only the version in use is kept.
        rm -rf "${CACHE_DIR:?}"/nodejs/*
        official_node "$version" "$kept.new" || registry_node "$version" "$kept.new" ||
            fail "Node.js $version could not be found, neither at nodejs.org nor in the registry."
        mv "$kept.new" "$kept"
    fi
    cp -a "$kept/." "$NODE_HOME/"
    wanted_npm=$(field engines.npm)
    if [ -n "$wanted_npm" ]; then
        "$NODE_HOME/bin/node" "$NODE_HOME/lib/node_modules/npm/bin/npm-cli.js" install --silent --global \
            --prefix "$NODE_HOME" "npm@$wanted_npm" || fail "npm $wanted_npm could not be installed."
    fi
    echo "       Node.js $("$NODE_HOME/bin/node" --version), npm $(PATH="$NODE_HOME/bin:$PATH" npm --version)"
}

official_node() {
    name=node-v$1-linux-$ARCH
    url=https://nodejs.org/dist/v$1
    rm -rf "$2" && mkdir -p "$2"
    sums=$(fetch_text "$url/SHASUMS256.txt") || return 1
    sum=$(echo "$sums" | sed -n "s/  $name.tar.gz\$//p")
    [ -n "$sum" ] || return 1
    echo "       Downloading from nodejs.org"
    fetch_checked "$url/$name.tar.gz" "$2.tgz" "$sum" || return 1
    tar -xzf "$2.tgz" --strip-components=1 --no-same-owner -C "$2"
    rm -rf "$2.tgz" "$2/share" "$2"/*.md
}

# node alone is the package node-linux-ARCH; the npm that came with it is a package, too. Packages of
# old versions hold the official archive instead, which has both.
registry_node() {
    rm -rf "$2" && mkdir -p "$2/lib/node_modules" "$2/bin"
    unpack_package "node-linux-$ARCH@$1" "$2/unpacked" || return 1
    for archive in "$2"/unpacked/node-v*.tar.gz; do
        [ ! -f "$archive" ] || tar -xzf "$archive" --strip-components=1 --no-same-owner -C "$2/unpacked"
    done
    mv "$2/unpacked/bin/node" "$2/bin/node" || return 1
    chmod +x "$2/bin/node"
    if [ -d "$2/unpacked/lib/node_modules/npm" ]; then
        mv "$2/unpacked/lib/node_modules/npm" "$2/lib/node_modules/npm"
    else
        unpack_package "npm@$(npm_of "$1")" "$2/lib/node_modules/npm" || return 1
    fi
    rm -rf "$2/unpacked"
    for program in npm npx; do
        [ -f "$2/lib/node_modules/npm/bin/$program-cli.js" ] || continue
        ln -s "../lib/node_modules/npm/bin/$program-cli.js" "$2/bin/$program"
        chmod +x "$2/lib/node_modules/npm/bin/$program-cli.js"
    done
    echo "       From the package registry"
}

# Which npm each Node.js brings; the last of its line is what nodejs.org ships with the last release.
npm_of() {
    major=${1%%.*}
    if [ "$major" -ge 24 ]; then
        echo 11
    elif [ "$major" -ge 18 ]; then
        echo 10
    elif [ "$major" -ge 16 ]; then
        echo 8
    elif [ "$major" -ge 8 ]; then
        echo 6
    elif [ "$major" -ge 6 ]; then
        echo 3
    else
        echo 2
    fi
}

# Downloads a package, checked by npm against the registry's checksum, and unpacks it to a folder.
unpack_package() {
    download=$(mktemp -d)
    archive=$(cd "$download" && npm pack --silent "$1" 2> /dev/null) || return 1
    mkdir -p "$2"
    tar -xzf "$download/$archive" --strip-components=1 --no-same-owner -C "$2"
    rm -rf "$download"
}
