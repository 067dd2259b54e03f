# shellcheck shell=sh
# The Java runtime of the slug: all of the JDK's modules but its tools and what is not finished, and
# the certificates this build trusts.
LEFT_OUT='jdk\.(incubator\..*|hotspot\.agent|internal\.(ed|jvmstat|le|opt)|jartool|javadoc|jcmd|jconsole|jdeps|jdi|jlink|jpackage|jshell|jstatd|editpad)'

place_runtime() {
    runtime=$CACHE_DIR/java/runtime
    if ! cmp -s "$JAVA_HOME/release" "$runtime.of"; then
        rm -rf "$runtime"
        make_runtime
        trust "$runtime" "$JAVA_HOME"
        cp "$JAVA_HOME/release" "$runtime.of"
    fi
    rm -rf "$BUILD_DIR/.heroku/java"
    mkdir -p "$BUILD_DIR/.heroku"
    cp -a "$runtime" "$BUILD_DIR/.heroku/java"
}

make_runtime() {
    mkdir -p "$(dirname "$runtime")"
    if [ ! -x "$JAVA_HOME/bin/jlink" ]; then
        # Java 8 has its runtime as a folder.
        cp -a "$JAVA_HOME/jre" "$runtime"
        cp "$JAVA_HOME/release" "$runtime/release"
        return
    fi
    detail "Making a runtime of its modules"
    modules=$("$JAVA_HOME/bin/java" --list-modules | sed 's/@.*//' | grep -Evx "$LEFT_OUT" | paste -s -d ,)
    run "$JAVA_HOME/bin/jlink" --add-modules "$modules" --no-header-files --no-man-pages --strip-debug \
        --compress=2 --output "$runtime" || fail "jlink could not make a runtime."
}

# Java reads certificates from a file of its own kind.
trust() {
    classes=$(mktemp -d)
    "$JAVA_HOME/bin/javac" -d "$classes" "$BUILDPACK/lib/TrustStore.java"
    for home in "$@"; do
        rm -f "$home/lib/security/cacerts"
        "$JAVA_HOME/bin/java" -cp "$classes" TrustStore "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" \
            "$home/lib/security/cacerts" || fail "The certificates of this build could not be read."
    done
    rm -rf "$classes"
}
