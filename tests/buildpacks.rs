//! The built-in buildpacks through real pushes of their fixture apps, in real build dynos.

use lathe_tests::{Checkout, Platform, Pushed};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `buildpacks/<buildpack>/test/<case>`.
fn fixture(path: &str) -> PathBuf {
    let (buildpack, case) = path.split_once('/').unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("buildpacks").join(buildpack).join("test").join(case)
}

fn push(platform: &Platform, path: &str) -> (String, Pushed) {
    let name = path.replace('/', "-");
    let (status, app) = platform.api("POST", "/apps", &json!({"name": name}));
    assert_eq!(status, 201, "{app}");
    let checkout = Checkout::of_tree(platform, &name, &fixture(path));
    let pushed = checkout.push();
    (name, pushed)
}

/// The fixture is pushed, says each of `says`, and answers with `body`.
fn serves(platform: &Platform, path: &str, says: &[&str], body: &str) {
    let (name, pushed) = push(platform, path);
    let pushed = pushed.accepted();
    for text in says {
        assert!(pushed.transcript.contains(text), "{path}: no {text:?} in:\n{}", pushed.transcript);
    }
    let answer = platform.app(&name, "/");
    assert!(answer.status == 200 && answer.body.contains(body), "{path}: {answer:?}");
}

#[test]
fn python_apps_are_built_by_each_installer_and_served() {
    let platform = Platform::start();
    serves(&platform, "python/bare", &["Python app detected", "Using Python 3."], "");
    serves(&platform, "python/pip", &["Successfully installed"], "hello from flask");
    push(&platform, "python/uv").1.accepted();
    let django = push(&platform, "python/django").1.accepted();
    assert!(django.transcript.contains("Collecting static files"), "{}", django.transcript);
    push(&platform, "python/broken").1.rejected(&["No matching distribution found"]);
    push(&platform, "python/unavailable")
        .1
        .rejected(&["Python 3.8.1 is not available here; the stack has Python 3."]);
}

#[test]
fn node_apps_are_built_by_each_package_manager_and_served() {
    let platform = Platform::start();
    let says = ["Node.js v20.11.1, npm 10.", "Pruning devDependencies"];
    for path in ["nodejs/npm", "nodejs/yarn", "nodejs/pnpm"] {
        serves(&platform, path, &says, "two days are 172800000 ms");
    }
    push(&platform, "nodejs/conflict").1.rejected(&["There are several lock files"]);
}

#[test]
fn rust_apps_are_built_and_served_and_the_compiler_has_its_say() {
    let platform = Platform::start();
    let says = ["Running cargo build --release --locked", "target/release/hello"];
    serves(&platform, "rust/hello", &says, "hello 42");
    push(&platform, "rust/broken").1.rejected(&["mismatched types"]);
    push(&platform, "rust/pinned").1.rejected(&["Rust 1.40.0 is not available here"]);
}

#[test]
fn a_site_is_served_as_it_is() {
    let platform = Platform::start();
    serves(&platform, "static/site", &["Static site app detected"], "<");
    assert_eq!(platform.app("static-site", "/nothing").status, 404);
    assert_eq!(platform.app("static-site", "/about").status, 200, "clean URLs");
}
