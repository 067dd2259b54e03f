//! A push becomes a live app, a bad one does not, and what serves goes on serving.

use lathe_tests::{Checkout, Platform, until};
use serde_json::{Value, json};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);

/// A web process that says which version it is.
fn web(version: &str) -> String {
    format!(
        "import http.server, os\n\
         class Hello(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       body = ('{version} ' + os.environ['DYNO']).encode()\n\
         \x20       self.send_response(200)\n\
         \x20       self.send_header('Content-Length', str(len(body)))\n\
         \x20       self.end_headers()\n\
         \x20       self.wfile.write(body)\n\
         http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Hello).serve_forever()\n"
    )
}

/// The same, saying something all the time.
fn speaking(version: &str) -> String {
    format!(
        "import threading, time\n\
         def speak():\n\
         \x20   while True:\n\
         \x20       print('{version} speaks', flush=True)\n\
         \x20       time.sleep(0.01)\n\
         threading.Thread(target=speak, daemon=True).start()\n{}",
        web(version)
    )
}

fn create(platform: &Platform, name: &str) {
    let (status, app) = platform.api("POST", "/apps", &json!({"name": name}));
    assert_eq!(status, 201, "{app}");
}

#[test]
fn a_push_becomes_a_live_app_and_a_bad_release_never_serves() {
    let platform = Platform::start();
    create(&platform, "hello");
    let checkout = Checkout::new(
        &platform,
        "hello",
        &[("Procfile", "web: python3 web.py\n"), ("web.py", &speaking("one"))],
    );
    let pushed = checkout.push().accepted();
    for line in ["-----> Procfile app detected", "Released v2", "Verifying deploy... done."] {
        assert!(pushed.transcript.contains(line), "no {line:?} in:\n{}", pushed.transcript);
    }
    assert_eq!(platform.app("hello", "/").body, "one web.1");

    checkout.commit(&[("web.py", "print('about to fail'); raise SystemExit(3)\n")]);
    let pushed = checkout.push().rejected(&["web.1 exited with status 3", "about to fail"]);
    let of_the_other = pushed.transcript.contains("one speaks");
    assert!(!of_the_other, "lines of the dyno that serves on:\n{}", pushed.transcript);
    assert_eq!(platform.app("hello", "/").body, "one web.1", "the old release serves on");

    checkout.commit(&[("web.py", &web("two"))]);
    checkout.push().accepted();
    assert_eq!(platform.app("hello", "/").body, "two web.1");

    let (_, releases) = platform.api("GET", "/apps/hello/releases", &Value::Null);
    let statuses: Vec<_> =
        releases.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["succeeded", "succeeded", "failed", "succeeded"]);
}

/// Its dynos boot for as long as it takes somebody to configure the app meanwhile.
#[test]
fn a_config_var_that_overtakes_a_push_lets_it_be_accepted() {
    let platform = Platform::start();
    create(&platform, "overtaken");
    let waits = "import os, time\nwhile 'MEANWHILE' not in os.environ: time.sleep(0.1)\n";
    let slow = format!("{waits}{}", web("one"));
    let files = [("Procfile", "web: python3 web.py\n"), ("web.py", slow.as_str())];
    let checkout = Checkout::new(&platform, "overtaken", &files);
    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| checkout.push());
        until("the push boots", BOUND, || {
            let (_, release) = platform.api("GET", "/apps/overtaken/releases/2", &Value::Null);
            (release["status"] == "pending").then_some(())
        });
        let vars = json!({"MEANWHILE": "1"});
        assert_eq!(platform.api("PATCH", "/apps/overtaken/config-vars", &vars).0, 200);
        pushing.join().unwrap()
    });
    let pushed = pushed.accepted();
    assert!(
        pushed.transcript.contains("v3 (Set MEANWHILE config vars) came after it"),
        "{pushed:?}"
    );
    assert_eq!(platform.app("overtaken", "/").body, "one web.1");
    let (_, release) = platform.api("GET", "/apps/overtaken/releases/2", &Value::Null);
    assert_eq!(release["status"], "expired");
}

#[test]
fn config_scale_rollback_and_restart_are_releases_and_dynos() {
    let platform = Platform::start();
    create(&platform, "shape");
    let program = web("one").replace("'one '", "os.environ.get('GREETING', 'none') + ' '");
    let checkout = Checkout::new(
        &platform,
        "shape",
        &[("Procfile", "web: python3 web.py\nworker: sleep 1000\n"), ("web.py", &program)],
    );
    checkout.push().accepted();
    assert_eq!(platform.app("shape", "/").body, "none web.1");

    let (status, _) = platform.api("PATCH", "/apps/shape/config-vars", &json!({"GREETING": "hej"}));
    assert_eq!(status, 200);
    until("the new config serves", BOUND, || {
        (platform.app("shape", "/").body == "hej web.1").then_some(())
    });

    let update = json!({"updates": [{"type": "web", "quantity": "+1"}, {"type": "worker", "quantity": "1"}]});
    assert_eq!(platform.api("PATCH", "/apps/shape/formation", &update).0, 200);
    let dynos = until("three dynos are up", BOUND, || {
        let (_, dynos) = platform.api("GET", "/apps/shape/dynos", &Value::Null);
        let all = dynos.as_array()?.clone();
        (all.len() == 3 && all.iter().all(|dyno| dyno["state"] == "up")).then_some(all)
    });
    let id = |name: &str, dynos: &[Value]| {
        dynos.iter().find(|d| d["name"] == *name).map(|d| d["id"].clone())
    };
    let before = id("web.1", &dynos);

    assert_eq!(platform.api("DELETE", "/apps/shape/dynos/web.1", &Value::Null).0, 202);
    until("web.1 is another dyno", BOUND, || {
        assert_eq!(platform.app("shape", "/").status, 200, "a restart must not blink");
        let (_, dynos) = platform.api("GET", "/apps/shape/dynos", &Value::Null);
        let all = dynos.as_array()?.clone();
        let up = all.iter().all(|dyno| dyno["state"] == "up");
        (up && id("web.1", &all) != before).then_some(())
    });

    let (status, release) = platform.api("POST", "/apps/shape/releases", &json!({"release": "2"}));
    assert_eq!((status, release["description"].as_str()), (201, Some("Rollback to v2")));
    until("the old config serves", BOUND, || {
        platform.app("shape", "/").body.starts_with("none").then_some(())
    });

    assert_eq!(platform.api("PATCH", "/apps/shape", &json!({"maintenance": true})).0, 200);
    until("maintenance", BOUND, || (platform.app("shape", "/").status == 503).then_some(()));
    assert_eq!(platform.api("DELETE", "/apps/shape", &Value::Null).0, 200);
    until("it is gone", BOUND, || (platform.app("shape", "/").status == 404).then_some(()));
}
