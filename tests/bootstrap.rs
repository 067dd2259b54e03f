//! The self-rebuild check on a workspace of three crates: what is equal, and what is found to differ.
//!
//! The workspace is not Lathe, but its slug holds the `lathe` that built it: so the executable in each
//! slug builds the next, as it does when Lathe compiles itself.

use lathe_tests::{host, lathe, signal, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bootstrap")
}

/// The exit, and the report it leaves.
fn check(source: &Path, how: &[&str]) -> (Output, Value) {
    host::needs(host::PLATFORM);
    let room = tempfile::tempdir().unwrap();
    let json = room.path().join("report.json");
    let mut command = Command::new(lathe());
    command.args(["bootstrap", "check", "--source"]).arg(source).arg("--json").arg(&json);
    let output = command.args(how).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = std::fs::read(&json).unwrap_or_else(|_| panic!("no report: {said}"));
    (output, serde_json::from_slice(&report).unwrap())
}

#[test]
fn every_stage_is_built_by_the_slug_before_and_all_slugs_are_the_same() {
    let (output, report) = check(&fixture(), &["--stages", "3", "--perturb"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["verdict"]["result"], "identical", "{report:#}");
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3);
    for stage in stages {
        assert_eq!(stage["slug"]["id"], stages[0]["slug"]["id"]);
        assert_eq!(stage["crates_compiled"], 4, "from nothing: {stage:#}");
        assert_eq!(stage["checks_passed"], 9);
    }
    let builder = |stage: usize| &stages[stage]["built_by"]["sha256"];
    assert_ne!(builder(0), builder(1), "the second is built by what was in the slug");
    assert_eq!(builder(1), builder(2));
    assert_ne!(stages[1]["surroundings"], stages[2]["surroundings"]);
    assert!(table.contains("bit for bit"), "{table}");
}

#[test]
fn planted_differences_are_found_and_named() {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("workspace");
    let copied = Command::new("cp").arg("-a").arg(fixture()).arg(&source).status();
    assert!(copied.unwrap().success());
    let script = r#"fn main() {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        println!("cargo:rustc-env=BUILT_AT={}", now.as_nanos());
    }"#;
    std::fs::write(source.join("clock/build.rs"), script).unwrap();

    let (output, report) = check(&source, &["--stages", "2", "--plant"]);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["verdict"]["result"], "different", "{report:#}");
    let table = String::from_utf8_lossy(&output.stdout);
    // The time is in the one; the path of the registry's crate, below CARGO_HOME, in the other.
    for program in ["target/release/clock", "target/release/greet"] {
        let line = table.lines().find(|line| line.contains(program));
        let line = line.unwrap_or_else(|| panic!("{program} is not named:\n{table}"));
        assert!(line.contains("content differs") && line.contains(".rodata"), "{line}");
    }
    assert_eq!(report["comparisons"][0]["differences"].as_array().unwrap().len(), 2, "{report:#}");
}

#[test]
fn a_check_that_is_stopped_leaves_nothing() {
    host::needs(host::PLATFORM);
    let room = tempfile::tempdir().unwrap();
    let kept = room.path().join("kept");
    let mut command = Command::new(lathe());
    command.args(["bootstrap", "check", "--source"]).arg(fixture()).arg("--keep").arg(&kept);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The platform runs, and its build dyno is at work.
    until("something is compiled", Duration::from_mins(15), || {
        assert!(child.try_wait().unwrap().is_none(), "the check ended");
        let transcript = std::fs::read_to_string(kept.join("stage-1/push.log")).ok()?;
        transcript.contains("Compiling").then_some(())
    });
    signal(child.id(), "TERM");
    let status = until("the check ends", Duration::from_mins(2), || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let kept = kept.to_str().unwrap().to_owned();
    until("everything it started is gone", Duration::from_mins(1), || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
        let runs = lines.any(|line| String::from_utf8_lossy(&line).contains(&kept));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        (!runs && !mounts.contains(&kept)).then_some(())
    });
}
