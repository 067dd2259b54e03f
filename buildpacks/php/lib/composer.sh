# shellcheck shell=sh
# Installs the packages of composer.lock, and the server that runs the app.

install_packages() {
    [ -f composer.json ] || return 0
    if [ ! -f composer.lock ] && php -r 'exit(preg_grep("{/}", array_keys(json_decode(
            file_get_contents("composer.json"), true)["require"] ?? [])) ? 0 : 1);'; then
        fail "There is a composer.json but no composer.lock." "Run composer update and commit the lock file."
    fi
    step "Installing packages with Composer"
    export COMPOSER_HOME="$CACHE_DIR/composer" COMPOSER_CACHE_DIR="$CACHE_DIR/composer/cache" \
        COMPOSER_NO_INTERACTION=1 COMPOSER_MEMORY_LIMIT=-1 COMPOSER_MIRROR_PATH_REPOS=1
    place_composer
    run composer install --no-dev --prefer-dist --optimize-autoloader --no-progress ||
        fail "Composer could not install what composer.lock asks for."
}

# Defines `composer`: that of getcomposer.org, or Debian's.
place_composer() {
    mkdir -p "$COMPOSER_HOME"
    phar=$COMPOSER_HOME/composer.phar
    base=https://getcomposer.org/download/latest-2.x/composer.phar
    if [ -f "$phar" ] || { sum=$(fetch_text "$base.sha256sum") && fetch_checked "$base" "$phar" "${sum%% *}"; }; then
        composer() { php "$phar" "$@"; }
    else
        # shellcheck disable=SC2086
        debian_packages composer $COMPOSER_PACKAGES
        composer_share=$CACHE_DIR/debian/composer/tree/usr/share
        composer() { php -d "include_path=$composer_share/php" "$composer_share/../bin/composer" "$@"; }
    fi
}
COMPOSER_PACKAGES="composer jsonlint php-composer-ca-bundle php-composer-class-map-generator
    php-composer-metadata-minifier php-composer-pcre php-composer-semver php-composer-spdx-licenses
    php-composer-xdebug-handler php-json-schema php-psr-container php-psr-log php-react-promise
    php-seld-signal-handler php-symfony-console php-symfony-deprecation-contracts
    php-symfony-filesystem php-symfony-finder php-symfony-process php-symfony-service-contracts
    php-symfony-string"

# Under the names that Procfiles know. There is one server: nginx.
install_server() {
    mkdir -p vendor/bin
    cp "$BUILDPACK/conf/nginx.conf" "$BUILDPACK/conf/php-fpm.conf" "$home/etc/"
    cp "$CACHE_DIR/debian/php/tree/etc/nginx/mime.types" "$CACHE_DIR/debian/php/tree/etc/nginx/fastcgi_params" "$home/etc/"
    cp "$BUILDPACK/lib/server.sh" "$home/bin/heroku-php-nginx"
    chmod +x "$home/bin/heroku-php-nginx"
    ln -s heroku-php-nginx "$home/bin/heroku-php-apache2"
    for name in heroku-php-nginx heroku-php-apache2; do
        ln -sf "../../.heroku/php/bin/$name" "vendor/bin/$name"
    done
    [ -z "$(find . -name .htaccess -not -path './vendor/*' | head -n 1)" ] ||
        warn "The web server is nginx: .htaccess files have no effect." \
            "Put rules into a file of nginx's own, and start with heroku-php-nginx -C FILE."
}
