//! `lathe token`: the operator gives access, sees who has it, and ends it.

use super::create;
use lathe_tests::Platform;
use serde_json::{Value, json};

/// What it prints for the program that reads it, and for whoever typed it.
fn token(platform: &Platform, arguments: &[&str]) -> (bool, String, String) {
    let output = platform.command().arg("token").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_operator_gives_access_and_ends_it() {
    let platform = Platform::start();
    create(&platform, "shared");
    let ada = "ada+work@example.com";
    let (made, plain, said) = token(&platform, &[ada, "--description", "laptop", "--days", "30"]);
    assert!(made && said.contains("shown this once"), "{said}");
    assert_eq!(plain.lines().count(), 1, "the token and nothing else: {plain}");
    let as_ada = |path: &str| platform.api_as(Some(&plain), "GET", path, &Value::Null);
    assert_eq!(as_ada("/account").1["email"], ada);
    assert_eq!(as_ada("/apps/shared").0, 404);
    let member = json!({"user": ada});
    assert_eq!(platform.api("POST", "/apps/shared/collaborators", &member).0, 201);
    assert_eq!(as_ada("/apps/shared").0, 200);
    assert_eq!(as_ada("/users/owner@lathe.local/authorizations").0, 404, "not for everybody");

    let (_, list, _) = token(&platform, &[ada, "--list"]);
    let id = list.split(' ').next().unwrap().to_owned();
    assert!(list.contains("laptop") && list.contains("29 days left"), "{list}");
    assert!(!list.contains(&plain), "a token is shown once");
    let (ended, _, said) = token(&platform, &[ada, "--revoke", &id]);
    assert!(ended, "{said}");
    assert_eq!(as_ada("/account").0, 401);
    assert_eq!(token(&platform, &[ada, "--list"]).1, "");

    // The platform's own is replaced: it goes on asking itself, and so does whoever has its directory.
    let own = || std::fs::read_to_string(platform.data().join("owner-token")).unwrap();
    let (before, owner) = (own(), "owner@lathe.local");
    let (_, list, _) = token(&platform, &[owner, "--list"]);
    let first = list.lines().find(|line| line.contains("first start")).unwrap();
    let id = first.split(' ').next().unwrap();
    let (ended, _, said) = token(&platform, &[owner, "--revoke", id]);
    assert!(ended, "{said}");
    assert_eq!(platform.api_as(Some(before.trim()), "GET", "/account", &Value::Null).0, 401);
    assert_eq!(platform.api_as(Some(own().trim()), "GET", "/account", &Value::Null).0, 200);

    for (arguments, why) in [
        (&["nobody"][..], "named by an e-mail address"),
        (&["eve@example.com", "--list"], "Couldn't find that user"),
        (&[ada, "--revoke", "1/../2"], "Couldn't find that authorization"),
    ] {
        let (done, _, said) = token(&platform, arguments);
        assert!(!done && said.contains(why), "{arguments:?}: {said}");
    }
}
