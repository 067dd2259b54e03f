# shellcheck shell=sh
# Builds without a build tool: the sources of src/main/java, with the libraries in lib, become
# target/app.jar. It begins with the only class that has a main method.

build_with_javac() {
    step "Running javac"
    classes=$(mktemp -d)
    sources=$(mktemp)
    find src/main/java -name '*.java' | LC_ALL=C sort > "$sources"
    run javac -encoding UTF-8 -d "$classes" -cp 'lib/*' "@$sources" || fail "The app could not be compiled."
    [ ! -d src/main/resources ] || cp -a src/main/resources/. "$classes/"
    manifest=$(mktemp)
    write_manifest > "$manifest"
    mkdir -p target
    python3 "$BUILDPACK/lib/jar.py" "$classes" target/app.jar "$manifest"
    detail target/app.jar
    rm -rf "$classes" "$sources" "$manifest"
}

# Java Archive format, "JAR Manifest": a line goes on after a line break and one space.
write_manifest() {
    echo 'Manifest-Version: 1.0'
    begin=$(xargs grep -lE 'static void main\(' < "$sources" | sed 's|^src/main/java/||;s|\.java$||;s|/|.|g')
    if [ "$(echo "$begin" | wc -w)" -eq 1 ]; then
        echo "Main-Class: $begin"
    else
        warn "There is no class with a main method, or there are several: say in a Procfile how to start." >&2
    fi
    [ ! -d lib ] || find lib -name '*.jar' | LC_ALL=C sort | sed '1s|^|Class-Path:\n|;s|^lib/|  ../lib/|'
}
