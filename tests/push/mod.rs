//! Pushes with the real git: who may, which refs, one at a time, over TLS, and back again.

mod faults;
mod hostile;

use lathe_tests::{Checkout, Platform, basic, request, until};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_mins(1);

/// An app that needs no build and no dyno.
const PLAIN: &[(&str, &str)] = &[("Procfile", "worker: sleep 1000\n")];

/// An app whose build runs this script, as its own buildpack.
fn building(compile: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Procfile", "worker: sleep 1000\n".into()),
        ("bin/detect", "#!/bin/sh\necho Own\n".into()),
        ("bin/compile", format!("#!/bin/sh\nset -eu\n{compile}\n")),
    ]
}

fn borrowed<'a>(files: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    files.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

fn create(platform: &Platform, name: &str) {
    let (status, app) = platform.api("POST", "/apps", &json!({"name": name}));
    assert_eq!(status, 201, "{app}");
}

fn repository(platform: &Platform, app: &str) -> PathBuf {
    let (_, app) = platform.api("GET", &format!("/apps/{app}"), &Value::Null);
    platform.data().join(format!("git/{}.git", app["id"].as_str().unwrap()))
}

/// What the app's main branch is on the platform; none while there is none.
fn main_of(platform: &Platform, app: &str) -> Option<String> {
    let repository = repository(platform, app);
    std::fs::read_to_string(repository.join("refs/heads/main")).ok().map(|t| t.trim().to_owned())
}

/// Files that git keeps only while it takes in a push.
fn quarantined(platform: &Platform, app: &str) -> Vec<String> {
    let objects = repository(platform, app).join("objects");
    let names = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    names(objects.clone())
        .chain(names(objects.join("pack")))
        .filter(|n| n.contains("tmp_"))
        .collect()
}

fn versions(platform: &Platform, app: &str) -> Vec<u64> {
    let (_, releases) = platform.api("GET", &format!("/apps/{app}/releases"), &Value::Null);
    releases.as_array().unwrap().iter().map(|r| r["version"].as_u64().unwrap()).collect()
}

fn builds(platform: &Platform, app: &str) -> Vec<String> {
    let (_, builds) = platform.api("GET", &format!("/apps/{app}/builds"), &Value::Null);
    let status = |build: &Value| build["status"].as_str().unwrap().to_owned();
    builds.as_array().unwrap().iter().map(status).collect()
}

#[test]
fn only_the_owner_pushes_and_every_other_app_is_an_unknown_one() {
    let platform = Platform::start();
    create(&platform, "mine");
    let checkout = Checkout::new(&platform, "mine", PLAIN);
    let address = platform.address("api_plain");
    let refs = |app: &str, token: Option<&str>| {
        let authorization = token.map(basic);
        let headers: Vec<_> =
            authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        let path = format!("/{app}.git/info/refs?service=git-receive-pack");
        request(address, "GET", "localhost", &path, &headers, b"").unwrap()
    };
    let absent = refs("mine", None);
    assert_eq!(absent.status, 401);
    assert!(absent.headers["www-authenticate"].starts_with("Basic"));
    assert_eq!(refs("mine", Some("wrong")).status, 401);
    let unknown = refs("nobodys", Some(&platform.token()));
    assert_eq!(unknown.status, 404);
    for name in ["..", "%2e%2e%2fmine", "mine.git/..", "MINE"] {
        let answer = refs(name, Some(&platform.token()));
        assert_eq!(answer.status, 404, "{name}: {}", answer.body);
    }

    checkout.git(&["remote", "set-url", "lathe", &format!("http://git:wrong@{address}/mine.git")]);
    checkout.push().rejected(&["Authentication failed"]);
    checkout.git(&["remote", "set-url", "lathe", &format!("http://{address}/mine.git")]);
    checkout.push().rejected(&["could not read Username"]);
    let url = format!("http://git:{}@{address}/nobodys.git", platform.token());
    checkout.git(&["remote", "set-url", "lathe", &url]);
    checkout.push().rejected(&["Couldn't find that app."]);
    assert_eq!(main_of(&platform, "mine"), None);

    over_tls_with_a_netrc(&platform, &checkout);
}

fn over_tls_with_a_netrc(platform: &Platform, checkout: &Checkout) {
    let port = platform.address("api_tls").port();
    checkout.git(&["remote", "set-url", "lathe", &format!("https://localhost:{port}/mine.git")]);
    checkout.push().rejected(&["certificate"]);

    let home = tempfile::tempdir().unwrap();
    let netrc = format!("machine localhost login me@example.com password {}\n", platform.token());
    std::fs::write(home.path().join(".netrc"), netrc).unwrap();
    let with_ca = |arguments: &[&str]| {
        let output = checkout
            .git_command(arguments)
            .env("GIT_SSL_CAINFO", platform.data().join("tls/ca.pem"))
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    with_ca(&["push", "lathe", "main"]);
    assert_eq!(main_of(platform, "mine"), Some(checkout.head()));

    let clone = home.path().join("clone");
    let url = format!("https://localhost:{port}/mine.git");
    with_ca(&["clone", "-q", &url, clone.to_str().unwrap()]);
    let head = checkout.git(&["-C", clone.to_str().unwrap(), "rev-parse", "HEAD"]);
    assert_eq!(String::from_utf8_lossy(&head.stdout).trim(), checkout.head());
}

/// fault G5, G6, G7.
#[test]
fn branches_tags_force_and_deletion() {
    let platform = Platform::start();
    create(&platform, "refs");
    let checkout = Checkout::new(&platform, "refs", PLAIN);
    for name in ["feature/one", "v1"] {
        let target = if name == "v1" { "HEAD:refs/tags/v1" } else { "HEAD:refs/heads/feature/one" };
        let pushed = checkout.push_refs(&[target]).accepted();
        assert!(pushed.transcript.contains("skipping build"), "{}", pushed.transcript);
    }
    assert_eq!((main_of(&platform, "refs"), versions(&platform, "refs")), (None, vec![1]));

    checkout.push().accepted();
    let first = checkout.head();
    checkout.commit(&[("more", "1")]);
    checkout.push().accepted();
    assert_eq!(versions(&platform, "refs"), [1, 2, 3]);

    // Another history: git's own words, and Heroku's way past them.
    checkout.git(&["reset", "-q", "--hard", &first]);
    checkout.commit(&[("more", "2")]);
    checkout.push().rejected(&["[rejected]", "non-fast-forward"]);
    assert_eq!(versions(&platform, "refs"), [1, 2, 3], "the old release is kept");
    checkout.push_refs(&["--force", "main"]).accepted();
    assert_eq!(main_of(&platform, "refs"), Some(checkout.head()));

    // Before anything is built: a release cannot be taken back because another ref is in the way.
    let both = ["--atomic", "main", "HEAD:refs/heads/beside"];
    checkout.push_refs(&both).rejected(&["does not support --atomic"]);

    checkout.push_refs(&[":main"]).rejected(&["deletion prohibited", "scale it to zero"]);
    assert_eq!(main_of(&platform, "refs"), Some(checkout.head()));
    checkout.push_refs(&[":feature/one"]).accepted();

    for n in 0..101 {
        let tag = checkout.path().join(format!(".git/refs/tags/n{n}"));
        std::fs::write(tag, checkout.head()).unwrap();
    }
    checkout.push_refs(&["--tags"]).rejected(&["updates 101 refs, the limit is 100"]);
    let tags = std::fs::read_dir(repository(&platform, "refs").join("refs/tags")).unwrap().count();
    assert_eq!((tags, versions(&platform, "refs").len()), (1, 4));
}

/// fault G8.
#[test]
fn of_pushes_at_once_one_wins_and_the_others_are_told() {
    // A folder that builds see: the first one lasts until all others have been told.
    let folder = tempfile::Builder::new().prefix("lathe-registry-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let platform = Platform::start_with(&[&format!("build.registry={}", folder.path().display())]);
    create(&platform, "busy");
    let files = building("until [ -e /usr/share/lathe/registry/go ]; do sleep 0.1; done");
    let checkouts: Vec<_> =
        (0..8).map(|_| Checkout::new(&platform, "busy", &borrowed(&files))).collect();
    for (index, checkout) in checkouts.iter().enumerate() {
        checkout.commit(&[("index", &index.to_string())]);
    }
    let pushed: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = checkouts.iter().map(|c| scope.spawn(|| c.push())).collect();
        let began = Instant::now();
        let told = || running.iter().filter(|push| push.is_finished()).count();
        while told() < checkouts.len() - 1 && began.elapsed() < BOUND {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::write(folder.path().join("go"), "").unwrap();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winners: Vec<_> = (0..8).filter(|index| pushed[*index].ok).collect();
    assert_eq!(winners.len(), 1, "{pushed:?}");
    for loser in pushed.into_iter().filter(|pushed| !pushed.ok) {
        loser.rejected(&["A build of this app is in progress"]);
    }
    assert_eq!(main_of(&platform, "busy"), Some(checkouts[winners[0]].head()));
    assert_eq!(versions(&platform, "busy"), [1, 2]);
    assert_eq!(builds(&platform, "busy"), ["succeeded"]);
    assert!(quarantined(&platform, "busy").is_empty());
}

/// Ctrl-C ends the build within seconds, whole, and the next push is as if it had not been.
#[test]
fn an_interrupted_push_leaves_no_build() {
    let platform = Platform::start();
    create(&platform, "gone");
    let (one, two) = (nap(1), nap(2));
    let files = building(&format!("echo begun\nsleep {one} &\nsleep {two}"));
    let checkout = Checkout::new(&platform, "gone", &borrowed(&files));
    let mut push = interruptible(&checkout.git_command(&["push", "lathe", "main"]));
    let mut push = std::os::unix::process::CommandExt::process_group(&mut push, 0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = push.stderr.take().unwrap();
    let mut byte = [0];
    while !said.contains("begun") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "git ended: {said}");
        said.push(char::from(byte[0]));
    }
    until("the build sleeps", BOUND, || (sleeping(&one) && sleeping(&two)).then_some(()));
    let group = format!("-{}", push.id());
    let interrupted = std::process::Command::new("kill").args(["-INT", "--", &group]).status();
    assert!(interrupted.unwrap().success());
    let began = Instant::now();
    push.wait().unwrap();
    until("the build has ended", BOUND, || {
        let ended = builds(&platform, "gone") == ["failed"];
        (ended && !sleeping(&one) && !sleeping(&two)).then_some(())
    });
    until("git has gone", BOUND, || quarantined(&platform, "gone").is_empty().then_some(()));
    eprintln!("nothing was left of the push {:?} after its interrupt", began.elapsed());
    assert_eq!((main_of(&platform, "gone"), versions(&platform, "gone")), (None, vec![1]));

    checkout.commit(&[("bin/compile", "#!/bin/sh\n")]);
    checkout.push().accepted();
}

/// The same command where Ctrl-C works: a shell that runs the tests in the background has them, and
/// whatever they start, ignore it.
fn interruptible(git: &std::process::Command) -> std::process::Command {
    let mut command = std::process::Command::new("env");
    command.arg("--default-signal=INT").arg(git.get_program()).args(git.get_args());
    for (name, value) in git.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(dir) = git.get_current_dir() {
        command.current_dir(dir);
    }
    command
}

/// Seconds to sleep that tell this run's sleepers from every other's.
fn nap(number: u8) -> String {
    format!("9{}{number}", std::process::id())
}

/// Whether `sleep <seconds>` runs anywhere on this machine.
fn sleeping(seconds: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|cmdline| cmdline == format!("sleep\0{seconds}\0").as_bytes())
}

/// fault G17: git warns of each object as it reads it: more than fits into all pipes on the way back.
#[test]
fn a_push_of_which_git_has_much_to_say_ends() {
    const TREES: usize = 4000;
    let platform = Platform::start();
    create(&platform, "talkative");
    let checkout = Checkout::new(&platform, "talkative", &[("x", "1")]);
    let make = |arguments: &[&str], input: String| {
        let mut command = checkout.git_command(arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut git = piped.spawn().unwrap();
        let mut stdin = git.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
        let output = git.wait_with_output().unwrap();
        feeding.join().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let blob = make(&["hash-object", "-w", "--stdin"], "x".into());
    // A mode that git has not written for fifteen years, and warns of.
    let trees: Vec<_> = (0..TREES).map(|n| format!("100664 blob {blob}\tf{n}\n")).collect();
    let trees = make(&["mktree", "--batch"], trees.join("\n"));
    let all = trees.lines().enumerate().map(|(n, tree)| format!("040000 tree {tree}\tt{n}"));
    let top = make(&["mktree"], all.collect::<Vec<_>>().join("\n") + "\n");
    let commit = make(&["commit-tree", "-m", "old", &top], String::new());
    checkout.git(&["branch", "old", &commit]);
    let pushed = checkout.push_refs(&["old"]).accepted();
    let warnings = pushed.transcript.matches("badFilemode").count();
    assert!(warnings >= TREES, "{warnings} warnings");
}
