//! What goes on when processes die: the platform's, the spawner's, the dynos', the machine's.
//! The rows named are those of the project's table of faults.

use lathe_tests::{Checkout, Dyno, Load, Platform, signal, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const BOUND: Duration = Duration::from_mins(1);

/// Serves, and does as the path says: `/exit/7` ends it with status 7 after the answer, `/slow/2`
/// answers after 2 s.
const WEB: &str = r"
import http.server, os, time
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        verb, _, rest = self.path[1:].partition('/')
        text = os.environ['DYNO']
        if verb == 'slow': time.sleep(float(rest))
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
        if verb == 'exit': os._exit(int(rest))
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
pub(crate) fn deploy(
    platform: &Platform,
    app: &str,
    procfile: &str,
    files: &[(&str, &str)],
) -> Checkout {
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

/// fault R11, R14: whatever is killed, every dyno runs on with its process, its address and its place
/// in `ps`, and not one request that goes to it is lost.
#[test]
fn dynos_outlive_the_platform_the_spawner_and_both() {
    const AGAIN: usize = 3;
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
    for _ in 0..AGAIN {
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
    assert!(said.windows(2).all(|two| two[0] < two[1]), "a line is twice or late: {said:?}");
    // What a platform had in its hands when it was killed is told as lost, by the number of lines; but
    // for what it was just reading, and had not counted: at this pace one line.
    let lost = beats.lines().filter_map(|l| l.split_once("Error L13: ")?.1.split_once(' '));
    let lost: u32 = lost.map(|(lines, _)| lines.parse::<u32>().unwrap()).sum();
    let missing = said[said.len() - 1] - said[0] + 1 - u32::try_from(said.len()).unwrap();
    let kills = u32::try_from(ups.len() + AGAIN).unwrap();
    assert!(missing <= lost + kills, "{missing} are missing, {lost} were told as lost: {beats}");
}

/// fault R13: what ended while nobody looked is known after the start, and restarted or told.
/// fault R15: after a reboot every app is back by itself, once, and nothing stale is left.
#[test]
fn ends_are_known_after_an_absence_and_apps_are_back_after_a_reboot() {
    let mut platform = Platform::start();
    let procfile = "web: python3 web.py\nworker: bash beat.sh\n";
    deploy(&platform, "absent", procfile, &[]);
    let run = json!({"command": "sleep 10; exit 9", "attach": false});
    let (status, one_off) = platform.api("POST", "/apps/absent/dynos", &run);
    assert_eq!(status, 201, "{one_off}");
    let name = one_off["name"].as_str().unwrap().to_owned();
    until("the one-off runs", BOUND, || platform.dynos().iter().find(|d| d.name == name).cloned());
    let before = platform.dyno("web.1");

    platform.kill();
    assert_eq!(before.get("/exit/7").unwrap().status, 200);
    until("both end unseen", BOUND, || platform.dynos().is_empty().then_some(()));
    platform.up();
    let began = Instant::now();
    until("the end is told", BOUND, || {
        let logs = platform.logs("absent");
        let told = |name: &str, status| {
            logs.contains(&format!("heroku[{name}]: Process exited with status {status}"))
        };
        (told("web.1", 7) && told(&name, 9)).then_some(())
    });
    all_up(&platform, "absent", 1);
    eprintln!("restarted {:?} after the platform was back", began.elapsed());
    assert_ne!(platform.dyno("web.1").id, before.id);
    assert_eq!(platform.app("absent", "/").body, "web.1");

    deploy(&platform, "second", procfile, &[]);
    scale(&platform, "absent", "web", 2);
    scale(&platform, "absent", "worker", 1);
    all_up(&platform, "absent", 3);
    let names = |platform: &Platform| -> Vec<(String, String)> {
        platform.dynos().into_iter().map(|dyno| (dyno.app, dyno.name)).collect()
    };
    let before = (platform.dynos(), names(&platform));
    platform.reboot();
    let began = Instant::now();
    platform.up();
    all_up(&platform, "absent", 3);
    all_up(&platform, "second", 1);
    let took = began.elapsed();
    assert!(took < Duration::from_mins(1), "{took:?}");
    for app in ["absent", "second"] {
        until("it serves", BOUND, || (platform.app(app, "/").status == 200).then_some(()));
    }
    assert_eq!(names(&platform), before.1, "each once");
    let ids: Vec<String> = platform.dynos().into_iter().map(|dyno| dyno.id).collect();
    assert!(before.0.iter().all(|dyno| !ids.contains(&dyno.id)), "no identity twice");
    for group in platform.cgroups() {
        let name = group.file_name().unwrap().to_str().unwrap();
        assert!(before.0.iter().all(|dyno| dyno.berth != name), "stale {name}");
    }
    eprintln!("four dynos of two apps up {took:?} after a reboot");
}

/// How often the log says it.
fn said(platform: &Platform, app: &str, text: &str) -> usize {
    platform.logs(app).matches(text).count()
}

/// fault R1, R2, R3, R5, R12: whatever a dyno does, or is done to it, is told and bounded.
#[test]
fn dynos_that_misbehave_are_ended_replaced_and_told_of() {
    let settings = ["dynos.boot_timeout=10", "dynos.stop_grace=5"];
    let platform = Platform::start_with(&settings);
    let procfile = "web: python3 web.py\nplain: sleep 1000\nstubborn: bash stubborn.sh\n\
                    crash: exit 3\n";
    let files = [("stubborn.sh", "trap '' TERM; echo ready; while :; do sleep 1; done\n")];
    let checkout = deploy(&platform, "faulty", procfile, &files);

    // fault R3: a program without a handler ends by SIGTERM, at once.
    scale(&platform, "faulty", "plain", 1);
    until("it is up", BOUND, || (state(&platform, "faulty", "plain.1") == "up").then_some(()));
    scale(&platform, "faulty", "plain", 0);
    until("it ends", BOUND, || {
        let text = "heroku[plain.1]: Process exited with status 143";
        (said(&platform, "faulty", text) == 1).then_some(())
    });

    // fault R2: one that ignores it is killed when its grace is over.
    scale(&platform, "faulty", "stubborn", 1);
    until("it is up", BOUND, || {
        (said(&platform, "faulty", "stubborn.1]: ready") > 0).then_some(())
    });
    scale(&platform, "faulty", "stubborn", 0);
    until("it is killed", BOUND, || {
        let logs = platform.logs("faulty");
        let told = logs.contains("Error R12 (Exit timeout) -> Process failed to exit within 5 s");
        (told && logs.contains("heroku[stubborn.1]: Process exited with status 137")).then_some(())
    });

    // fault R1: three starts at once, then a wait, and everybody can see it.
    scale(&platform, "faulty", "crash", 1);
    until("it is seen to crash", BOUND, || {
        let starts = said(&platform, "faulty", "heroku[crash.1]: Starting process");
        (starts == 3 && state(&platform, "faulty", "crash.1") == "crashed").then_some(())
    });

    // fault R12: a process killed behind our back.
    let killed = platform.dyno("web.1");
    signal(killed.pid, "KILL");
    let began = Instant::now();
    until("it is noticed", BOUND, || {
        let text = "heroku[web.1]: Process exited with status 137";
        (said(&platform, "faulty", text) == 1).then_some(())
    });
    let noticed = began.elapsed();
    until("another serves", BOUND, || (platform.app("faulty", "/").status == 200).then_some(()));
    eprintln!("killed dyno: noticed after {noticed:?}, replaced after {:?}", began.elapsed());

    // fault R5: what never listens is not released.
    checkout.commit(&[("web.py", "import time; print('thinking', flush=True); time.sleep(99)\n")]);
    let pushed = checkout.push();
    let pushed =
        pushed.rejected(&["did not listen on $PORT", "within 10 seconds (R10)", "thinking"]);
    until(&format!("the log says so, too:\n{}", pushed.transcript), BOUND, || {
        (said(&platform, "faulty", "Error R10 (Boot timeout)") > 0).then_some(())
    });
    assert_eq!(platform.app("faulty", "/").body, "web.1", "the old release serves");
}

/// fault C16, G10: killed in the middle of a build, the platform comes back to a build that has failed,
/// to no release of it, to nothing left of it, and takes the next push.
#[test]
fn a_build_that_dies_with_the_platform_leaves_nothing() {
    let mut platform = Platform::start();
    create(&platform, "halfway");
    let compile = |line: &str| format!("#!/bin/sh\necho '-----> Own build'\n{line}\n");
    let slow = compile("sleep 100");
    let checkout = Checkout::new(
        &platform,
        "halfway",
        &[
            ("Procfile", "web: python3 web.py\n"),
            ("web.py", WEB),
            ("bin/detect", "#!/bin/sh\necho Own\n"),
            ("bin/compile", &slow),
            ("bin/release", "#!/bin/sh\necho '--- {}'\n"),
        ],
    );
    std::thread::scope(|scope| {
        let push = scope.spawn(|| checkout.push());
        until("it builds", BOUND, || {
            platform.dynos().iter().find(|d| d.name == "build.1").cloned()
        });
        platform.kill();
        assert!(!push.join().unwrap().ok, "a push that was cut is not told to be accepted");
    });
    platform.up();
    let (_, builds) = platform.api("GET", "/apps/halfway/builds", &Value::Null);
    let statuses: Vec<_> = builds.as_array().unwrap().iter().map(|b| b["status"].clone()).collect();
    assert_eq!(statuses, ["failed"]);
    until("the build dyno is gone", BOUND, || platform.dynos().is_empty().then_some(()));
    let releases = |platform: &Platform| {
        let (_, releases) = platform.api("GET", "/apps/halfway/releases", &Value::Null);
        releases.as_array().unwrap().len()
    };
    assert_eq!(releases(&platform), 1, "only the first, of the app itself");
    until("nothing is left of what was pushed", BOUND, || {
        let files = walkdir::WalkDir::new(platform.data().join("git")).into_iter().flatten();
        let mut names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        (!names.any(|name| name.starts_with("tmp_objdir"))).then_some(())
    });
    until("no disk stays attached", BOUND, || {
        let loops = std::process::Command::new("losetup").arg("-a").output().unwrap().stdout;
        let loops = String::from_utf8(loops).unwrap();
        (!loops.contains(platform.data().to_str().unwrap())).then_some(())
    });

    checkout.repoint(&platform);
    checkout.commit(&[("bin/compile", &compile("true"))]);
    checkout.push().accepted();
    assert_eq!((releases(&platform), platform.app("halfway", "/").status), (2, 200));
}

/// fault R18: a damaged slug is never run, not even in part; the log says what is wrong; and with the
/// slug whole again the app is, too.
#[test]
fn a_damaged_slug_is_not_run() {
    let platform = Platform::start();
    deploy(&platform, "damaged", "web: python3 web.py\n", &[]);
    let slug = walkdir::WalkDir::new(platform.data().join("slugs"))
        .into_iter()
        .flatten()
        .map(walkdir::DirEntry::into_path)
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .unwrap();
    let whole = std::fs::read(&slug).unwrap();
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;

    // While a dyno runs from the tree it has nothing to fear.
    std::fs::write(&slug, &broken).unwrap();
    assert_eq!(platform.app("damaged", "/").status, 200);
    let trees = platform.data().join("cell/slugs");
    scale(&platform, "damaged", "web", 0);
    until("none runs", BOUND, || platform.dynos().is_empty().then_some(()));
    for tree in std::fs::read_dir(&trees).unwrap().flatten() {
        // What no dyno has the platform itself may remove, too.
        drop(std::fs::remove_dir_all(tree.path()));
    }
    scale(&platform, "damaged", "web", 1);
    until("it is refused", BOUND, || {
        let logs = platform.logs("damaged");
        (logs.contains("Error R17 (Checksum error)")
            && state(&platform, "damaged", "web.1") == "crashed")
            .then_some(())
    });
    // Each start makes one, which is partial, and then none.
    until("no tree stays", BOUND, || {
        let none = std::fs::read_dir(&trees).unwrap().flatten().next().is_none();
        (none && platform.dynos().is_empty()).then_some(())
    });
    assert_eq!(platform.app("damaged", "/").status, 503);

    std::fs::write(&slug, &whole).unwrap();
    assert_eq!(platform.api("DELETE", "/apps/damaged/dynos", &Value::Null).0, 202);
    all_up(&platform, "damaged", 1);
    assert_eq!(platform.app("damaged", "/").status, 200);
}
