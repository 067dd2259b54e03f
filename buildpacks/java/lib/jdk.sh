# shellcheck shell=sh
# Gets a JDK into the cache: Debian's where that is the one wanted, else Amazon Corretto's, of which
# there is one of each line that still is supported.
DEBIAN_JAVA=17
case $(uname -m) in
aarch64) ARCH=aarch64 DEBIAN_ARCH=arm64 ;;
*) ARCH=x64 DEBIAN_ARCH=amd64 ;;
esac

# Prints what system.properties asks for, 17 or 17.0.9, or the default (Heroku Dev Center, "Customizing
# the JDK"): "openjdk-17" and "zulu-17" are 17, and 1.8 is 8.
wanted_java() {
    asked=$(sed -n 's/^[[:space:]]*java\.runtime\.version[[:space:]]*[=:][[:space:]]*//p' system.properties 2> /dev/null |
        tail -n 1 | tr -d '[:space:]')
    asked=${asked:-$DEBIAN_JAVA}
    version=$(echo "${asked##*-}" | sed 's/^1\.\([5-8]\)/\1/')
    echo "$version" | grep -Eqx '[0-9]{1,2}(\.[0-9]+){0,3}(_[0-9]+)?' ||
        fail "system.properties asks for Java '$asked', which is not a version." "Write one as 17 or 21."
    echo "$version"
}

# Sets JAVA_HOME.
install_jdk() {
    step "Installing Java"
    line=${1%%[._]*}
    if [ "$line" = "$DEBIAN_JAVA" ]; then
        debian_jdk "$1"
    else
        [ "$1" = "$line" ] || fail "Java $1 is not available here; of every line there is the latest release." \
            "Ask for $line in system.properties."
        corretto_jdk "$line"
    fi
    detail "$("$JAVA_HOME/bin/java" -version 2>&1 | sed -n '2s/.*(build \(.*\))/\1/p')"
}

debian_jdk() {
    debian_packages java "openjdk-$DEBIAN_JAVA-jdk-headless" "openjdk-$DEBIAN_JAVA-jre-headless"
    tree=$CACHE_DIR/debian/java/tree
    JAVA_HOME=$tree/usr/lib/jvm/java-$DEBIAN_JAVA-openjdk-$DEBIAN_ARCH
    release=$(sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$JAVA_HOME/release")
    case $release in
    "$1" | "$1".*) ;;
    *) fail "Java $1 is not available here; there is Java $release." "Ask for $DEBIAN_JAVA in system.properties." ;;
    esac
    # Debian keeps settings below /etc, which is another one here.
    find "$JAVA_HOME" -type l -lname '/etc/*' | while read -r link; do
        target=$tree$(readlink "$link")
        [ ! -e "$target" ] || cp --remove-destination "$target" "$link"
    done
}

corretto_jdk() {
    JAVA_HOME=$CACHE_DIR/java/corretto-$1
    ! is_fresh "$JAVA_HOME" || return 0
    name=amazon-corretto-$1-$ARCH-linux-jdk.tar.gz
    url=https://corretto.aws/downloads
    sum=$(fetch_text "$url/latest_sha256/$name") || {
        [ ! -d "$JAVA_HOME" ] || return 0
        fail "Java $1 is not available here; there is Java $DEBIAN_JAVA." \
            "Ask for $DEBIAN_JAVA in system.properties, or make corretto.aws reachable."
    }
    detail "Downloading from corretto.aws"
    rm -rf "$CACHE_DIR/java"
    mkdir -p "$JAVA_HOME"
    fetch_checked "$url/latest/$name" "$JAVA_HOME.tgz" "$(echo "$sum" | cut -c 1-64)" ||
        fail "Java $1 could not be downloaded from $url/latest/$name."
    tar -xzf "$JAVA_HOME.tgz" --strip-components=1 --no-same-owner -C "$JAVA_HOME"
    rm "$JAVA_HOME.tgz"
    touch "$JAVA_HOME"
}
