//! Who may do what: every route for everybody who may knock; and ids of another app.

use super::{BOUND, call, create, deploy, owner, path_of, text, token_of};
use lathe_tests::{Authority, Platform, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Whose a route is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Of {
    /// Everybody with a token.
    Account,
    /// The owner of the app and those who work on it; for others it does not exist.
    App,
    /// The owner alone.
    Owner,
    /// Whoever runs the platform.
    Operator,
    /// Whoever has the secret of the URL; without it, nothing is there.
    Secret,
    /// Nobody: the endpoint is not served.
    Nobody,
    /// Everybody: clients ask it without a token, and it tells what no account owns.
    Anybody,
}

/// Neither a certificate nor a key.
const NO_PAIR: &str = r#"{"certificate_chain": "-", "private_key": "-"}"#;

/// Method, path, whose it is, what those get who may, and what they send. In the order of calls.
const ROUTES: &[(&str, &str, Of, u16, &str)] = &[
    ("GET", "/account", Of::Account, 200, ""),
    ("GET", "/account/rate-limits", Of::Account, 200, ""),
    ("GET", "/account/features", Of::Account, 200, ""),
    ("GET", "/account/keys", Of::Account, 200, ""),
    ("GET", "/users/{user}", Of::Account, 200, ""),
    ("GET", "/users/{user}/apps", Of::Account, 200, ""),
    ("GET", "/oauth/authorizations", Of::Account, 200, ""),
    ("POST", "/oauth/authorizations", Of::Account, 201, ""),
    ("GET", "/oauth/authorizations/{authorization}", Of::Account, 200, ""),
    ("DELETE", "/oauth/authorizations/{authorization}", Of::Account, 200, ""),
    ("GET", "/users/{user}/authorizations", Of::Account, 200, ""),
    // The one of the line before the last: it has ended.
    ("DELETE", "/users/{user}/authorizations/{authorization}", Of::Account, 404, ""),
    ("DELETE", "/oauth/sessions/{session}", Of::Account, 404, ""),
    ("GET", "/addons", Of::Account, 200, ""),
    ("GET", "/addon-attachments", Of::Account, 200, ""),
    ("GET", "/pipelines", Of::Account, 200, ""),
    ("GET", "/teams", Of::Account, 200, ""),
    ("GET", "/spaces", Of::Account, 200, ""),
    ("GET", "/stacks", Of::Account, 200, ""),
    ("GET", "/regions", Of::Account, 200, ""),
    ("GET", "/governor", Of::Operator, 200, ""),
    ("PATCH", "/governor", Of::Operator, 200, r#"{"mode": "observe"}"#),
    ("GET", "/governor/report", Of::Operator, 200, ""),
    ("GET", "/metrics", Of::Operator, 200, ""),
    ("PATCH", "/batch", Of::Nobody, 404, ""),
    ("GET", "/apps", Of::Account, 200, ""),
    ("POST", "/apps", Of::Account, 201, ""),
    ("GET", "/apps/{app}", Of::App, 200, ""),
    ("PATCH", "/apps/{app}", Of::App, 200, ""),
    ("GET", "/apps/{app}/config-vars", Of::App, 200, ""),
    ("PATCH", "/apps/{app}/config-vars", Of::App, 200, ""),
    ("GET", "/apps/{app}/collaborators", Of::App, 200, ""),
    ("POST", "/apps/{app}/collaborators", Of::App, 201, r#"{"user": "new@example.com"}"#),
    ("DELETE", "/apps/{app}/collaborators/{user}", Of::App, 200, ""),
    ("GET", "/apps/{app}/domains", Of::App, 200, ""),
    ("POST", "/apps/{app}/domains", Of::App, 422, r#"{"hostname": "-"}"#),
    ("GET", "/apps/{app}/domains/{domain}", Of::App, 200, ""),
    ("PATCH", "/apps/{app}/domains/{domain}", Of::App, 200, ""),
    ("DELETE", "/apps/{app}/domains/{domain}", Of::App, 200, ""),
    ("GET", "/apps/{app}/log-drains", Of::App, 200, ""),
    ("POST", "/apps/{app}/log-drains", Of::App, 422, r#"{"url": "-"}"#),
    ("GET", "/apps/{app}/log-counts", Of::App, 200, ""),
    ("DELETE", "/apps/{app}/log-drains/{drain}", Of::App, 200, ""),
    ("POST", "/apps/{app}/log-sessions", Of::App, 201, ""),
    ("GET", "/log-sessions/{secret}", Of::Secret, 404, ""),
    ("GET", "/apps/{app}/addons", Of::App, 200, ""),
    ("GET", "/apps/{app}/addon-attachments", Of::App, 200, ""),
    ("GET", "/apps/{app}/features", Of::App, 200, ""),
    ("GET", "/apps/{app}/features/{feature}", Of::App, 200, ""),
    ("PATCH", "/apps/{app}/features/{feature}", Of::App, 200, r#"{"enabled": true}"#),
    ("GET", "/apps/{app}/sni-endpoints", Of::App, 200, ""),
    ("POST", "/apps/{app}/sni-endpoints", Of::App, 422, NO_PAIR),
    ("GET", "/apps/{app}/sni-endpoints/{endpoint}", Of::App, 404, ""),
    ("PATCH", "/apps/{app}/sni-endpoints/{endpoint}", Of::App, 422, NO_PAIR),
    ("DELETE", "/apps/{app}/sni-endpoints/{endpoint}", Of::App, 404, ""),
    // No authority is set.
    ("POST", "/apps/{app}/acm", Of::App, 422, ""),
    ("PATCH", "/apps/{app}/acm", Of::App, 422, ""),
    ("DELETE", "/apps/{app}/acm", Of::App, 200, ""),
    ("GET", "/apps/{app}/webhooks", Of::App, 200, ""),
    ("GET", "/apps/{app}/pipeline-couplings", Of::App, 404, ""),
    ("GET", "/apps/{app}/releases", Of::App, 200, ""),
    ("POST", "/apps/{app}/releases", Of::App, 422, ""),
    ("GET", "/apps/{app}/releases/{release}", Of::App, 200, ""),
    ("POST", "/apps/{app}/releases/{release}/actions/rebuild", Of::App, 422, ""),
    ("GET", "/apps/{app}/releases/{release}/config-vars", Of::App, 200, ""),
    ("GET", "/apps/{app}/releases/{release}/output/{secret}", Of::Secret, 404, ""),
    ("GET", "/apps/{app}/formation", Of::App, 200, ""),
    ("PATCH", "/apps/{app}/formation", Of::App, 200, r#"{"updates": []}"#),
    ("GET", "/apps/{app}/formation/{type}", Of::App, 200, ""),
    ("PATCH", "/apps/{app}/formation/{type}", Of::App, 200, ""),
    ("DELETE", "/apps/{app}/formations/{type}", Of::App, 202, ""),
    ("POST", "/apps/{app}/formations/{type}/actions/stop", Of::App, 202, ""),
    ("GET", "/apps/{app}/cpu", Of::App, 200, ""),
    ("GET", "/apps/{app}/dynos", Of::App, 200, ""),
    ("POST", "/apps/{app}/dynos", Of::App, 201, r#"{"command": "true"}"#),
    ("DELETE", "/apps/{app}/dynos", Of::App, 202, ""),
    ("GET", "/apps/{app}/dynos/{dyno}", Of::App, 200, ""),
    ("DELETE", "/apps/{app}/dynos/{dyno}", Of::App, 202, ""),
    ("POST", "/apps/{app}/dynos/{dyno}/actions/stop", Of::App, 202, ""),
    ("GET", "/apps/{app}/builds", Of::App, 200, ""),
    ("POST", "/apps/{app}/builds", Of::App, 422, r#"{"source_blob": {"url": "-"}}"#),
    ("GET", "/apps/{app}/builds/{build}", Of::App, 404, ""),
    ("DELETE", "/apps/{app}/builds/{build}", Of::App, 404, ""),
    ("GET", "/apps/{app}/builds/{build}/output/{secret}", Of::Secret, 404, ""),
    ("DELETE", "/apps/{app}/build-cache", Of::App, 204, ""),
    // No name of a buildpack: the client of Heroku's buildpack registry knows no tokens.
    ("GET", "/buildpacks/{buildpack}", Of::Anybody, 422, ""),
    ("GET", "/apps/{app}/buildpack-installations", Of::App, 200, ""),
    ("PUT", "/apps/{app}/buildpack-installations", Of::App, 200, r#"{"updates": []}"#),
    ("POST", "/sources", Of::Account, 201, ""),
    ("POST", "/apps/{app}/sources", Of::App, 201, ""),
    ("PUT", "/sources/{secret}", Of::Secret, 404, ""),
    ("GET", "/sources/{secret}", Of::Secret, 404, ""),
    ("POST", "/apps/{app}/slugs", Of::App, 201, r#"{"process_types": {"web": "true"}}"#),
    ("GET", "/apps/{app}/slugs/{slug}", Of::App, 200, ""),
    ("PUT", "/slugs/{slug}/{secret}", Of::Secret, 404, ""),
    ("GET", "/slugs/{slug}/{secret}", Of::Secret, 404, ""),
    ("GET", "/v2/", Of::Account, 200, ""),
    ("GET", "/v2/{app}/manifests/{reference}", Of::App, 200, ""),
    ("GET", "/v2/{app}/blobs/{digest}", Of::App, 404, ""),
    ("DELETE", "/apps/{app}", Of::Owner, 200, ""),
];

/// Everybody who knocks: no token, a wrong one, one of an account without access, and so on.
const PEOPLE: [&str; 5] = ["none", "bad", "foreign", "collaborator", "owner"];

/// What `who` gets on a route.
fn expected(of: Of, status: u16, who: &str) -> u16 {
    match (of, who) {
        (Of::Secret | Of::Nobody | Of::Anybody, _) => status,
        (_, "none" | "bad") => 401,
        (Of::App | Of::Owner, "foreign") => 404,
        (Of::Owner, "collaborator") | (Of::Operator, "foreign" | "collaborator") => 403,
        _ => status,
    }
}

/// Whether a refusal has a word and a sentence; clients of the registry want their own form.
fn says_why(path: &str, body: &str) -> bool {
    let told: Value = serde_json::from_str(body).unwrap_or_default();
    let (told, word) =
        if path.starts_with("/v2/") { (&told["errors"][0], "code") } else { (&told, "id") };
    told[word].is_string() && told["message"].is_string()
}

/// The route tables as the server's own sources have them.
pub(super) fn routes() -> BTreeSet<(String, String)> {
    let sources = ["api", "registry"].map(|room| {
        let path = format!("../platform/src/{room}/mod.rs");
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    });
    let source = sources.concat();
    let mut routes = BTreeSet::new();
    for route in source.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').unwrap();
        let handlers = rest.split(".route(").next().unwrap();
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) {
                routes.insert((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    routes
}

#[test]
fn every_route_for_everybody() {
    let known: BTreeSet<_> =
        ROUTES.iter().map(|(method, path, ..)| ((*method).into(), (*path).into())).collect();
    assert_eq!(routes(), known, "a route without a row here, or a row without a route");

    let platform = Platform::start();
    let release = deploy(&platform, "house");
    let slug = text(&release["slug"]["id"]);
    let mut people = BTreeMap::from([("bad", "lth_0000".to_owned()), ("owner", platform.token())]);
    for who in ["foreign", "collaborator"] {
        people.insert(who, token_of(&platform, &format!("{who}@example.com")));
    }
    let member = json!({"user": "collaborator@example.com"});
    owner(&platform, "POST", "/apps/house/collaborators", &member);
    let mut spare = BTreeMap::new();
    for who in ["collaborator", "owner", "foreign"] {
        let made = call(&platform, Some(&people[who]), "POST", "/oauth/authorizations", &[], b"");
        let made: Value = serde_json::from_str(&made.body).unwrap();
        spare.insert(who, text(&made["id"]));
    }
    for who in ["collaborator", "owner"] {
        let domain = json!({"hostname": format!("{who}.example.com")});
        owner(&platform, "POST", "/apps/house/domains", &domain);
        let drain = json!({"url": format!("https://logs.example.com/{who}")});
        owner(&platform, "POST", "/apps/house/log-drains", &drain);
        let friend = json!({"user": format!("friend-of-{who}@example.com")});
        owner(&platform, "POST", "/apps/house/collaborators", &friend);
    }
    platform.awaits_image("house", "v2");
    until("a dyno is there to be restarted", BOUND, || {
        (platform.api("GET", "/apps/house/dynos/web.1", &Value::Null).0 == 200).then_some(())
    });

    let mut wrong = Vec::new();
    for (method, path, of, status, body) in ROUTES {
        for who in PEOPLE {
            let user = if path.contains("collaborators") {
                format!("friend-of-{who}@example.com")
            } else {
                "~".into()
            };
            let path = path
                .replace("{app}", "house")
                .replace("{user}", &user)
                .replace("{authorization}", spare.get(who).map_or("~", String::as_str))
                .replace("{session}", "~")
                .replace("{feature}", "log-runtime-metrics")
                .replace("{domain}", &format!("{who}.example.com"))
                .replace("{drain}", &format!("https%3A%2F%2Flogs.example.com%2F{who}"))
                .replace("{reference}", "v2")
                .replace("{endpoint}", "cert-0")
                .replace("{digest}", "sha256:0")
                .replace("{release}", "2")
                .replace("{type}", "web")
                .replace("{dyno}", "web.1")
                .replace("{build}", "00000000-0000-4000-8000-000000000000")
                .replace("{buildpack}", "acme%2Fnone")
                .replace("{slug}", &slug)
                .replace("{secret}", "guessed");
            let token = people.get(who).map(String::as_str);
            let answer = call(&platform, token, method, &path, &[], body.as_bytes());
            let expected = expected(*of, *status, who);
            if answer.status != expected {
                let (got, body) = (answer.status, &answer.body);
                wrong.push(format!("{method} {path} for {who}: {got} for {expected}: {body}"));
            }
            if answer.status >= 400 && !says_why(&path, &answer.body) {
                wrong.push(format!("{method} {path} for {who} is not told why: {}", answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_belongs_to_another_app_does_not_exist() {
    let platform = Platform::start();
    create(&platform, "mine");
    let release = deploy(&platform, "other");
    let (_, dynos) = platform.api("GET", "/apps/other/dynos", &Value::Null);
    let (_, formation) = platform.api("GET", "/apps/other/formation/web", &Value::Null);
    let run = owner(&platform, "POST", "/apps/other/dynos", &json!({"command": "sleep 100"}));
    let domain =
        owner(&platform, "POST", "/apps/other/domains", &json!({"hostname": "b.example.com"}));
    let drain = owner(
        &platform,
        "POST",
        "/apps/other/log-drains",
        &json!({"url": "https://b.example.com"}),
    );
    let friend =
        owner(&platform, "POST", "/apps/other/collaborators", &json!({"user": "b@example.com"}));
    let source = owner(&platform, "POST", "/apps/other/sources", &Value::Null);
    let archive =
        super::archive("b", &[("Procfile", "web: python3 web.py"), ("web.py", super::WEB)]);
    call(&platform, None, "PUT", &path_of(&source["source_blob"]["put_url"]), &[], &archive);
    let blob = json!({"source_blob": {"url": source["source_blob"]["get_url"]}});
    let build = owner(&platform, "POST", "/apps/other/builds", &blob);

    let (chain, key) = Authority::new("test").issue(&["b.example.com"], (-1, 30));
    let pair = json!({"certificate_chain": chain, "private_key": key});
    let endpoint = owner(&platform, "POST", "/apps/other/sni-endpoints", &pair);

    let things = [
        ("GET", "releases/{}", &release["id"]),
        ("GET", "releases/{}/config-vars", &release["id"]),
        ("GET", "slugs/{}", &release["slug"]["id"]),
        ("GET", "dynos/{}", &dynos[0]["id"]),
        ("DELETE", "dynos/{}", &dynos[0]["id"]),
        ("GET", "dynos/{}", &run["id"]),
        ("POST", "dynos/{}/actions/stop", &run["id"]),
        ("GET", "formation/{}", &formation["id"]),
        ("PATCH", "formation/{}", &formation["id"]),
        ("GET", "builds/{}", &build["id"]),
        ("DELETE", "builds/{}", &build["id"]),
        ("GET", "domains/{}", &domain["id"]),
        ("DELETE", "domains/{}", &domain["id"]),
        ("GET", "sni-endpoints/{}", &endpoint["id"]),
        ("DELETE", "sni-endpoints/{}", &endpoint["id"]),
        ("DELETE", "log-drains/{}", &drain["id"]),
        ("DELETE", "collaborators/{}", &friend["id"]),
    ];
    for (method, path, id) in things {
        let ask = |id: &str| {
            let path = format!("/apps/mine/{}", path.replace("{}", id));
            let answer = call(&platform, Some(&platform.token()), method, &path, &[], b"");
            (answer.status, answer.body)
        };
        let nothing = ask("6f1de30a-44a4-4ba1-9d7c-0c3e5b2a9f10");
        assert_eq!(nothing.0, 404, "{method} {path}: {}", nothing.1);
        assert_eq!(ask(&text(id)), nothing, "{method} {path}");
    }
    for body in [json!({"release": release["id"]}), json!({"slug": release["slug"]["id"]})] {
        assert_eq!(platform.api("POST", "/apps/mine/releases", &body).0, 404, "{body}");
    }
    let secret = path_of(&build["output_stream_url"]);
    let mine = secret.replace(build["app"]["id"].as_str().unwrap(), "mine");
    assert_eq!(call(&platform, None, "GET", &mine, &[], b"").status, 404);

    let (_, run) =
        platform.api("GET", &format!("/apps/other/dynos/{}", text(&run["id"])), &json!({}));
    assert_eq!(run["command"], "sleep 100", "the one-off was not stopped from outside");
    until("the build ends", BOUND, || {
        let path = format!("/apps/other/builds/{}", text(&build["id"]));
        (platform.api("GET", &path, &Value::Null).1["status"] == "succeeded").then_some(())
    });
}

#[test]
fn a_collaborator_works_on_an_app_and_neither_renames_nor_destroys_it() {
    let platform = Platform::start();
    create(&platform, "shared");
    let token = token_of(&platform, "ada@example.com");
    let ada =
        |method: &str, path: &str, body: &Value| platform.api_as(Some(&token), method, path, body);
    assert_eq!(ada("GET", "/apps", &Value::Null).1, json!([]));
    let member = json!({"user": "ada@example.com"});
    owner(&platform, "POST", "/apps/shared/collaborators", &member);
    assert_eq!(ada("GET", "/apps", &Value::Null).1[0]["name"], "shared");
    assert_eq!(ada("PATCH", "/apps/shared", &json!({"maintenance": true})).0, 200);
    let (status, why) = ada("PATCH", "/apps/shared", &json!({"name": "stolen"}));
    assert_eq!((status, why["id"].as_str()), (403, Some("forbidden")), "{why}");
    assert_eq!(ada("DELETE", "/apps/shared", &Value::Null).0, 403);
    let (status, why) = ada("POST", "/oauth/authorizations", &json!({"user": "owner@lathe.local"}));
    assert_eq!((status, why["id"].as_str()), (403, Some("forbidden")), "{why}");
    assert_eq!(ada("GET", "/users/owner@lathe.local", &Value::Null).0, 404);

    owner(&platform, "DELETE", "/apps/shared/collaborators/ada@example.com", &Value::Null);
    assert_eq!(ada("GET", "/apps/shared", &Value::Null).0, 404);
}
