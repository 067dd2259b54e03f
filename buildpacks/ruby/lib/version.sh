# shellcheck shell=sh
# Which Ruby the app wants, and which there is that will do.
DEBIAN_RUBY=3.1

# Sets RUBY_RELEASE to a version and RUBY_SOURCE to where it comes from: `debian`, or `official` for
# what has to be compiled. Debian's own does wherever it fits: it is there in seconds, and is kept
# secure by Debian.
choose_ruby() {
    step "Installing Ruby"
    asked=$(ruby "$BUILDPACK/lib/version.rb" wanted 2> "$CACHE_DIR/ruby/said") || fail "$(cat "$CACHE_DIR/ruby/said")"
    # shellcheck disable=SC2086
    debian_packages ruby $RUBY_PACKAGES
    debian=$(debian_version "libruby$DEBIAN_RUBY" | sed 's/[-+].*//')
    RUBY_SOURCE=debian
    RUBY_RELEASE=$debian
    [ -n "$asked" ] || return 0
    RUBY_RELEASE=$(echo "$debian" | best_ruby "$asked")
    [ -z "$RUBY_RELEASE" ] || return 0
    RUBY_SOURCE=official
    RUBY_RELEASE=$(official_releases | cut -d ' ' -f 1 | best_ruby "$asked")
    [ -n "$RUBY_RELEASE" ] || fail "Ruby $asked is not available here; there is Ruby $debian of Debian." \
        "Ask for \"~> $DEBIAN_RUBY.0\" in the Gemfile, or make cache.ruby-lang.org reachable."
}

best_ruby() {
    ruby "$BUILDPACK/lib/version.rb" best "$1" 2> /dev/null ||
        fail "The Gemfile asks for Ruby '$1', which is not a version." "Write one as 3.3.0 or ~> 3.3."
}
