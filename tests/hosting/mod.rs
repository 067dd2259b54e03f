//! The platform as a release of its own app `lathe`: tried, kept, taken back, and never gone meanwhile.

mod attached;
mod bootstrap;
mod full_disk;
mod keeper;
mod load;
mod migration;
mod rescue;
mod visitors;

pub(crate) use visitors::Visitors;

use lathe_tests::{Disk, Platform, lathe, request, signal, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bounds are for what hangs.
const BOUND: Duration = Duration::from_mins(4);

/// A trial that is over soon, and no rehearsal: what it would find shall reach the keeper. How long a
/// good version takes is the machine's affair.
pub(crate) const HASTY: [&str; 4] =
    ["upgrade.rehearsal=0", "upgrade.start=60", "upgrade.probation=3", "upgrade.silence=60"];

/// The same for versions that do not get ready, which is waited for.
const HASTIER: [&str; 4] =
    ["upgrade.rehearsal=0", "upgrade.start=40", "upgrade.probation=3", "upgrade.silence=60"];

/// A trial that is soon passed, however slow the machine is.
const BRIEF: [&str; 3] = ["upgrade.rehearsal=0", "upgrade.probation=1", "upgrade.silence=60"];

/// The program that this test run has built, in the form of a version.
pub(crate) fn good() -> String {
    format!("#!/bin/sh\nexec {} \"$@\"\n", lathe().display())
}

/// Releases a version of the platform whose program is this script.
pub(crate) fn release(platform: &Platform, script: &str) -> u64 {
    let types = json!({"platform": "bin/lathe up"});
    platform.release("lathe", &types, &[("bin/lathe", script)])
}

fn releases(platform: &Platform) -> Vec<Value> {
    let (status, all) = platform.api("GET", "/apps/lathe/releases", &Value::Null);
    assert_eq!(status, 200, "{all}");
    all.as_array().unwrap().clone()
}

/// Waits until the release has come to its end, whoever answers meanwhile.
pub(crate) fn settled(platform: &Platform, number: u64) -> Value {
    until("the release has come to its end", BOUND, || {
        // The API counts who asks, and this may take minutes.
        std::thread::sleep(Duration::from_millis(200));
        // Another version may say nonsense where it is, or be gone.
        let at = std::fs::read(platform.data().join("run/endpoints.json")).ok()?;
        let at: Value = serde_json::from_slice(&at).ok()?;
        let at: SocketAddr = at["api_plain"].as_str()?.parse().ok()?;
        let token = std::fs::read_to_string(platform.data().join("owner-token")).ok()?;
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("Authorization", bearer.as_str())];
        let path = format!("/apps/lathe/releases/{number}");
        let answer = request(at, "GET", "localhost", &path, &headers, b"")?;
        let release: Value = serde_json::from_str(&answer.body).ok()?;
        // Who has waited at the door is answered before it is said where that is.
        let open = platform.data().join("run/endpoints.json").exists();
        (open && release["status"].as_str()? != "pending").then_some(release)
    })
}

/// A web app made without a build.
pub(crate) fn serve(platform: &Platform, app: &str) {
    let page = "import http.server, os\n\
        class H(http.server.BaseHTTPRequestHandler):\n\
        \x20   protocol_version = 'HTTP/1.1'\n\
        \x20   def do_GET(self):\n\
        \x20       self.send_response(200)\n\
        \x20       self.send_header('Content-Length', '2')\n\
        \x20       self.end_headers()\n\
        \x20       self.wfile.write(b'ok')\n\
        \x20   def log_message(self, *a): pass\n\
        http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), H).serve_forever()\n";
    platform.release(app, &json!({"web": "python3 web.py"}), &[("web.py", page)]);
    until("the app serves", BOUND, || (platform.app(app, "/").status == 200).then_some(()));
}

/// Answers well for so many seconds, and then 500 to everything.
fn sour(seconds: u64) -> String {
    SOUR.replace("SECONDS", &seconds.to_string())
}

const SOUR: &str = r#"#!/usr/bin/perl
use strict;
use IO::Socket::INET;
my $door = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1", ReuseAddr => 1) or die;
my $at = "127.0.0.1:" . $door->sockport;
open(my $file, ">", "$ARGV[1]/run/endpoints.json") or die;
print $file qq({"api_tls":"$at","api_plain":"$at","rendezvous":"$at","router":"$at"});
close $file;
while (my $client = $door->accept) {
    sysread $client, my $request, 4096;
    my $status = time - $^T < SECONDS ? 200 : 500;
    print $client "HTTP/1.1 $status X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]";
    close $client;
}
"#;

/// Fault B2: five versions that are no good, each in its own way, and one that is; whoever visits an
/// app meanwhile is answered.
#[test]
fn a_version_that_is_no_good_is_taken_back_and_a_good_one_stays() {
    let platform = Platform::start_self_hosted(&HASTIER);
    serve(&platform, "visited");
    let visitors = Visitors::start(platform.address("router"), "visited");

    let number = release(&platform, &good());
    let release_2 = settled(&platform, number);
    assert_eq!(release_2["status"], "succeeded", "{release_2}\n{}", platform.log());
    assert_eq!(release_2["grants"], json!(["host", "state", "ports"]));
    let ps = platform.api("GET", "/apps/lathe/dynos", &Value::Null).1;
    assert_eq!((&ps[0]["name"], &ps[0]["release"]["version"]), (&json!("platform.1"), &json!(2)));

    let real = lathe().display().to_string();
    let ends = format!(
        "#!/bin/sh\n{real} \"$@\" &\npid=$!\n\
         while [ ! -e $2/run/endpoints.json ]; do sleep 0.1; done\nkill -9 $pid\nexit 3\n"
    );
    let destroys = format!(
        "#!/bin/sh\nfor f in lathe.toml state.db state.key owner-token; do echo no > $2/$f; done\n\
         exec {real} \"$@\"\n"
    );
    let bad = [
        ("does not start", "#!/bin/sh\nexit 7\n", "exit status: 7"),
        ("answers 500", &sour(0), "not ready after 40 s: the API "),
        ("hangs", "#!/bin/sh\nexec sleep 1000\n", "not ready after 40 s"),
        ("ends", &ends, "It ended in its probation"),
        ("destroys its config", &destroys, "Put back as it was before: "),
    ];
    for (what, script, why) in bad {
        let began = Instant::now();
        let number = release(&platform, script);
        let release = settled(&platform, number);
        eprintln!(
            "what {what} is taken back {:.1} s after its release",
            began.elapsed().as_secs_f64()
        );
        let failure = release["failure"].as_str().unwrap_or_default();
        assert_eq!(release["status"], "failed", "{what}: {release}\n{}", platform.log());
        assert!(failure.contains(why), "{what}: {failure}");
        let current: Vec<Value> =
            releases(&platform).into_iter().filter(|one| one["current"] == true).collect();
        assert_eq!(current.len(), 1);
        assert_eq!(current[0]["version"], 2, "{what}");
        assert_eq!(platform.app("visited", "/").status, 200, "{what}");
    }
    let visits = visitors.end();
    eprintln!("{visits} visits to an app during six trials, all of them answered");
}

/// Fault B2: versions that were well for a moment of their probation, and are taken back for its silence.
#[test]
fn a_version_that_answers_no_more_is_taken_back() {
    let platform = Platform::start_self_hosted(&[
        "upgrade.rehearsal=0",
        "upgrade.start=60",
        "upgrade.probation=120",
        "upgrade.silence=5",
    ]);
    let before = platform.holder();
    let number = release(&platform, &sour(10));
    let failed = settled(&platform, number);
    let failure = failed["failure"].as_str().unwrap_or_default();
    // What was seen of it last: on a slow machine perhaps no answer in time.
    assert!(failure.contains("did not answer in its probation as it has to: the API "), "{failed}");

    // One that hangs, when whoever keeps it has seen it well.
    let number = release(&platform, &good());
    until("it is on trial", BOUND, || (platform.holder() != before).then_some(()));
    let on_trial = || (answers(&platform) && routes(&platform, number)).then_some(());
    until("it answers, and its router does", BOUND, on_trial);
    // Nobody says when its keeper has seen that, too.
    std::thread::sleep(Duration::from_secs(15));
    signal(platform.holder(), "STOP");
    let failed = settled(&platform, number);
    let failure = failed["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("did not answer in its probation as it has to"), "{failed}");
    until("the one before answers", BOUND, || answers(&platform).then_some(()));
}

/// Whether no router is another release's.
fn routes(platform: &Platform, number: u64) -> bool {
    let Some(Value::Array(parts)) = ask(platform, "/apps/lathe/dynos") else { return false };
    let routers = parts.iter().filter(|part| part["type"] == "router");
    routers.into_iter().all(|part| part["release"]["version"] == number && part["state"] == "up")
}

/// Faults B4, B6 and R14 of a self-hosted platform: keeper and platform are killed, at each point of
/// an upgrade and between; what runs is adopted, and what was interrupted goes on or back.
#[test]
fn keeper_and_platform_may_be_killed_at_any_time() {
    // Long enough to be killed in.
    let mut platform = Platform::start_self_hosted(&[
        "upgrade.rehearsal=0",
        "upgrade.start=60",
        "upgrade.probation=10",
        "upgrade.silence=60",
    ]);
    serve(&platform, "kept");
    let dynos = platform.dynos();

    // The platform alone: its keeper starts it again.
    let before = platform.holder();
    signal(before, "KILL");
    until("another one runs", BOUND, || (platform.holder() != before).then_some(()));
    until("it answers", BOUND, || answers(&platform).then_some(()));

    // The keeper alone: the platform serves on, and the next keeper takes it as it is.
    let before = platform.holder();
    platform.kill_keeper();
    assert_eq!(platform.app("kept", "/").status, 200);
    platform.up();
    let number = release(&platform, &good());

    // In the midst of a trial: it goes on.
    until("v2 runs", BOUND, || (platform.holder() != before && answers(&platform)).then_some(()));
    let on_trial = platform.holder();
    platform.kill_keeper();
    assert!(answers(&platform));
    platform.up();
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
    assert_eq!(platform.holder(), on_trial);

    // Both, in the midst of another one: it goes back.
    let number = release(&platform, &good().replace("exec", "true; exec"));
    until("v3 runs", BOUND, || (platform.holder() != on_trial).then_some(()));
    platform.kill_keeper();
    let killed = platform.holder();
    signal(killed, "KILL");
    // The next keeper would adopt one that is still ending.
    let line = format!("/proc/{killed}/cmdline");
    until("it has ended", BOUND, || {
        std::fs::read(&line).unwrap_or_default().is_empty().then_some(())
    });
    platform.up();
    let back = settled(&platform, number);
    assert_eq!(back["status"], "failed", "{back}");
    assert!(back["failure"].as_str().unwrap().contains("ended meanwhile"), "{back}");

    until("the app serves", BOUND, || (platform.app("kept", "/").status == 200).then_some(()));
    assert_eq!(platform.dynos(), dynos, "nobody's dynos were touched");
    // As after an upgrade by hand: it is told to stop, and started again, and is what it was.
    platform.stop();
    platform.up();
    until("it answers", BOUND, || answers(&platform).then_some(()));
    let ps = platform.api("GET", "/apps/lathe/dynos", &Value::Null).1;
    assert_eq!(ps[0]["release"]["version"], 2, "{ps}");
}

fn runs_anywhere(line: &[u8]) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).any(|it| it == line)
}

/// What the API says, whoever is the platform; none when nobody answers well.
fn ask(platform: &Platform, path: &str) -> Option<Value> {
    let at = std::fs::read(platform.data().join("run/endpoints.json")).ok()?;
    let at: Value = serde_json::from_slice(&at).ok()?;
    let at: SocketAddr = at["api_plain"].as_str()?.parse().ok()?;
    let bearer = format!("Bearer {}", platform.token());
    let answer = request(at, "GET", "localhost", path, &[("Authorization", &bearer)], b"")?;
    // Who has waited at the door is answered before it is said where that is.
    let open = platform.data().join("run/endpoints.json").exists();
    (open && answer.status == 200).then(|| serde_json::from_str(&answer.body).ok())?
}

fn answers(platform: &Platform) -> bool {
    ask(platform, "/account").is_some()
}

/// Fault B3: what would end the platform is refused, and says what to do instead.
#[test]
fn what_would_end_the_platform_is_refused_with_the_reason() {
    let platform = Platform::start_self_hosted(&HASTY);
    let refused = |method: &str, path: &str, body: Value, why: &str| {
        let (status, answer) = platform.api(method, path, &body);
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(status, 422, "{method} {path}: {answer}");
        assert!(message.contains(why), "{method} {path}: {message}");
    };
    let scale = json!({"updates": [{"type": "platform", "quantity": 0}]});
    refused("PATCH", "/apps/lathe/formation", scale, "cannot scale lathe");
    refused("DELETE", "/apps/lathe", Value::Null, "`lathe stop`");
    refused("PATCH", "/apps/lathe", json!({"name": "other"}), "cannot rename lathe");
    refused("PATCH", "/apps/lathe", json!({"maintenance": true}), "cannot put into maintenance");
    refused("POST", "/apps/lathe/collaborators", json!({"user": "a@b.example"}), "root on this");
    let vars = |name: &str, value: &str| json!({name: value});
    let config = "/apps/lathe/config-vars";
    refused("PATCH", config, vars("LATHE_LISTEN_ROUTER", "nowhere"), "could not start");
    refused("PATCH", config, vars("LATHE_DATA", "/elsewhere"), "another platform");
    assert_eq!(platform.api("PATCH", config, &vars("LATHE_LOG", "info")).0, 200);

    // A slug that is no version of the platform; and rights that are the platform's alone.
    let slug = platform.post("/apps/lathe/slugs", &json!({"process_types": {"web": "true"}}));
    refused("POST", "/apps/lathe/releases", json!({"slug": slug["id"]}), "not been uploaded");
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "greedy"})).0, 201);
    let greedy = json!({"slug": "any", "grants": ["host"]});
    refused("POST", "/apps/greedy/releases", greedy, "be granted \"host\"");
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "lathe"})).0, 422);

    // What is stopped begins anew; the keeper, which would have to see to that, is not.
    let stop = |name: &str| format!("/apps/lathe/dynos/{name}/actions/stop");
    refused("POST", &stop("keeper.1"), json!({}), "systemctl restart lathe");
    let ups = || platform.log().matches("Lathe is up").count();
    let before = ups();
    assert_eq!(platform.api("POST", &stop("platform.1"), &json!({})).0, 202);
    until("it has begun anew", BOUND, || (ups() > before && answers(&platform)).then_some(()));
}

/// Fault B2: the rehearsal finds what is no good before this platform is touched, and passes what is.
#[test]
fn a_version_is_rehearsed_on_a_scratch_platform_before_anything_is_touched() {
    let settings = ["upgrade.probation=1", "upgrade.start=30", "upgrade.silence=60"];
    let platform = Platform::start_self_hosted(&settings);
    let before = platform.holder();
    let bad = "#!/bin/sh\necho no such library >&2\nexit 7\n";
    let number = release(&platform, bad);
    let refused = settled(&platform, number);
    let failure = refused["failure"].as_str().unwrap_or_default();
    assert_eq!(refused["status"], "failed", "{refused}");
    for part in ["It failed its rehearsal", "cannot use the state", "no such library"] {
        assert!(failure.contains(part), "{failure}");
    }
    // A platform that its keeper starts again and again, and one that hears of nothing.
    let ends = "while true; do echo no such device >&2; sleep 1; done";
    let deaf = "DATA=$2 sh -c 'exec 9>>$DATA/lock; flock 9; echo $$ >$DATA/lock; \
        trap \"\" QUIT TERM; sleep 1000' & sleep 1000";
    for (does, why) in [(ends, "no such device"), (deaf, "it says nowhere where it listens")] {
        let real = lathe().display().to_string();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *--self-hosted*) {does};; esac\nexec {real} \"$@\"\n"
        );
        let number = release(&platform, &script);
        let failed = settled(&platform, number);
        let failure = failed["failure"].as_str().unwrap_or_default();
        assert!(
            failure.contains("It failed its rehearsal: it did not answer within 30 s"),
            "{failure}"
        );
        assert!(failure.contains(why), "{failure}");
    }
    // One that hangs before it is a platform: it leaves nobody behind either.
    let hangs = "#!/bin/sh\nsleep 98765 &\nsleep 98765\n";
    let number = release(&platform, hangs);
    let failed = settled(&platform, number);
    let failure = failed["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("its `migrate` did not end within 30 s"), "{failure}");
    until("what it has started ends", BOUND, || {
        (!runs_anywhere(b"sleep\x0098765\0")).then_some(())
    });
    assert_eq!(platform.holder(), before);
    let seat = || {
        let all = std::fs::read_dir(platform.data().join("seat")).unwrap();
        all.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    };
    until("nothing of them is left", BOUND, || (seat() == 0).then_some(()));

    let number = release(&platform, &good());
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
    assert!(platform.holder() != before);
    let logs = platform.command().args(["rescue"]).output().unwrap();
    let said = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(said.contains(&format!("good: v{number}: can start")), "{said}");
}

/// Fault B5: the power goes as a version is put on trial, and while it is.
#[test]
fn a_power_cut_in_an_upgrade_is_the_end_of_the_upgrade_alone() {
    let floor = Disk::xfs(1 << 30);
    let disk = floor.ext4_within(512 << 20);
    let settings =
        ["upgrade.rehearsal=0", "upgrade.probation=600", "upgrade.silence=60", "free_disk_floor=1"];
    let platform = Platform::start_self_hosted_in(&disk.path(), &settings);
    let before = platform.holder();
    let number = release(&platform, &good());
    let mut cuts = Vec::new();
    // The one before is told to stop once the seat is on the disk; its name is seen sooner.
    until("v2 is put on trial", BOUND, || {
        let is_stopping = platform.log().contains("Stopping; the dynos go on");
        (is_stopping && bootstrap::is_on_trial(&platform)).then_some(())
    });
    cuts.push(disk.after_power_cut());
    until("v2 answers", BOUND, || {
        (platform.holder() != before && answers(&platform)).then_some(())
    });
    cuts.push(disk.after_power_cut());
    let data = platform.data().strip_prefix(disk.path()).unwrap().to_owned();
    drop(platform);

    for cut in cuts {
        let revived = Platform::revive_self_hosted(&cut.path().join(&data), &settings);
        let release = settled(&revived, number);
        assert_eq!(release["status"], "failed", "{release}");
        let why = release["failure"].as_str().unwrap();
        assert!(why.contains("ended meanwhile"), "{why}");
        let ps = revived.api("GET", "/apps/lathe/dynos", &Value::Null).1;
        assert_eq!(ps[0]["release"]["version"], 1, "{ps}");
    }
}
