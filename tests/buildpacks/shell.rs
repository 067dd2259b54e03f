//! The scripts of the buildpacks, read by `ShellCheck`.

use super::buildpacks;
use lathe_tests::host;
use std::path::{Path, PathBuf};
use std::process::Command;
use walkdir::WalkDir;

const SHELLCHECK: host::Need = (&["shellcheck", "--version"], "shellcheck");

/// Programs of buildpacks: what they source is checked with them.
fn programs() -> Vec<PathBuf> {
    let files = WalkDir::new(buildpacks()).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let files = files.map(walkdir::DirEntry::into_path);
    // Fixture apps are in a folder of this name; bin/test is a program.
    let ours =
        files.filter(|path| !path.ancestors().skip(1).any(|folder| folder.ends_with("test")));
    ours.filter(|path| first_line(path).starts_with("#!")).collect()
}

fn first_line(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap()).into_owned()
}

#[test]
fn scripts_of_buildpacks_are_clean() {
    host::needs(&[SHELLCHECK]);
    let programs = programs();
    assert!(programs.len() > 20, "the walk found only {} programs", programs.len());
    let mut shellcheck = Command::new("shellcheck");
    let output = shellcheck.args(["-x", "-a"]).args(&programs).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn only_what_needs_bash_is_not_for_any_shell() {
    let bash: Vec<PathBuf> = programs()
        .into_iter()
        .filter(|path| first_line(path) != "#!/bin/sh")
        .map(|path| path.strip_prefix(buildpacks()).unwrap().to_owned())
        .collect();
    // It waits for the first of two processes to end.
    assert_eq!(bash, [Path::new("php/lib/server.sh")]);
}
