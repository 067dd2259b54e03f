#!/bin/bash
# Serves a PHP app: `heroku-php-nginx [-C FILE] [DOCUMENT_ROOT]`, FILE with rules for nginx's server.
# The document root is public/ where that has an index page, and else the app's folder.
set -eu

usage() {
    echo "heroku-php-nginx: $1; usage: heroku-php-nginx [-C FILE] [DOCUMENT_ROOT]" >&2
    exit 64
}

own=/dev/null
while getopts :C: option; do
    case $option in
    C) own=$PWD/$OPTARG ;;
    *) usage "-$OPTARG is not known here" ;;
    esac
done
shift $((OPTIND - 1))
root=$PWD
[ ! -f public/index.php ] || root=$PWD/public
[ $# -eq 0 ] || root=$PWD/${1%/}
[ -d "$root" ] || usage "$root is not a folder"
[ -e "$own" ] || usage "$own is not there"

# One process for what each may use at most.
if [ -z "${WEB_CONCURRENCY:-}" ]; then
    for limit in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do
        read -r bytes < "$limit" && [ "$bytes" -gt 0 ] && [ "$bytes" -lt 1099511627776 ] && break
        bytes=$((512 << 20))
    done 2> /dev/null
    WEB_CONCURRENCY=$((bytes / (128 << 20)))
    [ "$WEB_CONCURRENCY" -ge 1 ] || WEB_CONCURRENCY=1
fi
tmp=$(mktemp -d)
export WEB_CONCURRENCY PHP_FPM_SOCKET="$tmp/php-fpm.sock"
sed -e "s|@PORT@|${PORT:-5000}|" -e "s|@ROOT@|$root|" -e "s|@OWN@|$own|" -e "s|@SOCKET@|$PHP_FPM_SOCKET|" \
    -e "s|@TMP@|$tmp|" -e "s|@ETC@|$PHP_HOME/etc|" "$PHP_HOME/etc/nginx.conf" > "$tmp/nginx.conf"

# It opens its log by name, which for what a dyno has as its stderr only the dyno's owner may do.
php-fpm --nodaemonize --fpm-config "$PHP_HOME/etc/php-fpm.conf" 2> >(exec cat >&2) &
until [ -S "$PHP_FPM_SOCKET" ]; do
    kill -0 $! 2> /dev/null || exit 1
    sleep 0.02
done
nginx -e stderr -p "$tmp" -c "$tmp/nginx.conf" &
# Neither is of use without the other.
trap 'trap - TERM; kill -TERM $(jobs -p) 2> /dev/null || true' TERM INT EXIT
wait -n
