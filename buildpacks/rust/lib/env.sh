# shellcheck shell=sh
# Config vars for the programs of the build, less those that would change how the build itself works
# (Heroku Dev Center, "Buildpack API").
export_config_vars() {
    for file in "$1"/*; do
        [ -f "$file" ] || continue
        name=${file##*/}
        case $name in
        PATH | HOME | SHELL | IFS | ENV | BASH_ENV | GIT_DIR | CPATH | CPPATH | LD_* | LIBRARY_PATH | \
            BUILD_DIR | CACHE_DIR | ENV_DIR | BUILDPACK | CARGO_HOME | CARGO_TARGET_DIR | RUSTUP_HOME) ;;
        *) export "$name=$(cat "$file")" ;;
        esac
    done
}
