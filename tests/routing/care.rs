//! How releases are taken into service and looked after: health, probation, sleep, age.

use lathe_tests::{Load, Platform, get, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);

/// Is sick for its first second, and ends `FAIL_AFTER` seconds after it began to listen: with a whole
/// answer or none, as an answer is written at once.
const WEB: &str = "\
import http.server, os, threading, time
born = time.time()
class App(http.server.BaseHTTPRequestHandler):
    wbufsize = -1
    def do_GET(self):
        well = time.time() - born > 1
        body = (os.environ.get('VERSION', '0') + (' well' if well else ' sick')).encode()
        self.send_response(503 if self.path == '/health' and not well else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
if 'FAIL_AFTER' in os.environ:
    threading.Timer(float(os.environ['FAIL_AFTER']), os._exit, [3]).start()
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), App).serve_forever()
";

fn deploy(platform: &Platform, app: &str) {
    platform.release(app, &json!({"web": "python3 web.py"}), &[("web.py", WEB)]);
}

fn configure(platform: &Platform, app: &str, vars: &Value) -> u16 {
    platform.api("PATCH", &format!("/apps/{app}/config-vars"), vars).0
}

fn newest(platform: &Platform, app: &str) -> Value {
    let (_, releases) = platform.api("GET", &format!("/apps/{app}/releases"), &Value::Null);
    let releases = releases.as_array().unwrap().clone();
    releases.into_iter().max_by_key(|release| release["version"].as_u64()).unwrap()
}

/// What the newest release has passed.
fn stages(platform: &Platform, app: &str) -> Vec<String> {
    let (_, release) = platform.api("GET", &format!("/apps/{app}/releases/newest"), &Value::Null);
    let steps = release["pipeline"]["steps"].as_array().unwrap().clone();
    let times: Vec<&str> = steps.iter().map(|step| step["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    steps.iter().map(|step| step["stage"].as_str().unwrap().to_owned()).collect()
}

/// All answers until the newest release has come to `status`. A request that is at a dyno when it
/// ends is lost with it; there is one client, so that can be one.
fn answers_until(platform: &Platform, app: &str, status: &str) -> BTreeSet<String> {
    let (mut answers, mut lost) = (BTreeSet::new(), 0);
    until("the release is decided", BOUND, || {
        for _ in 0..10 {
            let answer = platform.app(app, "/");
            if answer.status == 200 {
                answers.insert(answer.body);
            } else {
                assert!(answer.body.contains("<!-- H13 -->"), "{}", answer.body);
                lost += 1;
            }
        }
        (newest(platform, app)["status"] == status).then_some(())
    });
    assert!(lost <= 1, "{lost} requests were lost");
    answers
}

#[test]
fn a_release_serves_when_it_is_well_and_is_taken_back_when_it_fails_on_probation() {
    let platform = Platform::start();
    platform.post("/apps", &json!({"name": "careful"}));
    let care = json!({"LATHE_HEALTH_PATH": "/health", "VERSION": "1"});
    assert_eq!(configure(&platform, "careful", &care), 200);
    for (name, bad) in [
        ("LATHE_CANARY", "0"),
        ("LATHE_HEALTH_PATH", "x"),
        ("LATHE_PROBATION", "x"),
        ("LATHE_READY_COMMAND", ""),
        ("LATHE_CHECK_INTERVAL", "0"),
        // With a path there is no command.
        ("LATHE_HEALTH_COMMAND", "true"),
    ] {
        assert_eq!(configure(&platform, "careful", &json!({name: bad})), 422, "{name}={bad}");
    }
    deploy(&platform, "careful");
    // The first answer is of an app that is up, and up means well.
    let first = until("it serves", BOUND, || {
        let answer = platform.app("careful", "/");
        (answer.status == 200).then_some(answer.body)
    });
    assert_eq!(first, "1 well");
    until("it serves", BOUND, || {
        (newest(&platform, "careful")["status"] == "succeeded").then_some(())
    });

    let bad =
        json!({"VERSION": "2", "FAIL_AFTER": "8", "LATHE_PROBATION": "60", "LATHE_CANARY": "50"});
    assert_eq!(configure(&platform, "careful", &bad), 200);
    assert_eq!(newest(&platform, "careful")["phase"], "booting");
    let watch =
        platform.command().args(["releases:watch", "careful"]).stdout(Stdio::piped()).spawn();
    let seen = answers_until(&platform, "careful", "failed");
    assert_eq!(seen, BTreeSet::from(["1 well".into(), "2 well".into()]), "both serve meanwhile");
    let failure = newest(&platform, "careful")["failure"].as_str().unwrap().to_owned();
    assert!(failure.contains("web.1 exited with status 3"), "{failure}");
    // Its way is told while it goes it, in the app's log too, and kept with it.
    let watched = watch.unwrap().wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(1));
    let watched = String::from_utf8(watched.stdout).unwrap();
    let version = newest(&platform, "careful")["version"].to_string();
    for text in [
        format!("v{version} starts its dynos\n"),
        format!("v{version} has booted and is on probation: 50% of the requests for 60 seconds\n"),
        "    web.1 up\n".into(),
        format!("v{version} failed: web.1 exited with status 3"),
    ] {
        assert!(watched.contains(&text), "{text:?} is not in {watched}");
        let line = text.replace("    web.1 up\n", "web.1");
        until("the log says so, too", BOUND, || {
            platform.logs("careful").contains(line.trim_end()).then_some(())
        });
    }
    assert_eq!(stages(&platform, "careful"), ["booting", "probation", "failed"]);
    let (_, vars) = platform.api("GET", "/apps/careful/config-vars", &Value::Null);
    assert_eq!((&vars["VERSION"], &vars["FAIL_AFTER"]), (&json!("1"), &Value::Null));
    until("code and config are back", BOUND, || {
        (0..20).all(|_| platform.app("careful", "/").body == "1 well").then_some(())
    });

    let good = json!({"VERSION": "3", "LATHE_PROBATION": "4", "LATHE_CANARY": "50"});
    assert_eq!(configure(&platform, "careful", &good), 200);
    let seen = answers_until(&platform, "careful", "succeeded");
    assert!(seen.contains("1 well") && seen.contains("3 well"), "{seen:?}");
    assert_eq!(stages(&platform, "careful"), ["booting", "probation", "serving"]);
    until("all requests are its", BOUND, || {
        (0..20).all(|_| platform.app("careful", "/").body == "3 well").then_some(())
    });
}

#[test]
fn eco_apps_sleep_until_somebody_asks() {
    let platform = Platform::start_with(&["dynos.sleep_after=3"]);
    for (app, size) in [("sleepy", "eco"), ("lively", "standard-1x")] {
        deploy(&platform, app);
        let size = json!({"updates": [{"type": "web", "size": size}]});
        assert_eq!(platform.api("PATCH", &format!("/apps/{app}/formation"), &size).0, 200);
        until("it serves", BOUND, || (platform.app(app, "/").status == 200).then_some(()));
    }
    let state = |app: &str| platform.ps(app).into_iter().map(|dyno| dyno.1).collect::<Vec<_>>();
    until("it sleeps", BOUND, || (state("sleepy") == ["idle"]).then_some(()));
    assert_eq!(state("lively"), ["up"]);
    until("that is told", BOUND, || {
        platform.logs("sleepy").contains("heroku[web.1]: Idling").then_some(())
    });
    assert_eq!(platform.app("sleepy", "/").status, 200, "it wakes, and the request waits for it");
    until("that is told", BOUND, || {
        platform.logs("sleepy").contains("heroku[web.1]: Unidling").then_some(())
    });
}

#[test]
fn a_dyno_is_cycled_at_its_age_without_a_blink() {
    let platform = Platform::start_with(&["dynos.cycle=3"]);
    deploy(&platform, "aging");
    until("it serves", BOUND, || (platform.app("aging", "/").status == 200).then_some(()));
    let router = platform.address("router");
    let load = Load::start(move || Some(get(router, "aging.localhost", "/")));
    until("it is cycled twice", BOUND, || {
        let logs = platform.logs("aging");
        (logs.matches("heroku[web.1]: Cycling").count() >= 2).then_some(())
    });
    let tally = load.end();
    assert!(tally.failed.is_empty() && tally.answered > 20, "{tally:?}");
}

/// Is ready some seconds after its start, can be stopped like a program that hangs, and can be told not
/// to be ready for some seconds.
const HANGS: &str = "\
import http.server, os, pathlib, signal, threading
ready = pathlib.Path('/tmp/ready')
def later(seconds, what):
    threading.Timer(seconds, what).start()
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/rest':
            ready.unlink()
            later(8, ready.touch)
        body = open('/etc/hostname').read().strip().encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == '/hang':
            os.kill(os.getpid(), signal.SIGSTOP)
    def log_message(self, *arguments):
        pass
later(4, ready.touch)
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), App).serve_forever()
";

/// fault R6
#[test]
fn a_dyno_that_hangs_is_replaced_and_one_that_is_not_ready_is_left_alone() {
    let platform = Platform::start();
    platform.post("/apps", &json!({"name": "hanging"}));
    let care = json!({
        "LATHE_READY_COMMAND": "echo resting; [ -e /tmp/ready ]",
        "LATHE_CHECK_INTERVAL": "1", "LATHE_CHECK_TIMEOUT": "6", "LATHE_CHECK_FAILURES": "2",
    });
    assert_eq!(configure(&platform, "hanging", &care), 200);
    platform.release("hanging", &json!({"web": "python3 web.py"}), &[("web.py", HANGS)]);
    until("it serves", BOUND, || {
        (newest(&platform, "hanging")["status"] == "succeeded").then_some(())
    });
    let said = |text: &str| platform.logs("hanging").contains(text);
    // Before that the release was none.
    for text in [
        "heroku[web.1]: Not ready, gets no requests: the command exited with status 1, resting",
        "heroku[web.1]: Ready, gets requests",
    ] {
        until(text, BOUND, || said(text).then_some(()));
    }

    // It rests: no request is lost, and none comes to it; nobody ends it.
    let resting = platform.app("hanging", "/rest").body;
    let line = "Not ready, gets no requests";
    until("it is not ready", BOUND, || {
        (platform.logs("hanging").matches(line).count() >= 2).then_some(())
    });
    let answer = platform.app("hanging", "/");
    assert_eq!((answer.status, answer.body), (200, resting.clone()), "the request waited");

    let scale = json!({"updates": [{"type": "web", "quantity": 2}]});
    assert_eq!(platform.api("PATCH", "/apps/hanging/formation", &scale).0, 200);
    let answering = |times: usize| -> BTreeSet<String> {
        let answers = (0..times).map(|_| platform.app("hanging", "/"));
        answers.filter(|answer| answer.status == 200).map(|answer| answer.body).collect()
    };
    let two = until("both serve", BOUND, || {
        let seen = answering(10);
        (seen.len() == 2).then_some(seen)
    });
    assert!(two.contains(&resting), "it was never restarted");

    let hung = platform.app("hanging", "/hang").body;
    until("it is found", BOUND, || {
        said("Health check failed 2 times in a row: no connection to port ").then_some(())
    });
    until("another is started", BOUND, || {
        said("Starting another dyno in its place, because its health check fails").then_some(())
    });
    // The other one serves meanwhile, and is what it was when the new one has come.
    let now = until("two serve again", BOUND, || {
        let seen = answering(10);
        assert!(!seen.contains(&hung), "nobody is sent to it any more");
        (seen.len() == 2).then_some(seen)
    });
    assert_eq!(now.intersection(&two).count(), 1, "only one was replaced: {two:?} {now:?}");
}
