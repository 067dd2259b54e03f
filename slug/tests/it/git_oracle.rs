//! `.slugignore` held against git itself: what our matcher says of generated rules, git says too.

use lathe_slug::Ignore;
use lathe_tests::host;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const CASES: usize = 300;

/// Folders end in `/`. None is among what Heroku always removes.
const TREE: [&str; 18] = [
    "a", "b", "ab", "a.b", "#a", "!a", "a b", "c/", "c/a", "c/b", "c/d/", "c/d/a", "c/d/a.b", "d/",
    "d/c/", "d/c/a", "d/a]", "d/*",
];

const PIECES: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    ".",
    "*",
    "**",
    "?",
    "/",
    "/",
    "**/",
    "/**",
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[]a]",
    "[[:alpha:]]",
    "[![:punct:]a]",
    "\\a",
    "\\*",
    " ",
    "#",
    "-",
];

/// Rules made of the pieces that rules are made of, in every order.
fn rules() -> impl Strategy<Value = String> {
    let rule = prop::collection::vec(prop::sample::select(PIECES), 1..6);
    prop::collection::vec(rule.prop_map(|pieces| pieces.concat()), 1..4)
        .prop_map(|rules| rules.join("\n") + "\n")
}

fn ours(rules: &str) -> BTreeSet<String> {
    let ignore =
        Ignore::parse(rules.as_bytes()).unwrap_or_else(|error| panic!("{rules:?}: {error}"));
    let named = |path: &str, folder| ignore.matches(Path::new(path), folder);
    let gone = |path: &&&str| {
        let plain = path.trim_end_matches('/');
        let mut above = plain.match_indices('/').map(|(at, _)| &plain[..at]);
        above.any(|folder| named(folder, true)) || named(plain, path.ends_with('/'))
    };
    TREE.iter().filter(gone).map(|path| path.trim_end_matches('/').to_owned()).collect()
}

/// What `git check-ignore` says of each case, each with its rules in a folder of its own.
fn gits(cases: &[String]) -> Vec<BTreeSet<String>> {
    host::needs(&[host::GIT]);
    let repo = tempfile::tempdir().unwrap();
    let git = || {
        let mut git = Command::new("git");
        git.arg("-C").arg(repo.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git
    };
    assert!(git().args(["init", "--quiet"]).status().unwrap().success());
    let mut asked = Vec::new();
    for (number, rules) in cases.iter().enumerate() {
        let top = repo.path().join(number.to_string());
        for path in TREE {
            let at = top.join(path);
            if path.ends_with('/') {
                fs::create_dir_all(at).unwrap();
            } else {
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(at, "").unwrap();
            }
            asked.extend(format!("{number}/{}\0", path.trim_end_matches('/')).into_bytes());
        }
        fs::write(top.join(".gitignore"), rules).unwrap();
    }
    let mut check = git();
    check.args(["check-ignore", "--no-index", "--stdin", "-z"]);
    let mut check = check.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = check.stdin.take().unwrap();
    let asking = std::thread::spawn(move || stdin.write_all(&asked).unwrap());
    let said = String::from_utf8(check.wait_with_output().unwrap().stdout).unwrap();
    asking.join().unwrap();
    let mut ignored = vec![BTreeSet::new(); cases.len()];
    for path in said.split_terminator('\0') {
        let (number, path) = path.split_once('/').unwrap();
        ignored[number.parse::<usize>().unwrap()].insert(path.to_owned());
    }
    ignored
}

#[test]
fn rules_mean_what_they_mean_to_git() {
    let mut runner = TestRunner::deterministic();
    let cases: Vec<String> =
        (0..CASES).map(|_| rules().new_tree(&mut runner).unwrap().current()).collect();
    let mut unlike = Vec::new();
    for (rules, git) in cases.iter().zip(gits(&cases)) {
        let ours = ours(rules);
        if ours != git {
            unlike.push(format!("{rules:?}: we ignore {ours:?}, git {git:?}"));
        }
    }
    assert!(unlike.is_empty(), "{} of {CASES}:\n{}", unlike.len(), unlike.join("\n"));
}
