//! What tests need of the machine beyond Rust: installed when it is missing, and said so.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command that succeeds where the thing is there, and the Debian package that brings it.
pub type Need = (&'static [&'static str], &'static str);

pub const GIT: Need = (&["git", "--version"], "git");
pub const NFT: Need = (&["nft", "--version"], "nftables");
pub const IP: Need = (&["ip", "-V"], "iproute2");
pub const PYTHON: Need = (&["python3", "--version"], "python3");
pub const VENV: Need = (&["python3", "-c", "import ensurepip, venv"], "python3-venv");
/// Everything a platform installs by itself: here before, so that platforms of tests that start at
/// the same time do not wait for each other's apt.
pub const PLATFORM: &[Need] = &[
    GIT,
    NFT,
    IP,
    PYTHON,
    (&["debootstrap", "--version"], "debootstrap"),
    (&["gpgv", "--version"], "gpgv"),
    (&["test", "-e", "/usr/share/keyrings/debian-archive-keyring.gpg"], "debian-archive-keyring"),
    (&["mkfs.ext4", "-V"], "e2fsprogs"),
    (&["curl", "--version"], "curl"),
    (&["test", "-e", "/etc/ssl/certs/ca-certificates.crt"], "ca-certificates"),
];
pub const DOCKER: Need = (&["dockerd", "--version"], "docker.io");
/// A library that shows a program another time of day.
pub const FAKETIME: Need =
    (&["sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1"], "libfaketime");
pub const STRACE: Need = (&["strace", "--version"], "strace");
pub const XFS: Need = (&["mkfs.xfs", "-V"], "xfsprogs");

/// Makes sure of `needs`; panics with what apt said when that cannot be done. Tests of several
/// programs may ask at the same time: one installs, the others wait.
pub fn needs(needs: &[Need]) {
    if needs.iter().all(is_there) {
        return;
    }
    let lock = File::create(std::env::temp_dir().join("lathe-tests-install.lock")).unwrap();
    lock.lock().unwrap();
    let missing: Vec<&str> =
        needs.iter().filter(|need| !is_there(need)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return;
    }
    say(&format!("installing for the tests: {}", missing.join(" ")));
    // Broken sources of others need not keep the packages from coming.
    drop(apt().arg("update").output());
    let mut install = apt();
    install.args(["install", "--yes", "--no-install-recommends", "--"]).args(&missing);
    let output = install.output().expect("apt-get runs: these tests are for Debian");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "apt-get install {missing:?}: {said}");
}

/// Past the test harness, which keeps what passing tests print to itself.
pub fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn is_there((check, _): &Need) -> bool {
    // A user's PATH may lack the folders where Debian keeps the system's programs.
    let system = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(check[0]));
    let program = system.iter().find(|path| path.exists());
    let program = program.map_or(Path::new(check[0]), |path| path.as_path());
    let mut command = Command::new(program);
    command.args(&check[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    // A new machine may be at its own first update.
    command.args(["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}
