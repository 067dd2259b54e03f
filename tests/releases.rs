//! Releases held against each other, and against what is built again, on the command line; and
//! their commands, each of which runs once.

use lathe_tests::{Checkout, Platform, until};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);

#[test]
fn two_releases_are_compared_by_files_sizes_process_types_and_config_names() {
    let platform = Platform::start();
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "compared"})).0, 201);
    let first = [("Procfile", "clock: date\nworker: sleep 9\n"), ("lib/a", "one"), ("top", "x")];
    let checkout = Checkout::new(&platform, "compared", &first);
    checkout.push().accepted();
    let vars = json!({"SECRET": "hidden-in-here"});
    assert_eq!(platform.api("PATCH", "/apps/compared/config-vars", &vars).0, 200);
    checkout.commit(&[("Procfile", "clock: date -u\nworker: sleep 9\n"), ("lib/a", "three")]);
    checkout.push().accepted();

    let diff = |left: &str, right: &str| {
        let output = platform.command().args(["releases:diff", "compared", left, right]).output();
        let output = output.unwrap();
        let failed = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), failed)
    };
    let (done, said, failed) = diff("v2", "v4");
    assert!(done, "{failed}");
    let expected = "=== files: 2 differ\n\
        \"app/Procfile\": content differs from byte 11 on (28 and 31 bytes)\n\
        \"app/lib/a\": content differs from byte 0 on (3 and 5 bytes)\n\
        === bytes by folder: 2 differ\n\
        \".\": 29 in v2, 32 in v4 (+3)\n\
        \"lib\": 3 in v2, 5 in v4 (+2)\n\
        === process types: 1 differs\n\
        clock: changed\n\
        === config vars: 1 differs\n\
        SECRET: only in v4\n";
    assert_eq!(said, expected);

    let (done, said, _) = diff("v2", "v3");
    assert!(done && said.starts_with("=== files: no difference\n"), "{said}");
    let (done, _, failed) = diff("v2", "v99");
    assert!(!done && failed.contains("heroku releases"), "{failed}");
}

/// Builds what it is told to, whatever is in the app.
const BUILDPACK: &[(&str, &str)] = &[
    ("bin/detect", "#!/bin/sh\necho Planted\n"),
    (
        "bin/compile",
        "#!/bin/sh\nset -e\n[ ! -e \"$2/seen\" ] || echo from the cache >\"$1/cached\"\ntouch \"$2/seen\"\n\
         mkdir -p \"$1/out\"\ncat \"$3/GREETING\" >\"$1/out/greeting\"\n\
         [ ! -e \"$1/clock\" ] || date +%s%N >\"$1/out/built\"\n",
    ),
    ("bin/release", "#!/bin/sh\necho '--- {}'\n"),
];

#[test]
fn a_release_is_built_again_and_is_identical_or_its_first_differing_file_is_named() {
    let registry = tempfile::Builder::new().prefix("lathe-registry-").tempdir().unwrap();
    // Builds look into it as another user.
    std::fs::set_permissions(registry.path(), Permissions::from_mode(0o755)).unwrap();
    for (name, text) in BUILDPACK {
        let path = registry.path().join("planted").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    let platform =
        Platform::start_with(&[&format!("build.registry={}", registry.path().display())]);
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "again"})).0, 201);
    let vars = json!({"GREETING": "good morning"});
    assert_eq!(platform.api("PATCH", "/apps/again/config-vars", &vars).0, 200);
    let seen = "/usr/share/lathe/registry/planted\n";
    let files = [("Procfile", "worker: sleep 9\n"), (".buildpacks", seen)];
    let checkout = Checkout::new(&platform, "again", &files);
    checkout.push().accepted();
    // What is configured later is no part of what was built.
    let vars = json!({"GREETING": "good night"});
    assert_eq!(platform.api("PATCH", "/apps/again/config-vars", &vars).0, 200);
    checkout.commit(&[("clock", "")]);
    checkout.push().accepted();

    let verify = |arguments: &[&str]| {
        let output = platform.command().args(["verify", "-a", "again"]).args(arguments).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, said, transcript) = verify(&["v3"]);
    assert_eq!(status, Some(0), "{said}{transcript}");
    assert!(said.starts_with("v3 of again is identical: "), "{said}");
    assert!(transcript.contains("Planted app detected"), "{transcript}");
    // The pushed one had a cache, and its clock is another: each is found.
    let (status, said, transcript) = verify(&["-q", "-n", "9"]);
    assert_eq!((status, transcript.as_str()), (Some(1), ""), "{said}");
    assert!(said.starts_with("v5 of again differs: "), "{said}");
    let named = "\"app/cached\": only in the first\n\"app/out/built\": content differs from byte ";
    assert!(said.contains(named), "{said}");
    let (status, _, failed) = verify(&["v1"]);
    assert_eq!(status, Some(2), "{failed}");
    assert!(failed.contains("has no slug to build again"), "{failed}");
    // With another buildpack of the same name it would say something of that one.
    std::fs::write(registry.path().join("planted/bin/release"), "#!/bin/sh\necho '--- {} '\n")
        .unwrap();
    let (status, said, failed) = verify(&["-q", "v3"]);
    assert_eq!(status, Some(2), "{said}{failed}");
    assert!(failed.contains("is not as it was when it was built"), "{failed}");
    let left = std::fs::read_dir(platform.data().join("cache/rebuilds")).unwrap().count();
    assert_eq!(left, 0, "disks of rebuilds are left");
}

/// Migrates slowly, unless it is told to hurry.
const MIGRATION: &str = "echo migration begins\n[ -n \"$HURRY\" ] || sleep $SECONDS_EACH || exit 143\n\
    echo migration ends\n";

/// An app whose release command is the migration; gives the version that runs it.
fn migrate(platform: &Platform, app: &str, seconds: u32) -> u64 {
    assert_eq!(platform.api("POST", "/apps", &json!({"name": app})).0, 201);
    let vars = json!({"SECONDS_EACH": seconds.to_string()});
    let path = format!("/apps/{app}/config-vars");
    assert_eq!(platform.api("PATCH", &path, &vars).0, 200);
    let types = json!({"release": "bash migrate.sh", "worker": "sleep 1000"});
    let version = platform.release(app, &types, &[("migrate.sh", MIGRATION)]);
    until("the migration begins", BOUND, || {
        platform.logs(app).contains("migration begins").then_some(())
    });
    platform.writes_down("migration begins");
    version
}

/// How a release ends.
fn settled(platform: &Platform, app: &str, version: u64) -> String {
    until("the release is settled", BOUND, || {
        let path = format!("/apps/{app}/releases/{version}");
        let (_, release) = platform.api("GET", &path, &Value::Null);
        release["status"].as_str().filter(|status| *status != "pending").map(str::to_owned)
    })
}

#[test]
fn a_release_command_outlives_the_platform_and_is_not_run_a_second_time() {
    let mut platform = Platform::start();
    let version = migrate(&platform, "lasting", 8);
    platform.kill();
    platform.up();
    assert_eq!(settled(&platform, "lasting", version), "succeeded");
    let log = platform.logs("lasting");
    assert_eq!(log.matches("migration begins").count(), 1, "{log}");
    assert_eq!(log.matches("migration ends").count(), 1, "{log}");

    // One that ends while nobody looks is not run again either.
    let version = migrate(&platform, "alone", 3);
    platform.kill();
    std::thread::sleep(Duration::from_secs(5));
    platform.up();
    assert_eq!(settled(&platform, "alone", version), "succeeded");
    let log = platform.logs("alone");
    assert_eq!(log.matches("migration begins").count(), 1, "{log}");
    assert_eq!(log.matches("migration ends").count(), 1, "{log}");
}

#[test]
fn the_release_command_of_an_overtaken_release_has_ended_before_the_next_one_begins() {
    let platform = Platform::start();
    let version = migrate(&platform, "overtaken", 1000);
    let vars = json!({"HURRY": "yes"});
    assert_eq!(platform.api("PATCH", "/apps/overtaken/config-vars", &vars).0, 200);
    assert_eq!(settled(&platform, "overtaken", version + 1), "succeeded");
    let log = platform.logs("overtaken");
    let ended = log.find("Process exited with status 143").expect(&log);
    let begun = log.rfind("migration begins").expect(&log);
    assert!(ended < begun, "{log}");
    assert_eq!(log.matches("migration ends").count(), 1, "{log}");
    assert!(!log.contains(&format!("Release v{version} failed")), "{log}");
}
