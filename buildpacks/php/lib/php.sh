# shellcheck shell=sh
# Gets PHP, its usual extensions and nginx into the slug, from Debian's packages.
DEBIAN_PHP=8.2

install_php() {
    step "Installing PHP"
    set -- cli fpm common opcache readline mbstring xml curl zip intl gd bcmath pgsql mysql sqlite3
    for name in "$@"; do
        set -- "$@" "php$DEBIAN_PHP-$name"
        shift
    done
    debian_packages php "$@" nginx nginx-common php-composer-semver
    rm -rf "$BUILD_DIR/.heroku/php" "$HOME/.heroku/php"
    mkdir -p "$BUILD_DIR/.heroku/php/bin" "$HOME/.heroku"
    [ "$BUILD_DIR" = "$HOME" ] || ln -s "$BUILD_DIR/.heroku/php" "$HOME/.heroku/php"
    tree=$CACHE_DIR/debian/php/tree/usr
    home=$BUILD_DIR/.heroku/php
    cp "$tree/bin/php$DEBIAN_PHP" "$home/bin/php"
    cp "$tree/sbin/php-fpm$DEBIAN_PHP" "$home/bin/php-fpm"
    cp "$tree/sbin/nginx" "$home/bin/nginx"
    cp -a "$tree"/lib/php/[0-9][0-9][0-9]* "$home/extensions"
    write_settings
    debian_version "php$DEBIAN_PHP-cli" | sed 's/-.*//' > "$home/version"
    detail "PHP $(cat "$home/version") from Debian's packages"
}

# Every package has a file for each of its extensions, with its place in the order of loading.
write_settings() {
    mkdir -p "$home/etc/conf.d"
    cp "$BUILDPACK/conf/php.ini" "$home/etc/php.ini"
    for file in "$tree/share/php$DEBIAN_PHP-"*/*/*.ini; do
        place=$(sed -n 's/^; *priority=//p' "$file")
        cp "$file" "$home/etc/conf.d/${place:-20}-$(basename "$file")"
    done
}

# Whether this PHP is one that composer.json takes, by Composer's own rules.
check_version() {
    [ -f composer.json ] || return 0
    php -r 'exit(is_array(json_decode(file_get_contents("composer.json"), true)) ? 0 : 1);' ||
        fail "composer.json is not valid JSON."
    asked=$(php -r 'echo json_decode(file_get_contents("composer.json"), true)["require"]["php"] ?? "";')
    [ -n "$asked" ] || return 0
    version=$(cat "$home/version")
    # shellcheck disable=SC2016
    php -d "include_path=$tree/share/php" -r '
        require "Composer/Semver/autoload.php";
        exit(Composer\Semver\Semver::satisfies($argv[1], $argv[2]) ? 0 : 1);
    ' "$version" "$asked" 2> /dev/null ||
        fail "PHP $asked is not available here; there is PHP $version." \
            "Ask for \"^$DEBIAN_PHP\" in the \"require\" of composer.json."
}

# What does not parse would be found by the first who asks for it.
check_syntax() {
    # shellcheck disable=SC2016
    find . -name '*.php' -not -path './vendor/*' -not -path './.heroku/*' -print0 |
        xargs -0 -r -n 50 -P "$(nproc)" php -d display_errors=0 -d log_errors=0 -r '
            foreach (array_slice($argv, 1) as $file) {
                try {
                    token_get_all(file_get_contents($file), TOKEN_PARSE);
                } catch (ParseError $error) {
                    fwrite(STDERR, substr($file, 2) . ":" . $error->getLine() . ": " . $error->getMessage() . "\n");
                    exit(255);
                }
            }' 2> "$CACHE_DIR/php.log" || {
        grep -v '^xargs' "$CACHE_DIR/php.log" | indent
        fail "The app has a syntax error."
    }
}
