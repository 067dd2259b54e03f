# shellcheck shell=sh
# A Django app's static files are collected while it is built.
collect_static() {
    [ -f manage.py ] && python -c 'import django' 2>/dev/null || return 0
    if [ -n "${DISABLE_COLLECTSTATIC:-}" ] && [ "$DISABLE_COLLECTSTATIC" != 0 ]; then
        return 0
    fi
    python manage.py help --commands 2>/dev/null | grep -qx collectstatic || return 0
    step "Collecting static files: python manage.py collectstatic --noinput"
    run python manage.py collectstatic --noinput ||
        fail "Django could not collect its static files." \
            "Set STATIC_ROOT in the settings, or leave this step out:" \
            "heroku config:set DISABLE_COLLECTSTATIC=1"
}
