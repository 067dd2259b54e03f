//! Certificates over time: made once, kept, renewed, and what happens to damaged ones.

use super::*;
use crate::config::Surroundings;
use jiff::SignedDuration;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn config(dir: &Path) -> Config {
    let mut config = Config::defaults(&Surroundings::default());
    config.data = dir.to_path_buf();
    config.api_host = "lathe.example.com".into();
    config.apps_domain = "apps.example.com".into();
    config
}

fn at(days: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (20_000 + days))
}

fn leaf(tls: &ServerTls) -> Vec<u8> {
    tls.current.0.load().cert[0].to_vec()
}

#[test]
fn a_second_start_changes_nothing_and_a_late_one_renews_the_leaf_only() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let first = ServerTls::open(&config, at(0)).unwrap();
    let ca = fs::read(config.ca_certificate()).unwrap();

    assert_eq!(leaf(&ServerTls::open(&config, at(59)).unwrap()), leaf(&first));
    let late = ServerTls::open(&config, at(61)).unwrap();
    assert_ne!(leaf(&late), leaf(&first));
    assert_eq!(fs::read(config.ca_certificate()).unwrap(), ca);

    let before = leaf(&late);
    late.renew(at(100)).unwrap();
    assert_eq!(leaf(&late), before);
    late.renew(at(130)).unwrap();
    assert_ne!(leaf(&late), before);
    assert!(late.server_config().is_ok());
}

#[test]
fn another_name_brings_another_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let first = ServerTls::open(&config, at(0)).unwrap();
    config.api_host = "other.example.com".into();
    let second = ServerTls::open(&config, at(0)).unwrap();
    assert_ne!(leaf(&first), leaf(&second));
}

#[test]
fn keys_are_for_their_user_only() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    ServerTls::open(&config, at(0)).unwrap();
    for name in ["ca.key", "server.pem"] {
        let mode = fs::metadata(config.tls_dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_authority_without_its_key_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    ServerTls::open(&config, at(0)).unwrap();
    let ca = fs::read(config.ca_certificate()).unwrap();
    fs::remove_file(config.tls_dir().join("ca.key")).unwrap();

    let error = ServerTls::open(&config, at(1)).unwrap_err();
    assert!(matches!(error, TlsError::Authority(AuthorityError::KeyMissing { .. })), "{error}");
    assert_eq!(fs::read(config.ca_certificate()).unwrap(), ca);
}

#[test]
fn a_key_of_another_authority_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    ServerTls::open(&config, at(0)).unwrap();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    fs::write(config.tls_dir().join("ca.key"), other).unwrap();

    let error = ServerTls::open(&config, at(89)).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
}

#[test]
fn a_damaged_server_certificate_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    ServerTls::open(&config, at(0)).unwrap();
    for damage in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let path = config.tls_dir().join("server.pem");
        fs::write(&path, damage).unwrap();
        ServerTls::open(&config, at(0)).unwrap();
        assert!(fs::read_to_string(path).unwrap().contains("PRIVATE KEY"));
    }
}

#[test]
fn apps_have_a_wildcard_or_each_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let made = |tls: &AppsTls, own: &[&str], day| {
        let own: Vec<_> = own.iter().map(|name| (*name).to_owned()).collect();
        tls.pair(tls.names(&own), at(day)).unwrap()
    };
    let wide = AppsTls::of(&config);
    let (chain, key) = made(&wide, &["a.apps.example.com"], 0);
    assert!(chain.starts_with("-----BEGIN CERTIFICATE") && key.contains("PRIVATE KEY"));
    let again = made(&wide, &["b.apps.example.com"], 59);
    assert_eq!(again, (chain.clone(), key), "it is for any name");
    assert_ne!(made(&wide, &[], 61).0, chain, "its end comes near");

    config.apps_domain = "localhost".into();
    let named = AppsTls::of(&config);
    let (first, _) = made(&named, &["a.localhost"], 0);
    let (second, _) = made(&named, &["a.localhost", "b.localhost"], 0);
    assert_ne!(first, second);
    assert_eq!(made(&named, &["b.localhost"], 0).0, second, "it has that name");
    let permissions = fs::metadata(config.tls_dir().join("apps.pem")).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
}
