//! What a build makes that cannot be released: too much of anything, and answers that are none.

use super::{DETECT, create, own, says, script, versions};
use lathe_tests::{Checkout, Platform};
use serde_json::Value;

/// fault C8, from inside: what an archive may not hold, a build may not make.
#[test]
fn a_slug_beyond_a_limit_is_refused_with_the_number_and_the_setting() {
    let platform = Platform::start_with(&[
        "archive.compressed=1MiB",
        "archive.unpacked=64MiB",
        "archive.entries=1000",
        "archive.depth=20",
        "archive.path=300",
    ]);
    let checkout = own(&platform, "beyond", "true");
    checkout.push().accepted();
    for (compile, reasons) in [
        (
            "head -c 3000000 /dev/urandom > big",
            ["Compiled slug size: 2.9M is too large (max is 1M).", "archive.compressed"],
        ),
        (
            "truncate -s 3G sparse",
            ["at least 32212", "over the limit of 67108864 (setting archive.unpacked)"],
        ),
        (
            "touch {1..1001}",
            ["at least 1001 entries", "over the limit of 1000 (setting archive.entries)"],
        ),
        (
            "mkdir -p $(printf 'd/%.0s' {1..30})",
            ["a path 21 levels deep", "over the limit of 20 (setting archive.depth)"],
        ),
        (
            "name=$(printf 'x%.0s' {1..200}); mkdir -p $name/$name",
            ["a path of 405 bytes", "over the limit of 300 (setting archive.path)"],
        ),
    ] {
        checkout.commit(&[("bin/compile", &script(&format!("cd \"$1\"; {compile}")))]);
        checkout.push().rejected(&reasons);
    }
    assert_eq!(versions(&platform, "beyond"), [1, 2]);
    assert_eq!(std::fs::read_dir(platform.data().join("slugs/incoming")).unwrap().count(), 0);
    checkout.commit(&[("bin/compile", &script("true"))]);
    checkout.push().accepted();
}

/// The same of a commit, before any of it reaches a build.
#[test]
fn a_commit_beyond_a_limit_is_refused_with_the_number_and_the_setting() {
    let platform = Platform::start_with(&[
        "push.file=100kB",
        "push.unpacked=250kB",
        "archive.entries=100",
        "archive.depth=8",
    ]);
    create(&platform, "large");
    let checkout = Checkout::new(&platform, "large", &[("Procfile", "worker: sleep 1000\n")]);
    let good = checkout.head();
    let text = |bytes: usize| "x".repeat(bytes);
    let deep = format!("{}x", "d/".repeat(9));
    let many: Vec<String> = (0..100).map(|n| format!("many-{n}")).collect();
    let many = many.iter().map(|name| (name.as_str(), String::new())).collect();
    for (files, reason) in [
        (
            vec![("one", text(100_001))],
            "one has 100001 bytes, the limit for a file is 100000 (push.file).",
        ),
        (
            vec![("a", text(90_000)), ("b", text(90_000)), ("c", text(90_000))],
            "at least 270019 bytes together, the limit is 250000 (push.unpacked).",
        ),
        (many, "at least 101 entries, over the limit of 100 (setting archive.entries)."),
        (vec![(&deep, text(1))], "9 levels deep, over the limit of 8 (setting archive.depth)."),
    ] {
        checkout.git(&["reset", "-q", "--hard", &good]);
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        checkout.commit(&files);
        let said = checkout.push().rejected(&[reason, "Take out of the repository"]).transcript;
        assert!(!said.contains("Building on"), "half of a source was built:\n{said}");
    }
    checkout.git(&["reset", "-q", "--hard", &good]);
    checkout.push().accepted();
}

/// fault C13.
#[test]
fn a_release_that_is_none_fails_the_build_and_says_where() {
    let platform = Platform::start();
    let checkout = own(&platform, "release", "true");
    let level = |n: u32| format!("a{n}: &a{n} [*a{}, *a{}]", n - 1, n - 1);
    let laughs = (1..30).map(level).collect::<Vec<_>>().join("\n");
    for (release, reason) in [
        ("printf 'default_process_types:\\n  web: [x\\n'".to_owned(), "line "),
        (format!("cat <<'E'\na0: &a0 x\n{laughs}\nE"), "its YAML cannot be used"),
        ("head -c 10000000 /dev/zero | tr '\\0' x".to_owned(), "it wrote more than 64 KB"),
        ("head -c 20000 /dev/zero | tr '\\0' '['".to_owned(), "its YAML cannot be used"),
        ("echo 'default_process_types: {\"../x\": y}'".to_owned(), "is no process type"),
        ("exit 9".to_owned(), "it exited with status 9"),
    ] {
        checkout.commit(&[DETECT, ("bin/release", &format!("#!/bin/bash\n{release}\n"))]);
        let said = checkout.push().rejected(&["bin/release of inline is not usable", reason]);
        assert!(said.transcript.len() < 5000, "{} bytes", said.transcript.len());
    }
    assert_eq!(versions(&platform, "release"), [1]);
}

/// fault C14.
#[test]
fn a_procfile_is_read_as_it_is_written_or_refused_with_its_line() {
    let platform = Platform::start();
    create(&platform, "types");
    let crlf = "# comment\r\n\r\nworker: sleep 1000\r\nclock-1: sleep 1000\r\n";
    let checkout = Checkout::new(&platform, "types", &[("Procfile", crlf)]);
    says(&checkout.push().accepted().transcript, &["types     -> worker, clock-1"]);
    let (_, formation) = platform.api("GET", "/apps/types/formation", &Value::Null);
    assert_eq!(formation[0]["command"], "sleep 1000", "{formation}");
    let many = (0..10_000).map(|n| format!("t{n}: x")).collect::<Vec<_>>().join("\n");
    for (procfile, reason) in [
        ("web python3 web.py\n", "Procfile line 1 has no colon"),
        ("web: a\n\nweb: b\n", "Procfile line 3"),
        ("a: b\n../x: a\n", "Procfile line 2 names the process type"),
        (&many, "bytes long, more than 65536"),
    ] {
        checkout.commit(&[("Procfile", procfile)]);
        checkout.push().rejected(&[reason]);
    }
    assert_eq!(versions(&platform, "types"), [1, 2]);
}
