//! What goes on when processes die: the platform's, the spawner's, the dynos', the machine's.
//! The rows named are those of the project's table of faults.

use lathe_tests::{Checkout, Dyno, Load, Platform, signal, until};
use serde_json::json;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(20);

/// Serves, and does as the path says: `/exit/7` ends it with status 7 after the answer,
/// `/slow/2` answers after 2 s, `/sh/…` answers with what a shell command says.
const WEB: &str = r"
import http.server, os, subprocess, sys, threading, time, urllib.parse
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        verb, _, rest = self.path[1:].partition('/')
        text = os.environ['DYNO']
        if verb == 'exit': threading.Timer(0.2, os._exit, [int(rest)]).start()
        if verb == 'slow': time.sleep(float(rest))
        if verb == 'sh':
            command = ['bash', '-c', urllib.parse.unquote(rest)]
            text = subprocess.run(command, stdout=-1, stderr=-2, timeout=20).stdout.decode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
print('listening', flush=True)
Server(('', int(os.environ['PORT'])), App).serve_forever()
";

/// A line ten times a second.
const BEAT: &str = "n=0; while sleep 0.1; do n=$((n+1)); echo beat $n; done\n";

fn create(platform: &Platform, app: &str) {
    assert_eq!(platform.api("POST", "/apps", &json!({"name": app})).0, 201);
}

/// An app with the server above and what else `procfile` names.
fn deploy(platform: &Platform, app: &str, procfile: &str, files: &[(&str, &str)]) -> Checkout {
    create(platform, app);
    let mut all = vec![("Procfile", procfile), ("web.py", WEB), ("beat.sh", BEAT)];
    all.extend(files);
    let checkout = Checkout::new(platform, app, &all);
    checkout.push().accepted();
    checkout
}

fn scale(platform: &Platform, app: &str, process_type: &str, quantity: u32) {
    let update = json!({"updates": [{"type": process_type, "quantity": quantity}]});
    assert_eq!(platform.api("PATCH", &format!("/apps/{app}/formation"), &update).0, 200);
}

/// Waits until the app has so many dynos and every one is up.
fn all_up(platform: &Platform, app: &str, count: usize) {
    until("all dynos are up", BOUND, || {
        let ps = platform.ps(app);
        (ps.len() == count && ps.iter().all(|(_, state, _)| state == "up")).then_some(())
    });
}

fn state(platform: &Platform, app: &str, name: &str) -> String {
    let ps = platform.ps(app);
    ps.into_iter().find(|dyno| dyno.0 == name).map(|dyno| dyno.1).unwrap_or_default()
}

/// The number of the last beat in the log.
fn last_beat(platform: &Platform, app: &str) -> u32 {
    let logs = platform.logs(app);
    let beats = logs.lines().filter_map(|line| line.rsplit_once("beat ")?.1.parse().ok());
    beats.max().unwrap_or(0)
}

/// R11, R14: whatever is killed, every dyno runs on with its process, its address and its place
/// in `ps`, and not one request that goes to it is lost.
#[test]
fn dynos_outlive_the_platform_the_spawner_and_both() {
    let mut platform = Platform::start();
    deploy(&platform, "alive", "web: python3 web.py\nworker: bash beat.sh\n", &[]);
    scale(&platform, "alive", "worker", 1);
    scale(&platform, "alive", "web", 2);
    all_up(&platform, "alive", 3);
    let (before, ps) = (platform.dynos(), platform.ps("alive"));
    let web: Dyno = platform.dyno("web.1");
    let direct = Load::start({
        let web = web.clone();
        move || web.get("/")
    });
    // A request that has reached its dyno ends there, whatever becomes of the platform.
    let slow = std::thread::spawn(move || web.get("/slow/3"));

    let same = |platform: &Platform, what: &str| {
        assert_eq!(platform.dynos(), before, "{what}: the same processes");
        assert_eq!(platform.app("alive", "/").status, 200, "{what}: the first request of all");
        until("ps says so", BOUND, || (platform.ps("alive") == ps).then_some(()));
    };
    let mut ups = Vec::new();
    for what in ["platform", "spawner", "both"] {
        let beat = last_beat(&platform, "alive");
        if what != "platform" {
            signal(platform.spawner_pid(), "KILL");
        }
        if what != "spawner" {
            platform.kill();
            let began = Instant::now();
            platform.up();
            ups.push(began.elapsed());
        }
        same(&platform, what);
        until("logs go on", BOUND, || (last_beat(&platform, "alive") > beat + 2).then_some(()));
    }
    // Every two seconds, again and again.
    for _ in 0..3 {
        platform.kill();
        platform.up();
        same(&platform, "again");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(slow.join().unwrap().unwrap().status, 200);
    let tally = direct.end();
    eprintln!(
        "up after kill: {ups:?}; direct: {} answered, longest gap {:?}",
        tally.answered, tally.gap
    );
    assert!(tally.failed.is_empty() && tally.answered > 100, "{tally:?}");
    let beats = platform.logs("alive");
    let said: Vec<u32> =
        beats.lines().filter_map(|l| l.rsplit_once("beat ")?.1.parse().ok()).collect();
    assert!(said.windows(2).all(|two| two[1] == two[0] + 1), "a line is lost or twice: {said:?}");
}
