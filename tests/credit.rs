//! Dyno classes and CPU credits from outside: refusals with numbers, settings, and what holds when
//! nobody governs.

use lathe_tests::{Checkout, Platform, cpu_quota, until};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);

const CLASSES: &str = "
[classes.quick]
memory = '256MiB'
cpus = 1
baseline = '1/16'

[classes.vast]
memory = '1GiB'
cpus = 1024
dedicated = true

[classes.huge]
memory = '900TiB'
cpus = 1
baseline = 0.5
";

/// A platform with classes of its own and an app that runs nothing but what is asked for.
fn with_platform(test: impl FnOnce(Platform)) {
    let dir = tempfile::Builder::new().prefix("lathe-it-").tempdir().unwrap();
    fs::write(dir.path().join("lathe.toml"), CLASSES).unwrap();
    let platform = Platform::revive(dir.path(), &["governor.load_percent=1000000"]);
    let (status, app) = platform.api("POST", "/apps", &json!({"name": "busy"}));
    assert_eq!(status, 201, "{app}");
    let files = [("Procfile", "worker: sleep 1000\n")];
    Checkout::new(&platform, "busy", &files).push().accepted();
    test(platform);
}

fn message(answer: &Value) -> String {
    answer["message"].as_str().unwrap_or_default().to_owned()
}

/// What `lathe` prints.
fn lathe(platform: &Platform, arguments: &[&str]) -> String {
    let output = platform.command().args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_class_that_does_not_fit_is_refused_with_the_numbers() {
    with_platform(|platform| {
        let scale = |size: &str, quantity: u32| {
            let body = json!({"updates": [{"type": "worker", "size": size, "quantity": quantity}]});
            platform.api("PATCH", "/apps/busy/formation", &body)
        };
        for (size, why) in [
            ("vast", "it has 1024 CPUs to itself, and of the"),
            ("huge", "MB of memory, and of the"),
            ("absent", "is not a dyno size"),
            ("build", "is not a dyno size"),
        ] {
            let (status, answer) = scale(size, 1);
            assert_eq!(status, 422, "{answer}");
            assert!(message(&answer).contains(why), "{answer}");
            let body = json!({"command": "true", "size": size});
            let (status, answer) = platform.api("POST", "/apps/busy/dynos", &body);
            assert_eq!(status, 422, "{answer}");
            assert!(message(&answer).contains(why), "{answer}");
        }
        let (status, all) = scale("QUICK", 2);
        assert_eq!((status, all[0]["size"].as_str()), (200, Some("quick")), "{all}");
        assert_eq!(scale("quick", 0).0, 200, "less is never refused");

        let bad = platform.data().join("bad.toml");
        fs::write(&bad, "\n[classes.odd]\nmemory = '1GiB'\ncpus = 1\nbaseline = 7\n").unwrap();
        let mut command = platform.command();
        let output = command.arg("--config").arg(bad).arg("settings").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.contains("line 2,") && said.contains("baseline is from 0.01 to cpus"),
            "{said}"
        );
    });
}

fn credit(platform: &Platform) -> Option<Value> {
    let (status, all) = platform.api("GET", "/apps/busy/cpu", &Value::Null);
    assert_eq!(status, 200, "{all}");
    all.as_array()?.iter().find(|dyno| dyno["class"] == "quick").cloned()
}

fn quota_is(berth: &str, wanted: u64) {
    until(&format!("the quota is {wanted}"), BOUND, || {
        (cpu_quota(berth) == Some(wanted)).then_some(())
    });
}

fn log(platform: &Platform) -> String {
    let body = json!({"lines": 1500});
    let (_, session) = platform.api("POST", "/apps/busy/log-sessions", &body);
    let path = session["logplex_url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
    let plain = platform.address("api_plain");
    let answer = lathe_tests::request(plain, "GET", "localhost", &format!("/{path}"), &[], b"");
    answer.expect("an answer").body
}

/// fault R9: who burns CPU is held to its share, also when the governor itself is gone.
#[test]
fn without_a_governor_nobody_bursts_and_balances_are_resumed() {
    with_platform(|mut platform| {
        let body = json!({"command": "sleep 1000", "size": "quick"});
        assert_eq!(platform.api("POST", "/apps/busy/dynos", &body).0, 201);
        let found = until("the dyno is governed", BOUND, || credit(&platform));
        assert_eq!(found["treatment"], "observe", "{found}");
        let dyno = found["id"].as_str().unwrap().to_owned();
        let running = platform.dynos().into_iter().find(|running| running.id == dyno);
        let berth = running.expect("it runs").berth;
        let said = lathe(&platform, &["cpu:set", "enforce", "100", "--app", "busy", "--for", "1h"]);
        assert_eq!(said, "app busy: enforce 100 %, tried for 3600 s\n");
        until("the dyno's log says so", BOUND, || {
            log(&platform).contains("CPU credits are enforced").then_some(())
        });
        quota_is(&berth, 100_000);

        platform.kill();
        quota_is(&berth, 6250);
        platform.up();
        quota_is(&berth, 100_000);
        let balance = until("the governor is back", BOUND, || credit(&platform))["balance"].clone();
        assert!(balance.as_f64().unwrap() > 4.0, "{balance}");
        platform.stop();
        assert_eq!(cpu_quota(&berth), Some(6250), "a graceful end leaves the baseline behind");
        platform.up();
        quota_is(&berth, 100_000);

        let shown = lathe(&platform, &["cpu", "--app", "busy"]);
        assert!(shown.contains("quick") && shown.contains("enforce 100 %"), "{shown}");
        let settings = lathe(&platform, &["cpu"]);
        assert!(settings.contains("tried for 3600 s"), "{settings}");
        assert!(lathe(&platform, &["cpu:report"]).starts_with("No app"), "nobody worked");
        let token = format!("Bearer {}", platform.token());
        let (plain, headers) = (platform.address("api_plain"), [("Authorization", token.as_str())]);
        let metrics = lathe_tests::request(plain, "GET", "localhost", "/metrics", &headers, b"");
        let metrics = metrics.unwrap().body;
        let line = format!("fly_instance_cpu_baseline{{app=\"busy\",instance=\"{dyno}\"");
        assert!(metrics.contains(&line), "{metrics}");
        let body = json!({"mode": "enforce", "percent": 101});
        assert_eq!(platform.api("PATCH", "/governor", &body).0, 422);
    });
}
