# shellcheck shell=sh
# Gets Ruby into the slug: Debian's packages, made to work in another place, or a release of
# ruby-lang.org, compiled once and kept.
RUBY_PACKAGES="ruby ruby$DEBIAN_RUBY ruby$DEBIAN_RUBY-dev libruby$DEBIAN_RUBY ruby-rubygems rubygems-integration
    ruby-bundler ruby-webrick rake"

install_ruby() {
    rm -rf "$BUILD_DIR/.heroku/ruby" "$HOME/.heroku/ruby"
    mkdir -p "$BUILD_DIR/.heroku/ruby" "$HOME/.heroku"
    [ "$BUILD_DIR" = "$HOME" ] || ln -s "$BUILD_DIR/.heroku/ruby" "$HOME/.heroku/ruby"
    "place_$RUBY_SOURCE"
    echo "$RUBY_RELEASE" > "$BUILD_DIR/.heroku/ruby/version"
    detail "Ruby $RUBY_RELEASE"
}

place_debian() {
    detail "From Debian's packages"
    home=$BUILD_DIR/.heroku/ruby
    cp -a "$CACHE_DIR/debian/ruby/tree/usr/." "$home/"
    rm -rf "$home/share/doc" "$home/share/man" "$home/share/lintian" "$home"/lib/*/libruby-*-static.a
    # What is at its own place in Debian has to find its library and its interpreter in this one.
    # shellcheck disable=SC2016
    patchelf --set-rpath '$ORIGIN/../lib/'"$(uname -m)-linux-gnu" "$home/bin/ruby$DEBIAN_RUBY"
    for script in "$home"/bin/*; do
        [ -L "$script" ] || ! head -c 2 "$script" | grep -q '#!' ||
            sed -i '1s|^#!.*/ruby[0-9.]*|#!/usr/bin/env ruby|' "$script"
    done
}

place_official() {
    kept=$CACHE_DIR/ruby/$RUBY_RELEASE
    if [ ! -x "$kept/bin/ruby" ]; then
        # Only the release in use is kept.
        rm -rf "$CACHE_DIR"/ruby/[0-9]*
        compile_ruby "$kept"
    fi
    cp -a "$kept/." "$BUILD_DIR/.heroku/ruby/"
}

# Prints a version, the URL of its source and its SHA-256 a line.
official_releases() {
    fetch_text https://cache.ruby-lang.org/pub/ruby/index.txt |
        sed -n 's|^ruby-\([0-9.]*\)\t\(https://.*\.tar\.gz\)\t[0-9a-f]*\t\([0-9a-f]*\).*|\1 \2 \3|p'
}

compile_ruby() {
    detail "Compiling ruby-lang.org's source: this takes some minutes, once"
    room=$(mktemp -d)
    line=$(official_releases | grep "^$RUBY_RELEASE ")
    url=$(echo "$line" | cut -d ' ' -f 2)
    fetch_checked "$url" "$room/ruby.tar.gz" "${line##* }" || fail "Ruby could not be downloaded from $url."
    tar -xzf "$room/ruby.tar.gz" --strip-components=1 --no-same-owner -C "$room"
    (
        cd "$room"
        ./configure --prefix="$HOME/.heroku/ruby" --enable-load-relative --disable-install-doc > log 2>&1 &&
            make -j "$(nproc)" >> log 2>&1 && make install DESTDIR="$room/installed" >> log 2>&1
    ) || {
        tail -n 15 "$room/log" | indent
        fail "Ruby $RUBY_RELEASE could not be compiled."
    }
    mkdir -p "$(dirname "$1")"
    mv "$room/installed$HOME/.heroku/ruby" "$1"
    rm -rf "$room"
}
