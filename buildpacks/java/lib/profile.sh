# shellcheck shell=sh
export JAVA_HOME="$HOME/.heroku/java"
export PATH="$JAVA_HOME/bin:$PATH" LANG="${LANG:-C.UTF-8}"
# Seven tenths of the memory for the heap: threads, code and buffers need the rest.
if [ -z "${JAVA_TOOL_OPTIONS:-}" ]; then
    for limit in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do
        read -r bytes < "$limit" && [ "$bytes" -gt 0 ] && [ "$bytes" -lt 1099511627776 ] && break
        bytes=$((512 << 20))
    done 2> /dev/null
    export JAVA_TOOL_OPTIONS="-Xmx$((bytes / 10 * 7 >> 20))m -Xss512k -Dfile.encoding=UTF-8"
    unset limit bytes
fi
