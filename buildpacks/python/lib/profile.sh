# shellcheck shell=sh
export PATH="$HOME/.heroku/python/bin:$PATH"
export PYTHONUNBUFFERED=true
export PYTHONPATH="${PYTHONPATH:-$HOME}"
export LANG="${LANG:-C.UTF-8}"
# Behind a router, so the address a request came from is in its headers.
export FORWARDED_ALLOW_IPS='*'
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS:---access-logfile -}"

# One process a quarter of a gigabyte, but no more than two a core and one.
if [ -z "${WEB_CONCURRENCY:-}" ]; then
    for limit in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do
        read -r bytes < "$limit" && [ "$bytes" -gt 0 ] && break
        bytes=$((512 << 20))
    done 2>/dev/null
    by_memory=$((bytes >> 28))
    by_cpu=$((2 * $(nproc) + 1))
    WEB_CONCURRENCY=$((by_memory < by_cpu ? by_memory : by_cpu))
    [ "$WEB_CONCURRENCY" -ge 1 ] || WEB_CONCURRENCY=1
    export WEB_CONCURRENCY
    unset limit bytes by_memory by_cpu
fi
