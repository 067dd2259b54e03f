//! A user's checkout of an app, pushed with the real git.

use crate::Platform;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Checkout {
    dir: TempDir,
    remote: String,
}

/// What `git push` did and said.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub ok: bool,
    /// Both streams; what the server said is behind `remote: `.
    pub transcript: String,
}

impl Checkout {
    /// A repository with these files, one commit, and the platform as its remote `lathe`.
    pub fn new(platform: &Platform, app: &str, files: &[(&str, &str)]) -> Self {
        let address = platform.address("api_plain");
        let token = platform.token();
        let checkout = Self {
            dir: tempfile::Builder::new().prefix("lathe-checkout-").tempdir().unwrap(),
            remote: format!("http://git:{token}@{address}/{app}.git"),
        };
        checkout.git(&["init", "-q", "-b", "main"]);
        checkout.git(&["remote", "add", "lathe", &checkout.remote]);
        checkout.commit(files);
        checkout
    }

    /// A repository with a copy of `tests/fixtures/<name>`.
    pub fn of_fixture(platform: &Platform, app: &str, name: &str) -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        Self::of_tree(platform, app, &fixture)
    }

    /// A repository with a copy of a whole tree.
    pub fn of_tree(platform: &Platform, app: &str, tree: &Path) -> Self {
        let checkout = Self::new(platform, app, &[]);
        let copied =
            Command::new("cp").args(["-a", "--"]).arg(tree.join(".")).arg(checkout.path()).status();
        assert!(copied.unwrap().success());
        checkout.commit(&[]);
        checkout
    }

    /// A platform that was started again listens on other ports.
    pub fn repoint(&self, platform: &Platform) {
        let (address, token) = (platform.address("api_plain"), platform.token());
        let app = self.remote.rsplit('/').next().unwrap();
        self.git(&["remote", "set-url", "lathe", &format!("http://git:{token}@{address}/{app}")]);
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Writes the files and commits whatever has changed.
    pub fn commit(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            if text.starts_with("#!") {
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
    }

    pub fn push(&self) -> Pushed {
        self.push_refs(&["main"])
    }

    pub fn push_refs(&self, refs: &[&str]) -> Pushed {
        let output = self.git_command(&["push", "lathe"]).args(refs).output().unwrap();
        let transcript =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Pushed { ok: output.status.success(), transcript }
    }

    pub fn git(&self, arguments: &[&str]) -> Output {
        let output = self.git_command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {arguments:?}: {said}");
        output
    }

    /// git with nothing of this machine's configuration.
    pub fn git_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")]);
        command
    }
}

impl Pushed {
    /// Panics with the transcript unless the push was accepted.
    pub fn accepted(self) -> Self {
        assert!(self.ok, "push rejected:\n{}", self.transcript);
        self
    }

    /// Panics unless the push was rejected with a text that holds each of `reasons`.
    pub fn rejected(self, reasons: &[&str]) -> Self {
        assert!(!self.ok, "push accepted:\n{}", self.transcript);
        for reason in reasons {
            assert!(self.transcript.contains(reason), "no {reason:?} in:\n{}", self.transcript);
        }
        self
    }
}
