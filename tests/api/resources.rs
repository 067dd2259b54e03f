//! What the resources promise beyond their shape: config, releases, formation, drains, domains,
//! buildpacks, and logging in.

use super::{BOUND, WEB, archive, call, create, deploy, owner, path_of, text, upload_slug};
use lathe_tests::{Platform, get, until};
use serde_json::{Value, json};

fn versions(platform: &Platform, app: &str) -> Vec<u64> {
    let releases = owner(platform, "GET", &format!("/apps/{app}/releases"), &Value::Null);
    let releases = releases.as_array().unwrap().iter();
    releases.map(|release| release["version"].as_u64().unwrap()).collect()
}

#[test]
fn config_vars_change_by_releases_and_only_when_they_change() {
    let platform = Platform::start();
    create(&platform, "config");
    let patch = |body: &Value| owner(&platform, "PATCH", "/apps/config/config-vars", body);
    let latest = || *versions(&platform, "config").last().unwrap();
    assert_eq!(
        patch(&json!({"A": "1", "B": "é\n\"quoted\""})),
        json!({"A": "1", "B": "é\n\"quoted\""})
    );
    assert_eq!(latest(), 2, "the release is there before the answer");
    assert_eq!(patch(&json!({"A": "1"})), json!({"A": "1", "B": "é\n\"quoted\""}));
    assert_eq!(patch(&json!({"NEVER_SET": null})).as_object().unwrap().len(), 2);
    assert_eq!(patch(&json!({})).as_object().unwrap().len(), 2);
    assert_eq!(latest(), 2, "nothing changed, nothing was released");
    assert_eq!(patch(&json!({"A": null, "B": "", "C": "3"})), json!({"B": "", "C": "3"}));
    let (_, release) = platform.api("GET", "/apps/config/releases/3", &Value::Null);
    assert_eq!(release["description"], "Set B, C; remove A config vars");
    let old = owner(&platform, "GET", "/apps/config/releases/2/config-vars", &Value::Null);
    assert_eq!(old["A"], "1", "an old release keeps its own");
    let (status, _) = platform.api("PATCH", "/apps/config/config-vars", &json!({"A": 1}));
    assert_eq!(status, 400, "values are texts");
}

#[test]
fn a_release_is_found_by_id_and_version_and_rolled_back_to() {
    let platform = Platform::start();
    let deployed = deploy(&platform, "back");
    owner(&platform, "PATCH", "/apps/back/config-vars", &json!({"GREETING": "hej"}));
    until("the config serves", BOUND, || {
        (platform.app("back", "/").body == "web.1 hej").then_some(())
    });
    let id = text(&deployed["id"]);
    for identity in ["2", "v2", &id] {
        let found =
            owner(&platform, "GET", &format!("/apps/back/releases/{identity}"), &Value::Null);
        assert_eq!((found["version"].as_u64(), &found["id"]), (Some(2), &deployed["id"]));
    }
    let roll = |to: &str| platform.api("POST", "/apps/back/releases", &json!({"release": to}));
    let (status, why) = roll("1");
    assert_eq!((status, why["id"].as_str()), (422, Some("invalid_params")), "{why}");
    assert_eq!(roll("99").0, 404);
    assert_eq!(platform.api("POST", "/apps/back/releases", &json!({})).0, 422);

    let (status, release) = roll(&id);
    assert_eq!((status, release["description"].as_str()), (201, Some("Rollback to v2")));
    until("the old config serves", BOUND, || {
        (platform.app("back", "/").body == "web.1 none").then_some(())
    });
    let releases = owner(&platform, "GET", "/apps/back/releases", &Value::Null);
    let releases = releases.as_array().unwrap();
    let of = |property: &str| -> Vec<_> { releases.iter().map(|r| r[property].clone()).collect() };
    assert_eq!(of("current"), [false, false, false, true]);
    assert_eq!(of("eligible_for_rollback"), [false, true, true, true]);
    assert_eq!(owner(&platform, "GET", "/apps/back/config-vars", &Value::Null), json!({}));
}

#[test]
fn the_formation_takes_quantities_as_clients_write_them() {
    let platform = Platform::start();
    deploy(&platform, "scale");
    let path = "/apps/scale/formation";
    let scale = |updates: Value| platform.api("PATCH", path, &json!({"updates": updates}));
    for (quantity, expected) in
        [(json!("2"), 2), (json!("+1"), 3), (json!("-2"), 1), (json!("-5"), 0), (json!(1), 1)]
    {
        let (status, all) = scale(json!([{"type": "worker", "quantity": quantity}]));
        let worker = all.as_array().unwrap().iter().find(|one| one["type"] == "worker").unwrap();
        assert_eq!((status, worker["quantity"].as_u64()), (200, Some(expected)), "{quantity}");
        assert_eq!(all.as_array().unwrap().len(), 2, "the whole formation is told");
    }
    let (status, all) = scale(json!([{"type": "worker", "size": "standard-2x"}]));
    assert_eq!((status, all[1]["size"].as_str()), (200, Some("Standard-2X")));
    let (status, one) = platform.api("PATCH", &format!("{path}/worker"), &json!({"quantity": 0}));
    assert_eq!((status, one["quantity"].as_u64()), (200, Some(0)));

    for (updates, status) in [
        (json!([{"type": "clock", "quantity": "1"}]), 404),
        (json!([{"type": "web", "quantity": "many"}]), 422),
        (json!([{"type": "web", "quantity": "101"}]), 422),
        (json!([{"type": "web", "quantity": -1}]), 400),
        (json!([{"type": "web", "quantity": 9_223_372_036_854_775_808_u64}]), 400),
        (json!([{"type": "web", "size": "build"}]), 422),
        (json!([{"type": "worker", "quantity": "7"}, {"type": "clock", "quantity": "1"}]), 404),
    ] {
        let (got, why) = scale(updates.clone());
        assert_eq!(got, status, "{updates}: {why}");
    }
    let all = owner(&platform, "GET", path, &Value::Null);
    assert_eq!(all[1]["quantity"], 0, "a refused batch changes nothing");
}

#[test]
fn a_slug_made_elsewhere_is_uploaded_once_released_and_given_back() {
    let platform = Platform::start();
    create(&platform, "slug");
    let blob = archive("app", &[("web.py", WEB)]);
    let described =
        |checksum: &str| json!({"process_types": {"web": "python3 web.py"}, "checksum": checksum});
    let make = |body: &Value| owner(&platform, "POST", "/apps/slug/slugs", body);
    let put = |slug: &Value, blob: &[u8]| {
        assert_eq!(slug["blob"]["method"], "put");
        call(&platform, None, "PUT", &path_of(&slug["blob"]["url"]), &[], blob)
    };
    let slug = make(&json!({"process_types": {"web": "python3 web.py"}, "commit": "abc"}));
    let release =
        |slug: &Value| platform.api("POST", "/apps/slug/releases", &json!({"slug": slug["id"]}));
    assert_eq!(release(&slug).0, 422, "there is no blob yet");
    let bad = put(&slug, b"no gzip at all");
    assert_eq!(bad.status, 422, "{}", bad.body);
    let taken = put(&slug, &blob);
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(put(&slug, &blob).status, 422, "a blob does not change");

    let show =
        owner(&platform, "GET", &format!("/apps/slug/slugs/{}", text(&slug["id"])), &Value::Null);
    assert_eq!(
        (show["commit"].as_str(), show["size"].as_u64()),
        (Some("abc"), Some(blob.len() as u64))
    );
    assert_eq!(show["blob"]["method"], "get");
    let given = call(&platform, None, "GET", &path_of(&show["blob"]["url"]), &[], b"");
    assert_eq!(given.headers["content-length"], blob.len().to_string());
    let through_get = call(&platform, None, "PUT", &path_of(&show["blob"]["url"]), &[], &blob);
    assert_eq!(through_get.status, 404, "that URL is for reading");

    assert_eq!(release(&slug).0, 201);
    until("the slug serves", BOUND, || {
        (platform.app("slug", "/").body == "web.1 none").then_some(())
    });

    let right = text(&show["checksum"]);
    let wrong = put(&make(&described(&format!("SHA256:{}", "0".repeat(64)))), &blob);
    assert!(wrong.status == 422 && wrong.body.contains(&right), "{}", wrong.body);
    assert_eq!(put(&make(&described(&right)), &blob).status, 200);
}

/// What `encodeURIComponent` makes of the drain below.
const ENCODED: &str =
    "https%3A%2F%2Fuser%3Apass%40logs.example.com%3A6514%2Fa%2Fb%3Fc%3Dd%26e%3Df%2520g";

#[test]
fn drains_and_domains_go_by_any_of_their_names() {
    let platform = Platform::start();
    deploy(&platform, "names");
    let drains = "/apps/names/log-drains";
    let url = "https://user:pass@logs.example.com:6514/a/b?c=d&e=f%20g";
    let add = || owner(&platform, "POST", drains, &json!({"url": url}));
    let by: [fn(&Value) -> String; 3] =
        [|drain| text(&drain["id"]), |drain| text(&drain["token"]), |_| ENCODED.to_owned()];
    for identity in by {
        let drain = add();
        assert_eq!(drain["url"], url);
        assert_eq!(platform.api("POST", drains, &json!({"url": url})).0, 422, "twice");
        let removed =
            owner(&platform, "DELETE", &format!("{drains}/{}", identity(&drain)), &Value::Null);
        assert_eq!(removed, drain);
    }
    assert_eq!(owner(&platform, "GET", drains, &Value::Null), json!([]));

    let domain =
        owner(&platform, "POST", "/apps/names/domains", &json!({"hostname": "WWW.Example.com"}));
    assert_eq!(
        (domain["hostname"].as_str(), domain["kind"].as_str()),
        (Some("www.example.com"), Some("custom"))
    );
    until("the domain is served", BOUND, || {
        let answer = get(platform.address("router"), "www.example.com", "/");
        (answer.status == 200).then_some(())
    });
    let kinds = owner(&platform, "GET", "/apps/names/domains", &Value::Null);
    let kinds: Vec<_> = kinds.as_array().unwrap().iter().map(|d| d["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "heroku").count(), 1);
    let taken = json!({"hostname": "www.example.com"});
    create(&platform, "later");
    assert_eq!(platform.api("POST", "/apps/later/domains", &taken).0, 422);
    owner(&platform, "DELETE", "/apps/names/domains/www.example.com", &Value::Null);
    until("it is served no more", BOUND, || {
        let answer = get(platform.address("router"), "www.example.com", "/");
        (answer.status == 404).then_some(())
    });
}

#[test]
fn an_app_is_renamed_and_its_buildpacks_are_a_list() {
    let platform = Platform::start();
    let app = create(&platform, "before");
    upload_slug(&platform, "before");
    let renamed = owner(&platform, "PATCH", "/apps/before", &json!({"name": "after"}));
    assert_eq!((&renamed["id"], renamed["name"].as_str()), (&app["id"], Some("after")));
    assert!(text(&renamed["web_url"]).starts_with("http://after.localhost"), "{renamed}");
    assert!(text(&renamed["git_url"]).ends_with("/after.git"), "{renamed}");
    assert_eq!(platform.api("GET", "/apps/before", &Value::Null).0, 404);
    assert_eq!(
        owner(&platform, "GET", &format!("/apps/{}", text(&app["id"])), &Value::Null)["name"],
        "after"
    );

    let path = "/apps/after/buildpack-installations";
    let set = |list: Value| platform.api("PUT", path, &json!({"updates": list}));
    let (status, list) =
        set(json!([{"buildpack": "heroku/nodejs"}, {"buildpack": "https://example.com/b.git"}]));
    assert_eq!((status, list[1]["ordinal"].as_u64()), (200, Some(1)));
    assert_eq!(list[1]["buildpack"]["url"], "https://example.com/b.git");
    assert_eq!(owner(&platform, "GET", path, &Value::Null), list);
    assert_eq!(set(json!([{"buildpack": ""}])).0, 422);
    assert_eq!(set(json!(vec![json!({"buildpack": "x"}); 21])).0, 422);
    assert_eq!(set(json!([])), (200, json!([])));
}

#[test]
fn a_login_gives_a_token_of_its_own_and_a_logout_ends_it() {
    let platform = Platform::start();
    let login = |password: &str| {
        let basic = format!("Basic {}", base64(&format!("ada@example.com:{password}")));
        let body = json!({"description": "Heroku CLI login", "expires_in": 2_592_000, "scope": ["global"]});
        let headers = [("Authorization", basic.as_str())];
        let answer = call(
            &platform,
            None,
            "POST",
            "/oauth/authorizations",
            &headers,
            body.to_string().as_bytes(),
        );
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap())
    };
    let (status, why) = login("hunter2");
    assert_eq!((status, why["id"].as_str()), (401, Some("unauthorized")));
    assert!(text(&why["message"]).contains("give your API token as the password"), "{why}");

    let (status, made) = login(&platform.token());
    assert_eq!((status, made["user"]["email"].as_str()), (201, Some("owner@lathe.local")));
    let seconds = made["access_token"]["expires_in"].as_i64().unwrap();
    assert!((2_591_900..=2_592_000).contains(&seconds), "{seconds}");
    let token = text(&made["access_token"]["token"]);
    let asked =
        |method: &str, path: &str| platform.api_as(Some(&token), method, path, &Value::Null);
    assert_eq!(asked("GET", "/account").1["email"], "owner@lathe.local");
    let (_, all) = asked("GET", "/oauth/authorizations");
    assert!(all.as_array().unwrap().iter().all(|one| one["access_token"]["token"] == "**********"));
    // What `heroku logout` does.
    let (status, why) = asked("DELETE", "/oauth/sessions/~");
    assert_eq!((status, why["resource"].as_str()), (404, Some("session")));
    let (_, current) = asked("GET", "/oauth/authorizations/~");
    assert_eq!(current["id"], made["id"]);
    assert_eq!(asked("DELETE", &format!("/oauth/authorizations/{}", text(&current["id"]))).0, 200);
    assert_eq!(asked("GET", "/account").0, 401);
    assert_eq!(platform.api("GET", "/account", &Value::Null).0, 200, "other tokens go on");

    let short = owner(&platform, "POST", "/oauth/authorizations", &json!({"expires_in": 1}));
    let short = text(&short["access_token"]["token"]);
    until("the token expires", BOUND, || {
        (platform.api_as(Some(&short), "GET", "/account", &Value::Null).0 == 401).then_some(())
    });
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}
