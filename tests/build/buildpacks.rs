//! Buildpacks from elsewhere: by every kind of name, in order, fetched once, and held where they were.

use super::{PLAIN, build_by_api, create, digest, own, says, script, versions};
use lathe_tests::{Checkout, Platform};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Where a build sees the directory of `build.registry`.
pub(super) const SEEN: &str = "/usr/share/lathe/registry";

/// An operator's directory of buildpacks.
pub(super) struct Registry {
    pub(super) dir: TempDir,
}

impl Registry {
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lathe-registry-").tempdir().unwrap();
        // Builds look into it as another user.
        run("chmod", &["755"], dir.path());
        Self { dir }
    }

    pub(super) fn setting(&self) -> String {
        format!("build.registry={}", self.dir.path().display())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    /// A folder that is a buildpack with this `bin/compile`, and the two programs of Heroku CI.
    fn folder(&self, name: &str, compile: &str) {
        self.write(&format!("{name}/bin/detect"), &format!("#!/bin/sh\necho {name}\n"));
        self.write(&format!("{name}/bin/compile"), &script(compile));
        for program in ["test", "test-compile"] {
            self.write(&format!("{name}/bin/{program}"), "#!/bin/sh\necho not asked for; exit 1\n");
        }
    }

    /// The folder as a git repository, with one more commit on each call.
    fn commit(&self, name: &str) -> String {
        let dir = self.dir.path().join(name);
        let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        for arguments in
            [&["init", "-q", "-b", "main"][..], &["add", "-A"], &["commit", "-q", "-m", "more"]]
        {
            run(
                "git",
                &[&identity[..], &["-C", dir.to_str().unwrap()], arguments].concat(),
                Path::new(""),
            );
        }
        let head = Command::new("git").arg("-C").arg(&dir).args(["rev-parse", "HEAD"]).output();
        String::from_utf8(head.unwrap().stdout).unwrap().trim().to_owned()
    }

    fn tarball(&self, name: &str) {
        let dir = self.dir.path();
        let status = Command::new("tar")
            .arg("czf")
            .arg(dir.join(format!("{name}.tgz")))
            .args(["-C".as_ref(), dir.as_os_str(), name.as_ref()])
            .status();
        assert!(status.unwrap().success());
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) {
    let mut command = Command::new(program);
    command.args(arguments);
    if !last.as_os_str().is_empty() {
        command.arg(last);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

fn set_buildpacks(platform: &Platform, app: &str, names: &[&str]) {
    let updates: Vec<_> = names.iter().map(|name| json!({"buildpack": name})).collect();
    let path = format!("/apps/{app}/buildpack-installations");
    let (status, answer) = platform.api("PUT", &path, &json!({"updates": updates}));
    assert_eq!(status, 200, "{answer}");
}

fn inputs(platform: &Platform, app: &str) -> Value {
    let (_, releases) = platform.api("GET", &format!("/apps/{app}/releases"), &Value::Null);
    releases.as_array().unwrap().last().unwrap()["inputs"].clone()
}

/// In order, each seeing what those before it have exported; and from what was recorded of a
/// release, the same slug can be built again after every buildpack has moved on.
#[test]
fn buildpacks_by_every_name_are_chained_and_pinned() {
    let registry = Registry::new();
    let export = "echo \"export CHAIN=\\\"${CHAIN-}$(basename \"$0\"),\\\"\" > export";
    registry.folder("by-name", &format!("echo name:${{CHAIN-none}}; {export}"));
    registry.folder("by-git", &format!("echo git:$CHAIN; echo 1 > \"$1/made\"; {export}"));
    registry.folder("by-tarball", &format!("echo tarball:$CHAIN; {export}"));
    registry.folder("by-folder", "echo folder:$CHAIN");
    for (name, kind) in [("by-git", "worker"), ("by-folder", "last")] {
        let release = format!("#!/bin/sh\necho 'default_process_types: {{{kind}: sleep 1000}}'\n");
        registry.write(&format!("{name}/bin/release"), &release);
    }
    registry.write("by-folder/bin/report", "#!/bin/sh\necho 'tool_version: 1.2.3'\n");
    let commit = registry.commit("by-git");
    registry.tarball("by-tarball");
    registry.write("aliases", "acme/name  ./by-name\n");

    let platform = Platform::start_with(&[&registry.setting()]);
    create(&platform, "chain");
    let files = [("go.sum", ""), ("app.txt", "x")];
    let checkout = Checkout::new(&platform, "chain", &files);
    let git = format!("file://{SEEN}/by-git#main");
    let tarball = format!("file://{SEEN}/by-tarball.tgz");
    let folder = format!("{SEEN}/by-folder");
    set_buildpacks(&platform, "chain", &["acme/name", &git, &tarball, &folder]);
    let said = checkout.push().accepted().transcript;
    says(
        &said,
        &[
            "name:none",
            "git:compile,",
            "tarball:compile,compile,",
            "folder:compile,compile,compile,",
            "Default types for buildpack -> last",
        ],
    );
    assert!(!said.contains("not asked for") && !said.contains("-> worker"), "{said}");
    let inputs = inputs(&platform, "chain");
    assert_eq!(inputs["buildpacks"][1]["commit"], commit.as_str());
    assert_eq!(inputs["buildpacks"][1]["pinned"], format!("file://{SEEN}/by-git#{commit}"));
    assert_eq!(inputs["buildpacks"][3]["report"]["tool_version"], "1.2.3");
    assert_eq!(inputs["commit"], checkout.head());
    assert!(inputs["locks"]["go.sum"].is_string() && inputs["build_stack"].is_string());
    let shown = platform.command().args(["releases:inputs", "chain"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    says(&shown, &["Release v2: Deploy", &commit, "go.sum", "tool_version: 1.2.3"]);
    let first = digest(&platform, "chain");

    registry.folder("by-git", "echo 2 > \"$1/made\"");
    registry.commit("by-git");
    let pins: Vec<String> = inputs["buildpacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|used| used["pinned"].as_str().unwrap().to_owned())
        .collect();
    create(&platform, "again");
    let again = Checkout::new(&platform, "again", &files);
    set_buildpacks(&platform, "again", &pins.iter().map(String::as_str).collect::<Vec<_>>());
    again.push().accepted();
    assert_eq!(digest(&platform, "again"), first);
    checkout.commit(&[]);
    checkout.push().accepted();
    assert_ne!(digest(&platform, "chain"), first, "a branch is followed");
}

#[test]
fn a_buildpack_out_of_reach_is_named_with_its_limit_and_the_old_release_stays() {
    let platform = Platform::start_with(&["build.fetch_timeout=2"]);
    create(&platform, "far");
    let checkout = Checkout::new(&platform, "far", PLAIN);
    checkout.push().accepted();
    // The firewall of a build drops what goes to this machine: a connection that never comes about.
    let port = platform.address("api_tls").port();
    let silent = format!("https://127.1.2.3:{port}/buildpack.git");
    for (url, reasons) in [
        ("https://nowhere.invalid/b.git", ["nowhere.invalid", "build.registry"]),
        // Refused at once, whoever answers names.
        ("https://me:hunter2@localhost:1/b.tgz", ["localhost:1/b.tgz", "curl said"]),
        (&silent, ["could not fetch buildpack https://127.1.2.3", "push"]),
        ("file:///tmp/build/missing", ["could not fetch buildpack", "/tmp/build/missing"]),
        ("heroku/python", ["app not compatible with buildpack: heroku/python", "buildpacks"]),
    ] {
        set_buildpacks(&platform, "far", &[url]);
        checkout.commit(&[]);
        let pushed = checkout.push().rejected(&reasons);
        assert!(!pushed.transcript.contains("hunter2"), "{}", pushed.transcript);
    }
    assert_eq!(versions(&platform, "far"), [1, 2]);
    let unknown = json!({"updates": [{"buildpack": "acme/none"}]});
    let path = "/apps/far/buildpack-installations";
    let (status, answer) = platform.api("PUT", path, &unknown);
    assert_eq!(status, 422);
    says(answer["message"].as_str().unwrap(), &["acme/none", "heroku/python"]);
}

/// Heroku Dev Center, "Buildpack API"; the names are those of its builds.
#[test]
fn a_buildpack_finds_the_documented_environment_and_a_cache_that_can_be_purged() {
    let platform = Platform::start();
    let checkout = own(
        &platform,
        "contract",
        "env | cut -d= -f1 | sort | tr '\\n' ' '; echo\n\
         echo \"$HOME $STACK $DYNO $SOURCE_VERSION\"\n\
         echo \"$1 $2 $(ls \"$3\")\"; test -f \"$BUILDPACK_LOG_FILE\"; test -n \"$REQUEST_ID\"\n\
         n=$(cat \"$2/n\" 2>/dev/null || echo 0); echo $((n + 1)) > \"$2/n\"; echo \"built $n times before\"",
    );
    platform.api("PATCH", "/apps/contract/config-vars", &json!({"LD_PRELOAD": "/evil.so"}));
    let said = checkout.push().accepted().transcript;
    let version = checkout.head();
    says(
        &said,
        &[
            &format!("/app heroku-22 build.1 {version}"),
            "/tmp/build /tmp/codon/tmp/cache LD_PRELOAD",
            "built 0 times before",
        ],
    );
    let archive = checkout.git(&["archive", "--format=tar.gz", "HEAD"]).stdout;
    let built = |count: u8| {
        let (status, build) = build_by_api(&platform, "contract", &archive);
        assert_eq!(status, 201, "{build}");
        let path = build["output_stream_url"].as_str().unwrap().split_once("/apps/").unwrap().1;
        let path = format!("/apps/{path}");
        let output = lathe_tests::get(platform.address("api_plain"), "localhost", &path);
        says(&output.body, &[&format!("built {count} times before"), "Verifying deploy"]);
    };
    built(1);
    let (status, _) = platform.api("DELETE", "/apps/contract/build-cache", &Value::Null);
    assert_eq!(status, 204);
    built(0);
}
