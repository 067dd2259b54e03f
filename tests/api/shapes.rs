//! Every object that the API serves has the properties that Heroku's has, of the same kinds.
//!
//! `fixtures/heroku-objects.json` holds the names and kinds of the properties in the published
//! JSON schema of the Heroku Platform API (version 3), one entry a resource: `a.b` is a property
//! of the object in `a`, `a[]` each element of a list.

use super::{BOUND, call, deploy, owner, path_of, text};
use lathe_tests::{Platform, until};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What Lathe leaves out, on purpose.
const ABSENT: &[(&str, &str)] = &[("oauth-authorization", "user.full_name")];

fn fixture() -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heroku-objects.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What is wrong with `object` as a `resource`.
fn faults(resource: &str, kinds: &Map<String, Value>, object: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, kind) in kinds {
        if ABSENT.contains(&(resource, path)) {
            continue;
        }
        for value in at(object, path) {
            let fits = value.is_some_and(|value| text(kind).split(" or ").any(|k| is(value, k)));
            if !fits {
                let value = value.map_or("missing".into(), Value::to_string);
                faults.push(format!("{resource}.{path} is {value} and not {kind}"));
            }
        }
    }
    faults
}

/// The values at `a.b` or `a[].b`; nothing where a parent is null, none where it is missing.
fn at<'a>(object: &'a Value, path: &str) -> Vec<Option<&'a Value>> {
    let mut found = vec![Some(object)];
    for name in path.split('.') {
        let (name, each) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        let inner = found.iter().flatten().filter(|value| !value.is_null());
        let inner = inner.map(|value| value.get(name));
        found = if each {
            inner.flatten().filter_map(Value::as_array).flatten().map(Some).collect()
        } else {
            inner.collect()
        };
    }
    found
}

fn is(value: &Value, kind: &str) -> bool {
    let is_date = |text: &str| {
        text.len() >= 20
            && text.as_bytes()[10] == b'T'
            && (text.ends_with('Z') || text.contains('+'))
    };
    let is_uuid =
        |text: &str| text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    match kind.split_once(' ') {
        Some(("one", words)) => value
            .as_str()
            .is_some_and(|text| words.trim_start_matches("of ").split(',').any(|w| w == text)),
        _ => match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "date-time" => value.as_str().is_some_and(is_date),
            "uuid" => value.as_str().is_some_and(is_uuid),
            "string" | "uri" => value.is_string(),
            other => panic!("the fixture has a kind {other:?}"),
        },
    }
}

#[test]
fn objects_have_the_properties_of_herokus() {
    let platform = Platform::start();
    let release = deploy(&platform, "shape");
    let get = |path: &str| owner(&platform, "GET", path, &Value::Null);
    let post = |path: &str, body: &Value| owner(&platform, "POST", path, body);
    post("/apps/shape/domains", &json!({"hostname": "shape.example.com"}));
    post("/apps/shape/log-drains", &json!({"url": "https://logs.example.com"}));
    post("/apps/shape/collaborators", &json!({"user": "ada@example.com"}));
    let run = post("/apps/shape/dynos", &json!({"command": "sleep 100", "attach": true}));
    assert!(text(&run["attach_url"]).starts_with("rendezvous://localhost:"), "{run}");
    // Nobody is there, which is found out at once.
    let buildpacks = json!({"updates": [{"buildpack": "https://localhost:1/buildpack.git"}]});
    owner(&platform, "PUT", "/apps/shape/buildpack-installations", &buildpacks);
    let source = post("/sources", &Value::Null);
    let blob = super::archive("s", &[("Procfile", "web: true\n")]);
    call(&platform, None, "PUT", &path_of(&source["source_blob"]["put_url"]), &[], &blob);
    let url = json!({"source_blob": {"url": source["source_blob"]["get_url"], "version": "abc"}});
    let build = post("/apps/shape/builds", &url);
    let build = text(&build["id"]);
    let ended = until("the build ends", BOUND, || {
        let build = get(&format!("/apps/shape/builds/{build}"));
        (build["status"] != "pending").then_some(build)
    });

    let objects = [
        ("account", get("/account")),
        ("app", get("/apps/shape")),
        ("app", get("/apps")),
        ("app", owner(&platform, "POST", "/apps", &json!({"name": "fresh"}))),
        ("build", get("/apps/shape/builds")),
        ("build", ended),
        ("buildpack-installation", get("/apps/shape/buildpack-installations")),
        ("collaborator", get("/apps/shape/collaborators")),
        ("domain", get("/apps/shape/domains")),
        ("domain", get("/apps/shape/domains/shape.localhost")),
        ("dyno", get("/apps/shape/dynos")),
        ("dyno", run),
        ("formation", get("/apps/shape/formation")),
        ("formation", get("/apps/shape/formation/web")),
        ("log-drain", get("/apps/shape/log-drains")),
        ("log-session", post("/apps/shape/log-sessions", &Value::Null)),
        ("oauth-authorization", get("/oauth/authorizations")),
        ("oauth-authorization", post("/oauth/authorizations", &json!({"expires_in": 60}))),
        ("rate-limit", get("/account/rate-limits")),
        ("region", get("/regions")),
        ("release", get("/apps/shape/releases")),
        ("release", get("/apps/shape/releases/1")),
        ("slug", get(&format!("/apps/shape/slugs/{}", text(&release["slug"]["id"])))),
        ("slug", post("/apps/shape/slugs", &json!({"process_types": {"web": "true"}}))),
        ("source", source),
        ("stack", get("/stacks")),
    ];
    let fixture = fixture();
    let mut wrong = Vec::new();
    for (resource, answer) in &objects {
        let kinds = fixture[*resource].as_object().unwrap();
        let objects = answer.as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
        assert!(!objects.is_empty(), "there is no {resource} to look at");
        wrong.extend(objects.iter().flat_map(|object| faults(resource, kinds, object)));
    }
    for resource in fixture.keys() {
        assert!(objects.iter().any(|(name, _)| name == resource), "no {resource} was looked at");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
