//! `lathe bootstrap`, killed at each of its steps: whoever gives the command again goes on.

use super::{BOUND, HASTY, Visitors, answers, ask, good, releases};
use lathe_tests::{Platform, signal, until};
use serde_json::Value;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The command under way, and what it has said.
struct Bootstrap {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Bootstrap {
    fn begin(platform: &Platform, source: &Path) -> Self {
        let mut command = platform.command();
        command.args(["bootstrap", "--source"]).arg(source);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (out, heard) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                heard.lock().unwrap().extend([&line, "\n"]);
            }
        });
        Self { child, said }
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.lock().unwrap().contains(text)
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Told to stop once: also in the moment after its last word, when it begins to keep the platform.
    fn end(mut self) -> Option<i32> {
        signal(self.child.id(), "TERM");
        until("it ends", BOUND, || self.child.try_wait().unwrap()).code()
    }
}

fn source() -> TempDir {
    let source = tempfile::tempdir().unwrap();
    std::fs::create_dir(source.path().join("bin")).unwrap();
    let script = source.path().join("bin/lathe");
    std::fs::write(&script, good()).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    std::fs::write(source.path().join("Procfile"), "platform: bin/lathe up\n").unwrap();
    source
}

fn is_compiled(platform: &Platform) -> bool {
    let builds = ask(platform, "/apps/lathe/builds").unwrap_or_default();
    builds.as_array().is_some_and(|all| all.iter().any(|build| build["status"] == "pending"))
}

pub(super) fn is_on_trial(platform: &Platform) -> bool {
    let seat = std::fs::read_to_string(platform.data().join("seat/seat.json"));
    seat.is_ok_and(|seat| seat.contains("\"trial\": {"))
}

/// Another version than the program that was started.
fn is_another(platform: &Platform) -> bool {
    ask(platform, "/apps/lathe/dynos").is_some_and(|ps| ps[0]["release"]["version"] != 1)
}

/// What has come, or is past: what a killed command has begun goes on without it for a while.
type Moment = (&'static str, fn(&Platform, &Bootstrap) -> bool);

const MOMENTS: [Moment; 7] = [
    ("a platform is waited for", |_, command| command.has_said("> Platform:")),
    ("its source is fetched", |_, command| command.has_said("> Source:")),
    ("it is to be pushed", |_, command| command.has_said("> Slug:")),
    ("it is compiled", |platform, command| is_compiled(platform) || command.has_said("> Trial:")),
    ("it is to be tried", |_, command| command.has_said("> Trial:")),
    ("it runs on trial", |platform, command| {
        let is_tried = is_on_trial(platform) && is_another(platform);
        is_tried || command.has_said("> Handed over:")
    }),
    ("it is handed over", |_, command| command.has_said("> Handed over:")),
];

/// Fault B4: one command makes a platform that hosts itself; killed and given again, it goes on. Whoever
/// asks the API meanwhile is never refused and never told of an error.
#[test]
fn bootstrap_hands_over_to_a_release_of_the_source_and_goes_on_where_it_was_cut_off() {
    let source = source();
    let mut platform = Platform::start_self_hosted(&HASTY);
    platform.kill_keeper();
    let askers = Visitors::of_api(&platform);
    for (what, has_come) in MOMENTS {
        let command = Bootstrap::begin(&platform, source.path());
        until(what, BOUND, || has_come(&platform, &command).then_some(()));
        command.kill();
        until("a platform answers", BOUND, || answers(&platform).then_some(()));
    }
    let hosted: Vec<Value> =
        releases(&platform).into_iter().filter(|one| one["current"] == true).collect();
    assert_eq!(hosted[0]["status"], "succeeded");
    assert!(hosted[0]["slug"]["id"].is_string(), "{hosted:?}");

    // Given once more it finds that all is done, and keeps the platform; told to stop, it ends it.
    let command = Bootstrap::begin(&platform, source.path());
    until("it is done", BOUND, || command.has_said("> Handed over:").then_some(()));
    let asked = askers.end();
    eprintln!("the API was asked {asked} times while its platform was made another");
    assert_eq!(command.end(), Some(0));
}

/// What the first start has made of an empty directory when it is killed, in the order in which it comes.
const FIRST_FILES: [&str; 6] = [
    "seat/lock",
    "state.key",
    "state.db",
    "owner-token",
    "cell/spawner.sock",
    "run/endpoints.json",
];

/// Fault B4: killed in the midst of the very first start, whatever that has left half made.
#[test]
fn a_first_start_that_was_cut_off_is_gone_on_with() {
    let source = source();
    for file in FIRST_FILES {
        let platform = Platform::on_a_bare_machine(&HASTY);
        let command = Bootstrap::begin(&platform, source.path());
        until(file, BOUND, || platform.data().join(file).exists().then_some(()));
        command.kill();
        let command = Bootstrap::begin(&platform, source.path());
        until("its source is fetched", BOUND, || command.has_said("> Source:").then_some(()));
        until("a platform answers", BOUND, || answers(&platform).then_some(()));
        assert_eq!(command.end(), Some(0), "after {file}");
    }
}

/// Fault B4: killed in the very moment between one version and the next. Nothing runs until the command
/// is given again, and whoever asks meanwhile waits for that.
#[test]
fn a_bootstrap_that_is_killed_between_two_versions_goes_back_and_then_on() {
    let source = source();
    let mut platform = Platform::start_self_hosted(&HASTY);
    platform.kill_keeper();
    let askers = Visitors::of_api(&platform);
    let command = Bootstrap::begin(&platform, source.path());
    until("it is put on trial", BOUND, || {
        (is_on_trial(&platform) || command.has_said("> Handed over:")).then_some(())
    });
    command.kill();
    let command = Bootstrap::begin(&platform, source.path());
    until("it is handed over", BOUND, || command.has_said("> Handed over:").then_some(()));
    askers.end();
    assert_eq!(command.end(), Some(0));
}
