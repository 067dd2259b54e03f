//! The power comes back: every app serves again, from nothing but the disk.

use crate::hosting::{self, HASTY, good, serve, settled};
use lathe_tests::{Platform, lathe, request, until};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const APPS: usize = 20;
const BOUND: Duration = Duration::from_mins(1);

/// A slug, made without a build: this is about starting.
fn slug(room: &Path) -> Vec<u8> {
    let app = room.join("app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join("index.html"), "here\n").unwrap();
    let file = room.join("slug.tgz");
    let packed =
        Command::new(lathe()).args(["slug", "pack"]).arg(&app).arg("-o").arg(&file).output();
    assert!(packed.unwrap().status.success());
    fs::read(file).unwrap()
}

fn release(platform: &Platform, app: &str, blob: &[u8]) {
    let post = |path: &str, body: &Value| {
        let (status, made) = platform.api("POST", path, body);
        assert_eq!(status, 201, "{made}");
        made
    };
    post("/apps", &json!({"name": app}));
    let types = json!({"process_types": {"web": "python3 -m http.server $PORT"}});
    let slug = post(&format!("/apps/{app}/slugs"), &types);
    let url = slug["blob"]["url"].as_str().unwrap();
    let path = &url[url.find("/slugs/").unwrap()..];
    let put = request(platform.address("api_plain"), "PUT", "localhost", path, &[], blob).unwrap();
    assert_eq!(put.status, 200, "{}", put.body);
    post(&format!("/apps/{app}/releases"), &json!({"slug": slug["id"]}));
}

/// fault R15: whoever hosts itself is the version that was good once more, from what its keeper has written
/// down, and serves.
#[test]
fn a_platform_that_hosts_itself_is_itself_again_after_a_cold_boot() {
    let mut platform = Platform::start_self_hosted(&HASTY);
    serve(&platform, "hosted");
    let number = hosting::release(&platform, &good());
    assert_eq!(settled(&platform, number)["status"], "succeeded");
    platform.reboot();
    platform.up();
    until("the app serves", BOUND, || (platform.app("hosted", "/").status == 200).then_some(()));
    let parts = || platform.api("GET", "/apps/lathe/dynos", &Value::Null).1;
    until("every part is that version's", BOUND, || {
        let parts = parts();
        let all = parts.as_array()?;
        all.iter().all(|part| part["release"]["version"] == number).then_some(())
    });
}

/// fault R15: everything is killed at once, `run` is empty, mounts, networks and groups are gone; with the
/// state, and with a state that nobody can read.
#[test]
fn twenty_apps_serve_within_a_minute_of_a_cold_boot_with_and_without_the_state() {
    let mut platform = Platform::start();
    let room = tempfile::tempdir().unwrap();
    let blob = slug(room.path());
    let names: Vec<String> = (1..=APPS).map(|n| format!("cold-{n}")).collect();
    for name in &names {
        release(&platform, name, &blob);
    }
    let serves = |platform: &Platform| {
        names.iter().all(|name| platform.app(name, "/").body == "here\n").then_some(())
    };
    until("all serve", BOUND, || serves(&platform));
    for readable in [true, false] {
        platform.reboot();
        if !readable {
            platform.damage_state();
        }
        let began = Instant::now();
        platform.up();
        let listens = began.elapsed();
        until("all serve again", BOUND, || serves(&platform));
        let took = began.elapsed();
        eprintln!("state readable: {readable}; listens {listens:?}, {APPS} apps serve {took:?}");
        assert!(took < BOUND, "{took:?}");
        assert_eq!(platform.dynos().len(), APPS);
        let (status, _) = platform.api("GET", "/apps", &Value::Null);
        assert_eq!(status == 200, readable, "{status}");
    }
}
