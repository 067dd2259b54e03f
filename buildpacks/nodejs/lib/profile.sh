# shellcheck shell=sh
export PATH="$HOME/.heroku/node/bin:$PATH:$HOME/bin:$HOME/node_modules/.bin"
export NODE_HOME="$HOME/.heroku/node"
export NODE_ENV="${NODE_ENV:-production}"

# One process for each half gigabyte.
if [ -z "${WEB_CONCURRENCY:-}" ]; then
    for limit in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do
        read -r bytes < "$limit" && [ "$bytes" -gt 0 ] && [ "$bytes" -lt 1099511627776 ] && break
        bytes=$((512 << 20))
    done 2>/dev/null
    export MEMORY_AVAILABLE=$((bytes >> 20))
    export WEB_MEMORY="${WEB_MEMORY:-512}"
    WEB_CONCURRENCY=$((MEMORY_AVAILABLE / WEB_MEMORY))
    [ "$WEB_CONCURRENCY" -ge 1 ] || WEB_CONCURRENCY=1
    export WEB_CONCURRENCY
    unset limit bytes
fi
