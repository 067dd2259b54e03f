# shellcheck shell=sh
export PATH="$HOME/bin:$PATH"
