//! Canaries: what is secret is in no log, no command line and no file but the sealed ones.

use super::{BOUND, WEB, archive, call, create, owner, path_of, text};
use lathe_tests::{Authority, Checkout, Platform, until};
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
    // Routers serve with it also when there is no platform: docs/decisions/0023.
    ("app's key", "cell/router/keyring.json"),
    // Read by the dyno itself, which has no key: docs/decisions/0005.
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

/// The second line of the key in PEM: the first is alike in all keys of a kind.
fn key_in(text: &str) -> Vec<u8> {
    let (_, key) = text.split_once("PRIVATE KEY-----").unwrap();
    key.lines().nth(2).unwrap().as_bytes().to_vec()
}

const CONFIG: &str = "canary-config-5f1d0c";
const DRAIN: &str = "canary-drain-77ab31";

/// What users saw and were given while every secret was in use.
struct Used {
    transcript: String,
    /// The app's whole log.
    lines: String,
    token: String,
    /// Of the app's certificate.
    key: String,
    /// Addresses that carry a secret of their own.
    session: String,
    source: String,
}

fn use_all(platform: &Platform) -> Used {
    create(platform, "safe");
    owner(platform, "PATCH", "/apps/safe/config-vars", &json!({"CANARY": CONFIG}));
    let checkout = Checkout::new(
        platform,
        "safe",
        &[("Procfile", "web: python3 web.py\nrelease: true\n"), ("web.py", WEB)],
    );
    let pushed = checkout.push().accepted();
    let url = json!({"url": format!("https://user:{DRAIN}@logs.example.com/in")});
    owner(platform, "POST", "/apps/safe/log-drains", &url);
    let encoded = format!("https%3A%2F%2Fuser%3A{DRAIN}%40logs.example.com%2Fother");
    let (missing, _) =
        platform.api("DELETE", &format!("/apps/safe/log-drains/{encoded}"), &Value::Null);
    assert_eq!(missing, 404);
    owner(platform, "POST", "/apps/safe/domains", &json!({"hostname": "www.lathe.example"}));
    let (chain, key) = Authority::new("safe").issue(&["www.lathe.example"], (-1, 30));
    let pair = json!({"certificate_chain": chain, "private_key": key});
    owner(platform, "POST", "/apps/safe/sni-endpoints", &pair);
    let mut unfit = pair.clone();
    unfit["certificate_chain"] = json!(Authority::new("other").pem());
    assert_eq!(platform.api("POST", "/apps/safe/sni-endpoints", &unfit).0, 422);
    let second = owner(platform, "POST", "/oauth/authorizations", &json!({}));
    let second = text(&second["access_token"]["token"]);
    platform.api_as(Some(&second), "GET", "/account", &Value::Null);
    let session = owner(platform, "POST", "/apps/safe/log-sessions", &json!({"lines": 1500}));
    let session = path_of(&session["logplex_url"]);
    let lines = call(platform, None, "GET", &session, &[], b"").body;
    let run = json!({"command": "sleep 60", "env": {"ONE_OFF": CONFIG}});
    owner(platform, "POST", "/apps/safe/dynos", &run);
    let source = owner(platform, "POST", "/sources", &Value::Null);
    let source = path_of(&source["source_blob"]["put_url"]);
    call(platform, None, "PUT", &source, &[], &archive("s", &[("Procfile", "web: true\n")]));
    until("the one-off is up", BOUND, || {
        let (_, dynos) = platform.api("GET", "/apps/safe/dynos", &Value::Null);
        let mut dynos = dynos.as_array()?.iter();
        dynos.any(|dyno| dyno["type"] == "run" && dyno["state"] == "up").then_some(())
    });
    Used { transcript: pushed.transcript, lines, token: second, key, session, source }
}

/// Reports each file with a secret that is not its own, or that others may read.
fn look(data: &Path, when: &str, secrets: &[(&str, Vec<u8>)], wrong: &mut Vec<String>) {
    for (what, secret) in secrets {
        for file in found(data, secret) {
            let mode = std::fs::metadata(data.join(&file)).map_or(0, |m| m.permissions().mode());
            if !may_hold(what, &file) || mode & 0o077 != 0 {
                wrong.push(format!("{when}: {what} in {file} (mode {:o})", mode & 0o777));
            }
        }
    }
}

#[test]
fn secrets_stay_where_they_belong() {
    let mut platform = Platform::start_with(&["log=debug"]);
    let used = use_all(&platform);
    let data = platform.data().to_owned();
    let secrets = [
        ("owner token", platform.token().into_bytes()),
        ("second token", used.token.into_bytes()),
        ("config value", CONFIG.as_bytes().to_vec()),
        ("drain password", DRAIN.as_bytes().to_vec()),
        ("state key", std::fs::read(data.join("state.key")).unwrap()),
        ("TLS key", key_in(&std::fs::read_to_string(data.join("tls/server.pem")).unwrap())),
        ("authority's key", key_in(&std::fs::read_to_string(data.join("tls/ca.key")).unwrap())),
        ("app's key", key_in(&used.key)),
    ];
    // It has the key in memory first; what it writes beside its file is not there for long.
    until("the router has saved its keyring", BOUND, || {
        let [saved, fresh] =
            ["json", "new"].map(|end| data.join("cell/router/keyring").with_extension(end));
        let (_, key) = secrets.last()?;
        (contains(&std::fs::read(saved).ok()?, key) && !fresh.exists()).then_some(())
    });
    let shown = command_lines();
    let mut wrong = Vec::new();
    look(&data, "up", &secrets, &mut wrong);
    for (what, secret) in &secrets {
        if contains(&shown, secret) {
            wrong.push(format!("{what} in a command line"));
        }
        for (place, text) in [("transcript", &used.transcript), ("app's log", &used.lines)] {
            if contains(text.as_bytes(), secret) {
                wrong.push(format!("{what} in the {place}"));
            }
        }
    }
    // The addresses that are secrets themselves are not in the log either.
    let log = platform.log();
    for (what, path) in [("log session", &used.session), ("source", &used.source)] {
        let secret = path.rsplit('/').next().unwrap();
        if log.contains(secret) {
            wrong.push(format!("the secret of a {what} in the log"));
        }
    }
    assert!(log.contains("DEBUG"), "nothing was logged, so nothing was shown");
    platform.stop();
    look(&data, "stopped", &secrets, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    platform.up();
}
