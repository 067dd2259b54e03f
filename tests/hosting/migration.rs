//! A version that changes the state's schema: its migrations are rehearsed on a copy.

use super::{BRIEF, answers, good, release, serve, settled};
use lathe_tests::{Platform, lathe};

/// A version that does this to the state, which is `$1/state.db`, when it is to bring it to its schema.
fn migrates(sql: &str) -> String {
    let real = lathe().display().to_string();
    format!(
        "#!/bin/sh\ndata=$2\nfor word in \"$@\"; do case $word in\n\
         migrate) exec python3 -c 'import sqlite3, sys\n\
         state = sqlite3.connect(sys.argv[1] + \"/state.db\")\n\
         state.executescript(sys.argv[2])' \"$data\" '{sql}';;\n\
         rescue) exit 0;;\n\
         up) echo it would come up >&2; exit 7;;\n\
         esac; done\nexec {real} \"$@\"\n"
    )
}

/// Fault S6: a migration that fails or loses rows is found before anything is touched; one that only
/// shuts the older version out is not held against it.
#[test]
fn migrations_are_rehearsed_on_a_copy() {
    let platform = Platform::start_self_hosted(&["upgrade.probation=1", "upgrade.silence=60"]);
    let before = platform.holder();
    let cases = [
        ("nonsense;", "it cannot use the state of this platform", "nonsense"),
        ("PRAGMA user_version = 99; DELETE FROM tokens;", "migrations lose", "tokens has 0 of 1"),
        ("PRAGMA user_version = 99; DROP TABLE drains;", "migrations lose", "drains is gone"),
        ("PRAGMA user_version = 99; CREATE TABLE new (x);", "before it answered", "it would come"),
    ];
    for (sql, what, why) in cases {
        let number = release(&platform, &migrates(sql));
        let refused = settled(&platform, number);
        let failure = refused["failure"].as_str().unwrap_or_default();
        assert_eq!(refused["status"], "failed", "{sql}: {refused}");
        assert!(failure.contains("It failed its rehearsal"), "{sql}: {failure}");
        assert!(failure.contains(what) && failure.contains(why), "{sql}: {failure}");
    }
    assert_eq!(platform.holder(), before, "nothing was tried");
    let good = release(&platform, &good());
    assert_eq!(settled(&platform, good)["status"], "succeeded", "{}", platform.log());
}

/// A version that does this to the state when it comes up, a step after the other, and is killed then.
fn is_killed_after(steps: &str) -> String {
    format!(
        "#!/bin/sh\nexec python3 -c 'import os, sqlite3, sys\n\
         state = sqlite3.connect(sys.argv[1] + \"/state.db\", isolation_level=None)\n\
         for step in sys.argv[2].split(\";\"): state.execute(step)\n\
         os.kill(os.getpid(), 9)' \"$2\" '{steps}'\n"
    )
}

/// Fault S6: killed in the middle of a step, or between two, a migration leaves the state of the version
/// before: of a step nothing is there, and a schema that only the newer version knows is put back.
#[test]
fn a_migration_that_is_killed_leaves_the_state_as_it_was() {
    let platform = Platform::start_self_hosted(&BRIEF);
    serve(&platform, "kept");
    let cases = [
        ("BEGIN; DELETE FROM apps; DELETE FROM releases; PRAGMA user_version = 99", ""),
        ("PRAGMA user_version = 99; CREATE TABLE new (x); BEGIN; DROP TABLE tokens", "state.db"),
    ];
    for (steps, put_back) in cases {
        let number = release(&platform, &is_killed_after(steps));
        let back = settled(&platform, number);
        let failure = back["failure"].as_str().unwrap_or_default();
        assert!(failure.contains("It ended in its probation: signal: 9"), "{steps}: {back}");
        assert_eq!(!put_back.is_empty(), failure.contains("Put back as it was"), "{failure}");
        assert!(failure.contains(put_back), "{steps}: {failure}");
        assert!(answers(&platform), "{steps}");
        assert_eq!(platform.app("kept", "/").status, 200, "{steps}");
    }
}
