//! The slug API from outside: what is uploaded is checked, refused with its reason, or there to stay.

use super::{WEB, archive, call, create, owner, path_of, text};
use lathe_tests::Platform;
use serde_json::{Value, json};

/// Describes a slug; gives its id and where its blob goes.
fn describe(platform: &Platform, app: &str, checksum: Option<&str>) -> (String, String) {
    let described = json!({"process_types": {"web": "python3 web.py"}, "checksum": checksum});
    let slug = owner(platform, "POST", &format!("/apps/{app}/slugs"), &described);
    (text(&slug["id"]), path_of(&slug["blob"]["url"]))
}

#[test]
fn a_checksum_is_held_against_what_comes_and_what_is_kept_is_listed() {
    let platform = Platform::start();
    create(&platform, "sum");
    let blob = archive("app", &[("web.py", WEB)]);
    let wrong = format!("SHA256:{}", "0".repeat(64));
    let (_, put) = describe(&platform, "sum", Some(&wrong));
    let refused = call(&platform, None, "PUT", &put, &[], &blob);
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("Checksum does not match expected value"), "{}", refused.body);
    let actual = refused.body.split("Actual: ").nth(1).unwrap();
    let actual = &actual[..actual.find('"').unwrap()];

    let (id, put) = describe(&platform, "sum", Some(actual));
    assert_eq!(call(&platform, None, "PUT", &put, &[], &blob).status, 200);
    assert_ne!(
        call(&platform, None, "PUT", &put, &[], &blob).status,
        200,
        "it never changes again"
    );
    let slug = owner(&platform, "GET", &format!("/apps/sum/slugs/{id}"), &Value::Null);
    assert_eq!(
        (slug["checksum"].as_str(), slug["size"].as_u64()),
        (Some(actual), Some(blob.len() as u64))
    );
    let get = path_of(&slug["blob"]["url"]);
    assert_eq!(
        call(&platform, None, "GET", &get, &[], b"").headers["content-length"],
        blob.len().to_string()
    );

    let release = owner(&platform, "POST", "/apps/sum/releases", &json!({"slug": id}));
    let listed = platform.command().arg("slugs").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| actual.ends_with(&line[..64.min(line.len())])).unwrap();
    assert!(line.contains(&format!("sum v{}", release["version"])), "{listed}");
}
