//! Apps and buildpacks that mean harm, or are merely broken.

use crate::bench::{Bench, make_executable};
use lathe_compiler::{CompileError, Job};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

#[test]
fn releases_that_are_no_release() {
    let level = |n: u32| format!("a{n}: &a{n} [*a{}, *a{}]", n - 1, n - 1);
    let bomb = (1..30).map(level).collect::<Vec<_>>().join("\n");
    let cases = [
        ("unbalanced", "echo 'a: [1'".to_owned()),
        ("laughs", format!("cat <<'E'\na0: &a0 x\n{bomb}\nE")),
        ("deep", "head -c 20000 /dev/zero | tr '\\0' '['".to_owned()),
        ("long", "yes 'config_vars: x' | head -c 10000000".to_owned()),
        ("list", "echo '- 1'".to_owned()),
        ("nested", "echo 'default_process_types: {web: {a: b}}'".to_owned()),
        ("name", "echo 'default_process_types: {\"../x\": y}'".to_owned()),
        ("lines", "printf 'default_process_types:\\n  web: \"a\\\\nevil: b\"\\n'".to_owned()),
        ("latin", "printf 'config_vars: {A: \"\\377\"}'".to_owned()),
        ("status", "exit 3".to_owned()),
        ("twice", "printf 'config_vars: {}\\nconfig_vars: {}\\n'".to_owned()),
    ];
    for (name, release) in cases {
        let bench = Bench::new();
        let pack = bench.buildpack("pack", ":");
        bench.write("pack/bin/release", &format!("#!/bin/bash\n{release}\n"));
        let started = Instant::now();
        let built = bench.build_with(&[pack]);
        assert!(
            matches!(built.error(), CompileError::Release { .. }),
            "{name}: {:?}",
            built.result
        );
        assert!(started.elapsed() < Duration::from_mins(1), "{name}");
        assert!(built.transcript.len() < 5_000, "{name}");
    }
}

#[test]
fn releases_that_say_nothing() {
    for release in [
        "",
        "echo ---",
        "echo '--- {}'",
        "printf -- '---\\naddons: []\\n'",
        "echo '# x'",
        "printf -- '---\\naddons:\\n  - db:x\\nconfig_vars:\\ndefault_process_types: {}\\n'",
    ] {
        let bench = Bench::new();
        let pack = bench.buildpack("pack", ":");
        bench.write("pack/bin/release", &format!("#!/bin/bash\n{release}\n"));
        let built = bench.build_with(&[pack]);
        assert!(built.ok().process_types.is_empty(), "{release}");
    }
}

#[test]
fn reports_never_fail_a_build() {
    for report in ["exit 1", "echo '[1,2'", "yes", "kill -9 $$", "echo 'a: {b: c}'"] {
        let bench = Bench::new();
        let pack = bench.buildpack("pack", ":");
        bench.write("pack/bin/report", &format!("#!/bin/bash\n{report} | head -c 200000\n"));
        assert!(bench.build_with(&[pack]).ok().buildpacks[0].report.is_empty(), "{report}");
    }
}

#[test]
fn exports_that_break() {
    let cases = ["exit 3", "exec false", "export BIG=$(head -c 3000000 /dev/zero | tr '\\0' x)"];
    for export in cases {
        let bench = Bench::new();
        let pack = bench.buildpack("pack", &format!("cat > export <<'E'\n{export}\nE"));
        let built = bench.build_with(&[pack]);
        assert!(
            matches!(built.error(), CompileError::Export { .. }),
            "{export}: {:?}",
            built.result
        );
    }
}

#[test]
fn links_out_of_the_tree_stay_links() {
    let bench = Bench::new();
    bench.write("outside/secret", "CANARY");
    let secret = bench.path("outside/secret");
    symlink(&secret, bench.path("build/direct")).unwrap();
    symlink(bench.path("outside"), bench.path("build/folder")).unwrap();
    let pack = bench.buildpack("pack", &format!("ln -s {} \"$1/made\"", secret.display()));
    let built = bench.build_with(&[pack]);
    built.ok();
    assert_eq!(built.files()["made"], format!("-> {}", secret.display()));
    assert!(built.files().values().all(|text| !text.contains("CANARY")));
}

#[test]
fn a_procfile_that_is_a_link_is_not_read() {
    let bench = Bench::new();
    bench.write("outside", "web: stolen");
    symlink(bench.path("outside"), bench.path("build/Procfile")).unwrap();
    let pack = bench.buildpack("pack", ":");
    let built = bench.build_with(&[pack]);
    assert!(matches!(built.error(), CompileError::ReadSource { .. }));
}

#[test]
fn what_a_slug_cannot_hold_is_named() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", "mkfifo \"$1/queue\"");
    let built = bench.build_with(&[pack]);
    assert!(matches!(built.error(), CompileError::Pack(_)));
    built.says(&["queue"]);
}

#[test]
fn a_flood_is_cut_and_the_build_goes_on() {
    let bench = Bench::new();
    let pack = bench.buildpack(
        "pack",
        "yes flood | head -c 60000000; head -c 3000000 /dev/zero; echo; echo last",
    );
    let built = bench.build_with(&[pack]);
    built.ok();
    assert!(built.transcript.len() < 17 << 20);
    built.says(&["Output is cut here"]);
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let bench = Bench::new();
    make_executable(&bench.path("builtin/order"));
    let job = Job {
        timeout: Duration::from_secs(30),
        ..bench.job(&["https://user:hunter2secret@localhost:1/pack.git".to_owned()])
    };
    let built = bench.build(&job);
    assert_eq!(built.error().step(), "fetch");
    assert!(!built.transcript.contains("hunter2"), "{}", built.transcript);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", ":");
    let env = [("../../escape".to_owned(), "x".to_owned())].into();
    let built = bench.build(&Job { env, ..bench.job(&[pack]) });
    assert!(matches!(built.error(), CompileError::ConfigVar { .. }));
}

/// What does not say how long it is is counted as it comes: the file here has no end at all.
#[test]
fn a_buildpack_without_an_end_is_cut_off_at_the_limit() {
    let bench = Bench::new();
    symlink("/dev/zero", bench.path("endless.tgz")).unwrap();
    bench.write("long.tgz", &"x".repeat(2 << 20));
    for name in ["endless", "long"] {
        let url = format!("file://{}.tgz", bench.path(name).display());
        let job = Job { fetch_bytes_max: 1 << 20, ..bench.job(&[url]) };
        let built = bench.build(&job);
        assert_eq!(built.error().step(), "fetch");
        built.says(&[
            "could not fetch buildpack",
            "it is larger than 1048576 bytes (build.fetch_max)",
        ]);
    }
}
