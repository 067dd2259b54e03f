# shellcheck shell=sh
# Config vars for the programs of the build, less those that would change how the build itself works
# (Heroku Dev Center, "Buildpack API").

# `export_config_vars ENV_DIR NAME...`: all but the usual exceptions and these.
export_config_vars() {
    config_dir=$1
    shift
    for file in "$config_dir"/*; do
        [ -f "$file" ] || continue
        name=${file##*/}
        case $name in
        PATH | HOME | SHELL | IFS | ENV | BASH_ENV | GIT_DIR | CPATH | CPPATH | LD_* | LIBRARY_PATH | \
            BUILD_DIR | CACHE_DIR | ENV_DIR | BUILDPACK | LATHE_MIRROR) ;;
        *)
            case " $* " in
            *" $name "*) ;;
            *) export "$name=$(cat "$file")" ;;
            esac
            ;;
        esac
    done
}

# Prints a config var, "" where it is not set: `config_var ENV_DIR NAME`.
config_var() { [ ! -f "$1/$2" ] || cat "$1/$2"; }
