# shellcheck shell=sh
ruby_home=$HOME/.heroku/ruby
export PATH="$ruby_home/bin:$HOME/bin:$HOME/vendor/bundle/bin:$PATH"
export LANG="${LANG:-C.UTF-8}" RACK_ENV="${RACK_ENV:-production}" RAILS_ENV="${RAILS_ENV:-production}"
export RAILS_LOG_TO_STDOUT="${RAILS_LOG_TO_STDOUT:-enabled}"
export RAILS_SERVE_STATIC_FILES="${RAILS_SERVE_STATIC_FILES:-enabled}" MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
export BUNDLE_PATH=vendor/bundle BUNDLE_BIN=vendor/bundle/bin BUNDLE_DEPLOYMENT=1 BUNDLE_SHEBANG=ruby
export BUNDLE_WITHOUT="${BUNDLE_WITHOUT:-development:test}" BUNDLE_GLOBAL_PATH_APPENDS_RUBY_SCOPE=1
# Debian's Ruby looks for itself below /usr, so it has to be told where it is.
if [ -d "$ruby_home/lib/ruby/vendor_ruby" ]; then
    for ruby_lib in "$ruby_home"/lib/ruby/vendor_ruby "$ruby_home"/lib/ruby/[0-9]* \
        "$ruby_home"/lib/*-linux-gnu/ruby/[0-9]* "$ruby_home"/lib/*-linux-gnu/ruby/vendor_ruby/[0-9]*; do
        RUBYLIB=${RUBYLIB:+$RUBYLIB:}$ruby_lib
    done
    GEM_PATH=$(echo "$ruby_home"/lib/ruby/gems/* "$ruby_home"/share/rubygems-integration/* | tr ' ' ':')
    export RUBYLIB GEM_PATH
fi
unset ruby_home ruby_lib
