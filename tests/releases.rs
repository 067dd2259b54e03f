//! Two releases held against each other on the command line.

use lathe_tests::{Checkout, Platform};
use serde_json::json;

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
