//! The program as somebody types it. (This file also makes cargo build the program for all tests.)
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::{Command, Output};

fn lathe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lathe")).args(arguments).output().unwrap()
}

#[test]
fn it_says_what_it_is_and_what_it_can() {
    let version = String::from_utf8(lathe(&["--version"]).stdout).unwrap();
    assert_eq!(version.trim(), concat!("lathe ", env!("CARGO_PKG_VERSION")));
    let help = String::from_utf8(lathe(&["--help"]).stdout).unwrap();
    for verb in ["up", "demo", "compile", "doctor", "install", "env", "connect", "stacks"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(verb)),
            "no {verb} in {help}"
        );
    }
}

#[test]
fn what_it_does_not_understand_changes_nothing_and_says_why() {
    let unknown = lathe(&["pus"]);
    assert_eq!(unknown.status.code(), Some(2));
    let wrong = lathe(&["--set", "network=everywhere", "settings"]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(78), "{said}");
    assert!(said.contains("network") && said.contains("Write a private IPv4 network"), "{said}");
    let nobody = tempfile::tempdir().unwrap();
    let data = nobody.path().join("nothing");
    let stopped = lathe(&["--data", data.to_str().unwrap(), "stop"]);
    assert!(!stopped.status.success());
    assert!(!data.exists(), "a refused verb leaves nothing");
}
