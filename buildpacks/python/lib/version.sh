# shellcheck shell=sh
# Which Python the app wants, and where it comes from: the stack's own where that fits, otherwise a
# standalone build, fetched by uv.
UV_VERSION=0.13.8

# Sets PYTHON_WANTED: "" for any, else 3.12 or 3.12.1.
choose_python() {
    PYTHON_WANTED=
    asked_in=
    if [ -f .python-version ]; then
        asked_in=.python-version
        PYTHON_WANTED=$(sed -n '/^[[:space:]]*\(#.*\)\{0,1\}$/d;s/[[:space:]]//g;p' .python-version | head -n 1)
    elif [ -f runtime.txt ]; then
        asked_in=runtime.txt
        PYTHON_WANTED=$(tr -d '[:space:]' < runtime.txt)
    elif [ -f Pipfile.lock ]; then
        asked_in=Pipfile.lock
        PYTHON_WANTED=$(python3 -c '
import json
requires = json.load(open("Pipfile.lock"))["_meta"].get("requires", {})
print(requires.get("python_full_version") or requires.get("python_version") or "")
' 2> /dev/null) || fail "Pipfile.lock cannot be read." "Run pipenv lock and commit it."
        [ -n "$PYTHON_WANTED" ] || asked_in=
    fi
    PYTHON_WANTED=${PYTHON_WANTED#python-}
    [ -z "$asked_in" ] || echo "$PYTHON_WANTED" | grep -Eqx '3\.[0-9]{1,2}(\.[0-9]{1,2})?' ||
        fail "$asked_in asks for '$PYTHON_WANTED', which is not a Python version." \
            "Write one as 3.12 or 3.12.1."
}

# Makes $PYTHON_HOME a Python of the wanted version.
place_python() {
    stack_python=$(python3 -c 'import platform; print(platform.python_version())')
    wanted=${PYTHON_WANTED:-$stack_python}
    case $stack_python in
    "$wanted" | "$wanted".*)
        step "Using Python $stack_python of the stack"
        python3 -m venv --symlinks "$PYTHON_HOME"
        ;;
    *) standalone_python ;;
    esac
}

standalone_python() {
    step "Installing Python $PYTHON_WANTED"
    uv=$(tool uv "$UV_VERSION")/uv
    at_hand=${LATHE_MIRROR:-/nonexistent}/github.com/astral-sh/python-build-standalone/releases/download
    [ ! -d "$at_hand" ] || export UV_PYTHON_INSTALL_MIRROR="file://$at_hand"
    if ! UV_HTTP_TIMEOUT=20 UV_CACHE_DIR="$CACHE_DIR/uv" UV_PYTHON_INSTALL_DIR="$CACHE_DIR/pythons" \
        timeout 180 "$uv" python install --no-bin "$PYTHON_WANTED" 2> "$CACHE_DIR/uv.log"; then
        tail -n 2 "$CACHE_DIR/uv.log" | indent
        fail "Python $PYTHON_WANTED is not available here; the stack has Python $stack_python." \
            "Ask for ${stack_python%.*} in $asked_in, or make python-build-standalone reachable" \
            "(a mirror: UV_PYTHON_INSTALL_MIRROR)."
    fi
    found=$(UV_PYTHON_INSTALL_DIR="$CACHE_DIR/pythons" "$uv" python find --managed-python "$PYTHON_WANTED")
    # Standalone builds find themselves wherever they are, so the slug gets a whole copy.
    mkdir "$PYTHON_HOME"
    cp -a "$(dirname "$(dirname "$(readlink -f "$found")")")/." "$PYTHON_HOME/"
    rm -f "$PYTHON_HOME"/lib/python3.*/EXTERNALLY-MANAGED
}
