# shellcheck shell=sh
# Builds with Maven: the app's own wrapper, or the release below.
MAVEN_VERSION=3.9.11

build_with_maven() {
    if [ -f mvnw ]; then
        chmod +x mvnw
        maven=./mvnw
        export MAVEN_USER_HOME="$CACHE_DIR/maven/user"
    else
        install_maven
    fi
    set -- -B -DskipTests "-Dmaven.repo.local=$CACHE_DIR/maven/repository"
    [ ! -f "${MAVEN_SETTINGS_PATH:-settings.xml}" ] || set -- "$@" -s "${MAVEN_SETTINGS_PATH:-settings.xml}"
    # Words of settings, as in `clean package -Pproduction`.
    # shellcheck disable=SC2086
    set -- "$@" ${MAVEN_CUSTOM_OPTS:-} ${MAVEN_CUSTOM_GOALS:-clean package}
    step "Running $maven $*"
    run "$maven" "$@" || fail "Maven could not build the app."
}

install_maven() {
    maven=$CACHE_DIR/maven/$MAVEN_VERSION/bin/mvn
    [ ! -x "$maven" ] || return 0
    step "Installing Maven $MAVEN_VERSION"
    url=https://archive.apache.org/dist/maven/maven-3/$MAVEN_VERSION/binaries/apache-maven-$MAVEN_VERSION-bin.tar.gz
    archive=$(mktemp)
    { sum=$(fetch_text "$url.sha512") && fetch_checked "$url" "$archive" "$(echo "$sum" | cut -c 1-128)"; } ||
        fail "Maven $MAVEN_VERSION could not be downloaded from $url." \
            "Make archive.apache.org and Maven Central reachable, or do without pom.xml: javac builds src/main/java."
    mkdir -p "$CACHE_DIR/maven/$MAVEN_VERSION"
    tar -xzf "$archive" --strip-components=1 --no-same-owner -C "$CACHE_DIR/maven/$MAVEN_VERSION"
    rm "$archive"
}
