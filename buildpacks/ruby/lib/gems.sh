# shellcheck shell=sh
# Installs the gems of Gemfile.lock, and has the app make its assets.

install_gems() {
    [ -f Gemfile.lock ] || fail "There is no Gemfile.lock." "Run bundle install and commit the lock file."
    step "Installing gems with Bundler $(bundle --version | sed 's/.* //')"
    restore_gems
    # Gems that came with the source need no registry.
    { [ -d vendor/cache ] && bundle install --local --quiet > /dev/null 2>&1; } ||
        run bundle install --jobs 4 --retry 1 || fail "Bundler could not install what Gemfile.lock asks for."
    run bundle clean || true
    run bundle list
    keep_gems
}

# Gems with compiled parts are of one Ruby only.
restore_gems() {
    mkdir -p vendor
    [ "$(cat "$CACHE_DIR/ruby/gems-of" 2> /dev/null)" = "$RUBY_RELEASE" ] || rm -rf "$CACHE_DIR/ruby/gems"
    [ ! -d "$CACHE_DIR/ruby/gems" ] || cp -a "$CACHE_DIR/ruby/gems" vendor/bundle
}

keep_gems() {
    rm -rf "$CACHE_DIR/ruby/gems" vendor/bundle/ruby/*/cache
    [ ! -d vendor/bundle ] || cp -a vendor/bundle "$CACHE_DIR/ruby/gems"
    echo "$RUBY_RELEASE" > "$CACHE_DIR/ruby/gems-of"
}

precompile_assets() {
    [ -f Rakefile ] && bundle exec rake --silent --dry-run assets:precompile > /dev/null 2>&1 || return 0
    step "Preparing assets: rake assets:precompile"
    # Rails wants these to be there; nothing of a build may depend on their values.
    run env SECRET_KEY_BASE_DUMMY=1 "DATABASE_URL=${DATABASE_URL:-postgresql://user:pass@127.0.0.1/dbname}" \
        bundle exec rake assets:precompile || fail "rake assets:precompile failed."
}
