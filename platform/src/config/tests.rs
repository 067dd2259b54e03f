//! What each source of settings may say, and which of them wins.

use super::*;
use std::fs;

fn around(pairs: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        environment: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        root: true,
        rust_sysroot: None,
    }
}

fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lathe.toml");
    fs::write(&file, "api_host = 'file.example'\napps_domain = 'file.example'\n[push]\nmax = 7\n")
        .unwrap();
    let around = around(&[("LATHE_API_HOST", "env.example"), ("LATHE_APPS_DOMAIN", "env.example")]);
    let mut config = Config::defaults(&around);
    apply::apply_file(&mut config, &file).unwrap();
    apply::apply_environment(&mut config, &around.environment).unwrap();
    apply::apply_flags(&mut config, &flags(&[("api_host", "flag.example")])).unwrap();
    assert_eq!(
        (config.api_host.as_str(), config.apps_domain.as_str(), config.push.max_bytes),
        ("flag.example", "env.example", 7)
    );
    assert_eq!(config.listen.router.port(), 8080);
}

#[test]
fn every_setting_shows_what_it_can_read_back() {
    let mut config = Config::defaults(&around(&[]));
    let before = config.clone();
    for setting in SETTINGS {
        let shown = (setting.show)(&before);
        apply::apply_flags(&mut config, &flags(&[(setting.key, &shown)])).unwrap();
    }
    assert_eq!(config, before);
}

#[test]
fn bad_values_are_refused_with_name_value_and_remedy() {
    let cases = [
        ("listen.api_plain", "0.0.0.0:80", "loopback"),
        ("listen.router", "8080", "address:port"),
        ("network", "10.213.0.1/16", "10.213.0.0/16"),
        ("network", "8.8.0.0/16", "private"),
        ("push.max", "99999999999999TB", "500MB"),
        ("build.timeout", "0", "86400"),
        ("build.pids", "3", "64"),
        ("api_host", "https://x", "without scheme"),
        ("stacks.extra_packages", "jq,--allow-downgrades", "Debian packages"),
        ("build.ca_bundle", "/does/not/exist.pem", "none"),
        ("drains.allow", "10.0.0.0/8,inside", "not a network"),
        ("build.env.A-B", "1", "letters"),
        ("acme.email", "ops", "ops@example.com"),
        ("acme.directory", "http://acme.example.com/", "https://"),
    ];
    for (key, value, remedy) in cases {
        let mut config = Config::defaults(&around(&[]));
        let error = apply::apply_flags(&mut config, &flags(&[(key, value)])).unwrap_err();
        assert!(error.remedy().contains(remedy), "{key}: {}", error.remedy());
        let said = error.to_string();
        assert!(said.contains(key) && said.contains(value), "{said}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let mut config = Config::defaults(&around(&[]));
    let error =
        apply::apply_flags(&mut config, &flags(&[("listen.ruoter", "[::]:1")])).unwrap_err();
    assert!(error.remedy().contains("listen.router"), "{}", error.remedy());
}

#[test]
fn build_environment_comes_by_name() {
    let around = around(&[("LATHE_BUILD_ENV_PIP_CERT", "/x"), ("LATHE_SOMEBODY_ELSES", "1")]);
    let mut config = Config::defaults(&around);
    apply::apply_environment(&mut config, &around.environment).unwrap();
    assert_eq!(config.build.env, BTreeMap::from([("PIP_CERT".into(), "/x".into())]));
}

#[test]
fn an_ordinary_user_gets_directories_of_their_own() {
    let mut around = around(&[("HOME", "/home/ada")]);
    around.root = false;
    let config = Config::defaults(&around);
    assert_eq!(config.data, Path::new("/home/ada/.local/share/lathe"));
    assert_eq!(config.stacks.dir, Path::new("/home/ada/.cache/lathe/stacks"));
}
