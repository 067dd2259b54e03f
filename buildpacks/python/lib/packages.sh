# shellcheck shell=sh
# What the app requires, by whichever tool its files speak of.
POETRY_VERSION=2.5.1
PIPENV_VERSION=2026.10.3

# Prints the folder of a tool's programs, installing it into the cache at first: `tool uv 0.13.8`.
tool() {
    dir=$CACHE_DIR/tools/$1-$2
    if [ ! -x "$dir/bin/$1" ]; then
        rm -rf "$dir"
        python3 -m venv "$dir" >&2
        "$dir/bin/python" -m pip install --quiet "$1==$2" >&2 || fail "Could not install $1 $2."
    fi
    echo "$dir/bin"
}

# What was installed for the same requirements and the same Python comes from the cache; whatever
# installs then finds nothing left to do. An environment has the same path in every build.
restore_packages() {
    requirements=$("$PYTHON_HOME/bin/python" --version && find . -maxdepth 2 -type f -not -path './.heroku/*' \
        \( -name '*.txt' -o -name '*.lock' -o -name Pipfile -o -name pyproject.toml \) -exec sha256sum {} + | LC_ALL=C sort)
    [ "$(cat "$CACHE_DIR/python/requirements" 2> /dev/null)" = "$requirements" ] || return 0
    rm -rf "$BUILD_DIR/.heroku/python"
    cp -a "$CACHE_DIR/python/environment" "$BUILD_DIR/.heroku/python"
}

keep_packages() {
    [ "$(cat "$CACHE_DIR/python/requirements" 2> /dev/null)" != "$requirements" ] || return 0
    rm -rf "$CACHE_DIR/python"
    mkdir -p "$CACHE_DIR/python"
    cp -a "$BUILD_DIR/.heroku/python" "$CACHE_DIR/python/environment"
    echo "$requirements" > "$CACHE_DIR/python/requirements"
}

pip() { "$PYTHON_HOME/bin/python" -m pip "$@"; }

install_packages() {
    if [ -f uv.lock ]; then
        with_uv
    elif [ -f requirements.txt ]; then
        with_pip
    elif [ -f poetry.lock ]; then
        with_poetry
    elif [ -f Pipfile.lock ]; then
        with_pipenv
    elif [ -f Pipfile ]; then
        fail "There is a Pipfile but no Pipfile.lock." "Run pipenv lock and commit the lock file."
    elif [ -f setup.py ] || { [ -f pyproject.toml ] && grep -q '^\[project\]' pyproject.toml; }; then
        step "Installing the project with pip"
        run pip install . || fail "pip could not install the project."
    else
        step "No requirements.txt: the app has Python and nothing else"
    fi
}

with_pip() {
    step "Installing requirements with pip"
    run pip install --progress-bar off -r requirements.txt ||
        fail "pip could not install what requirements.txt asks for."
}

with_uv() {
    step "Installing dependencies with uv $UV_VERSION"
    uv=$(tool uv "$UV_VERSION")/uv
    run env UV_CACHE_DIR="$CACHE_DIR/uv" UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT="$PYTHON_HOME" \
        UV_PYTHON="$PYTHON_HOME/bin/python" UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 \
        "$uv" sync --locked --no-default-groups --inexact ||
        fail "uv could not install what uv.lock asks for." \
            "If it does not match pyproject.toml, run uv lock and commit it."
}

with_poetry() {
    step "Installing dependencies with Poetry $POETRY_VERSION"
    poetry=$(tool poetry "$POETRY_VERSION")/poetry
    run env POETRY_VIRTUALENVS_CREATE=false POETRY_CACHE_DIR="$CACHE_DIR/poetry" \
        "$poetry" install --only main --no-root --no-interaction --no-ansi ||
        fail "Poetry could not install what poetry.lock asks for." \
            "If it does not match pyproject.toml, run poetry lock and commit it."
}

with_pipenv() {
    step "Installing dependencies from Pipfile.lock"
    pipenv=$(tool pipenv "$PIPENV_VERSION")/pipenv
    locked=$(mktemp)
    "$pipenv" requirements --hash > "$locked" || fail "Pipfile.lock could not be read."
    run pip install --progress-bar off -r "$locked" ||
        fail "pip could not install what Pipfile.lock asks for."
    rm -f "$locked"
}
