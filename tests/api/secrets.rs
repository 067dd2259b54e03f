//! Canaries: what is secret is in no log, no command line and no file but the sealed ones.

use super::{BOUND, WEB, archive, call, create, owner, path_of, text};
use lathe_tests::{Checkout, Platform, until};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use walkdir::WalkDir;

/// Files that hold a secret because it is theirs to hold: readable by root alone.
const KEEPERS: &[(&str, &str)] = &[
    ("owner token", "owner-token"),
    ("state key", "state.key"),
    ("TLS key", "tls/server.pem"),
    ("authority's key", "tls/ca.key"),
    // So that dynos start after a reboot without the platform, and are adopted by the next one.
    ("config value", "cell/last-good.json"),
    ("config value", "cell/dynos/*/record.json"),
];

/// Whether `file` is one of [`KEEPERS`] for this secret; `*` is the one folder that varies.
fn may_hold(what: &str, file: &str) -> bool {
    KEEPERS.iter().any(|(secret, place)| {
        let (front, back) = place.split_once('*').unwrap_or((place, ""));
        *secret == what && file.starts_with(front) && file.ends_with(back)
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Where `canary` is found below `data`, relative. Not looked at: what dynos have mounted, which is
/// the stack, and images of build caches, which builds alone write to.
fn found(data: &Path, canary: &[u8]) -> Vec<String> {
    let files = WalkDir::new(data).same_file_system(true).into_iter().flatten();
    let holding = files.filter(|entry| {
        entry.file_type().is_file()
            && entry.path().extension().is_none_or(|extension| extension != "img")
            && std::fs::read(entry.path()).is_ok_and(|text| contains(&text, canary))
    });
    holding.map(|entry| entry.path().strip_prefix(data).unwrap().display().to_string()).collect()
}

/// Everything that `ps` could show to anybody.
fn command_lines() -> Vec<u8> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .flat_map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .collect()
}

/// The second line of the key in a PEM file: the first is alike in all keys of a kind.
fn key_in(pem: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(pem).unwrap();
    let (_, key) = text.split_once("PRIVATE KEY-----").unwrap();
    key.lines().nth(2).unwrap().as_bytes().to_vec()
}

#[test]
fn secrets_stay_where_they_belong() {
    let mut platform = Platform::start_with(&["log=debug"]);
    create(&platform, "safe");
    let config = "canary-config-5f1d0c";
    owner(&platform, "PATCH", "/apps/safe/config-vars", &json!({"CANARY": config}));
    let checkout = Checkout::new(
        &platform,
        "safe",
        &[("Procfile", "web: python3 web.py\nrelease: true\n"), ("web.py", WEB)],
    );
    let pushed = checkout.push().accepted();
    let drain = "canary-drain-77ab31";
    let url = json!({"url": format!("https://user:{drain}@logs.example.com/in")});
    owner(&platform, "POST", "/apps/safe/log-drains", &url);
    let encoded = format!("https%3A%2F%2Fuser%3A{drain}%40logs.example.com%2Fother");
    let (missing, _) =
        platform.api("DELETE", &format!("/apps/safe/log-drains/{encoded}"), &Value::Null);
    assert_eq!(missing, 404);
    let second = owner(&platform, "POST", "/oauth/authorizations", &json!({}));
    let second = text(&second["access_token"]["token"]);
    platform.api_as(Some(&second), "GET", "/account", &Value::Null);
    let session = owner(&platform, "POST", "/apps/safe/log-sessions", &json!({"lines": 1500}));
    let session = path_of(&session["logplex_url"]);
    let lines = call(&platform, None, "GET", &session, &[], b"").body;
    let run = json!({"command": "sleep 60", "env": {"ONE_OFF": config}});
    owner(&platform, "POST", "/apps/safe/dynos", &run);
    let source = owner(&platform, "POST", "/sources", &Value::Null);
    let source = path_of(&source["source_blob"]["put_url"]);
    call(&platform, None, "PUT", &source, &[], &archive("s", &[("Procfile", "web: true\n")]));
    until("the one-off is up", BOUND, || {
        let (_, dynos) = platform.api("GET", "/apps/safe/dynos", &Value::Null);
        let mut dynos = dynos.as_array()?.iter();
        dynos.any(|dyno| dyno["type"] == "run" && dyno["state"] == "up").then_some(())
    });

    let data = platform.data().to_owned();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("owner token", platform.token().into_bytes()),
        ("second token", second.into_bytes()),
        ("config value", config.as_bytes().to_vec()),
        ("drain password", drain.as_bytes().to_vec()),
        ("state key", std::fs::read(data.join("state.key")).unwrap()),
        ("TLS key", key_in(&data.join("tls/server.pem"))),
        ("authority's key", key_in(&data.join("tls/ca.key"))),
    ];
    let shown = command_lines();
    let mut wrong = Vec::new();
    let look = |when: &str, wrong: &mut Vec<String>| {
        for (what, secret) in &secrets {
            for file in found(&data, secret) {
                let keeper = may_hold(what, &file);
                let mode =
                    std::fs::metadata(data.join(&file)).map_or(0, |m| m.permissions().mode());
                if !keeper || mode & 0o077 != 0 {
                    wrong.push(format!("{when}: {what} in {file} (mode {:o})", mode & 0o777));
                }
            }
        }
    };
    look("up", &mut wrong);
    for (what, secret) in &secrets {
        if contains(&shown, secret) {
            wrong.push(format!("{what} in a command line"));
        }
        for (place, text) in [("transcript", &pushed.transcript), ("app's log", &lines)] {
            if contains(text.as_bytes(), secret) {
                wrong.push(format!("{what} in the {place}"));
            }
        }
    }
    // The addresses that are secrets themselves are not in the log either.
    let log = platform.log();
    for (what, path) in [("log session", &session), ("source", &source)] {
        let secret = path.rsplit('/').next().unwrap();
        if log.contains(secret) {
            wrong.push(format!("the secret of a {what} in the log"));
        }
    }
    assert!(log.contains("DEBUG"), "nothing was logged, so nothing was shown");
    platform.stop();
    look("stopped", &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    platform.up();
}
