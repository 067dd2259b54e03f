# shellcheck shell=sh
# Installs, builds and prunes with the package manager the app's lock file belongs to.

# Sets MANAGER to npm, yarn, berry (yarn 2 and later) or pnpm, and has its program on PATH.
choose_manager() {
    pinned=$(field packageManager)
    pinned=${pinned%%+*}
    for name in yarn pnpm; do
        asked=$(field "engines.$name")
        [ -n "$pinned" ] || [ -z "$asked" ] || pinned=$name@$asked
    done
    case $pinned in
    yarn@1.*) MANAGER=yarn ;;
    yarn@*) MANAGER=berry ;;
    pnpm@*) MANAGER=pnpm ;;
    *)
        MANAGER=npm
        [ ! -f pnpm-lock.yaml ] || MANAGER=pnpm
        [ ! -f yarn.lock ] || MANAGER=yarn
        [ "$MANAGER" != yarn ] || ! grep -q '^__metadata:' yarn.lock || MANAGER=berry
        ;;
    esac
    case $MANAGER in
    yarn) add_tool yarn "${pinned:-yarn@1.22.22}" ;;
    pnpm) add_tool pnpm "${pinned:-pnpm@$(pnpm_of_lock)}" ;;
    berry)
        add_tool "@yarnpkg/cli-dist" "@yarnpkg/cli-dist@$(echo "${pinned:-yarn@4}" | sed 's/^yarn@//')"
        export YARN_CACHE_FOLDER="$CACHE_DIR/yarn" YARN_ENABLE_GLOBAL_CACHE=false YARN_ENABLE_TELEMETRY=0
        ;;
    esac
}

# The lock file says which line of pnpm wrote it.
pnpm_of_lock() {
    case $(sed -n "s/^lockfileVersion: *['\"]\{0,1\}\([0-9.]*\).*/\1/p" pnpm-lock.yaml 2> /dev/null) in
    5*) echo 7 ;;
    6*) echo 8 ;;
    9*) echo 9 ;;
    *) echo latest ;;
    esac
}

# Installs a package manager into the slug beside npm, as scripts of the app may call it when it runs.
add_tool() {
    npm install --silent --global --prefix "$NODE_HOME" "$2" || fail "$2 could not be installed."
    echo "       $2"
}

install_dependencies() {
    step "Installing dependencies with $MANAGER"
    case $MANAGER in
    yarn) run yarn install --frozen-lockfile --production=false --non-interactive --cache-folder "$CACHE_DIR/yarn" ;;
    berry) run yarn install --immutable ;;
    pnpm) run pnpm install --frozen-lockfile --prod=false --store-dir "$CACHE_DIR/pnpm" ;;
    npm)
        if [ -f package-lock.json ] || [ -f npm-shrinkwrap.json ]; then
            run npm ci --include=dev --prefer-offline
        else
            echo "       No package-lock.json: what is installed may differ from one push to the next"
            run npm install --include=dev --no-package-lock
        fi
        ;;
    esac || fail "The dependencies could not be installed."
}

run_script() {
    has_script "$1" || return 0
    step "Running $1"
    case $MANAGER in
    berry | yarn) run yarn run "$1" ;;
    *) run "$MANAGER" run "$1" ;;
    esac || fail "The $1 script of package.json failed."
}

# What only the build needed stays out of the slug, unless the app says it wants it.
prune_dependencies() {
    if [ "${NPM_CONFIG_PRODUCTION:-}" = false ] || [ "${YARN_PRODUCTION:-}" = false ] ||
        [ "${PNPM_SKIP_PRUNING:-}" = true ] || [ "${YARN2_SKIP_PRUNING:-}" = true ]; then
        return 0
    fi
    [ -n "$(field devDependencies)" ] || return 0
    step "Pruning devDependencies"
    case $MANAGER in
    npm) run npm prune --omit=dev --no-package-lock ;;
    yarn)
        run yarn install --production --frozen-lockfile --ignore-scripts --prefer-offline \
            --non-interactive --cache-folder "$CACHE_DIR/yarn"
        ;;
    berry) run yarn workspaces focus --all --production ;;
    pnpm) run pnpm prune --prod --ignore-scripts ;;
    esac || fail "The devDependencies could not be pruned."
}

# pnpm notes when it last looked around. The same source is to make the same slug, so these times go.
forget_times() {
    [ "$MANAGER" = pnpm ] || return 0
    for notes in node_modules/.modules.yaml node_modules/.pnpm-workspace-state*.json; do
        [ ! -f "$notes" ] || sed -i \
            -e 's/\(prunedAt"\{0,1\}: *"\{0,1\}\)[A-Z][^"]*GMT/\1Thu, 01 Jan 1970 00:00:00 GMT/' \
            -e 's/\("lastValidatedTimestamp": *\)[0-9]*/\10/' "$notes"
    done
}
