# shellcheck shell=sh
export PHP_HOME="$HOME/.heroku/php"
export PATH="$PHP_HOME/bin:$HOME/vendor/bin:$PATH"
export PHPRC="$PHP_HOME/etc/php.ini" PHP_INI_SCAN_DIR="$PHP_HOME/etc/conf.d"
