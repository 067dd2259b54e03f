//! What a build promises a buildpack, and what it makes of its work.

use crate::bench::Bench;
use lathe_compiler::{CompileError, Failed, Job};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn a_good_build_speaks_and_packs() {
    let bench = Bench::new();
    bench.write("build/Procfile", "web: ./serve $PORT\r\nworker: ./work\r\n");
    let pack = bench.buildpack("pack", "echo '-----> Working'; echo made > \"$1/made\"");
    bench.write(
        "pack/bin/release",
        "#!/bin/sh\nprintf 'config_vars:\\n  LANG: C\\n  N: 5\\ndefault_process_types:\\n  web: no\\n  console: sh\\n'",
    );
    bench.write("pack/bin/report", "#!/bin/sh\nprintf '{\"version\": \"1.2\"}'");
    let built = bench.build_with(&[pack]);
    built.says(&[
        "-----> Building on the lathe-12 stack\n",
        "-----> Using buildpack: ",
        "-----> Fake app detected\n",
        "-----> Working\n",
        "-----> Discovering process types\n",
        "       Procfile declares types     -> web, worker\n",
        "       Default types for buildpack -> console\n",
        "-----> Compressing...\n",
        "       Done: ",
    ]);
    let compiled = built.ok();
    let types = [("web", "./serve $PORT"), ("worker", "./work"), ("console", "sh")];
    assert_eq!(compiled.process_types, types.map(|(n, c)| (n.to_owned(), c.to_owned())));
    assert_eq!(compiled.config_vars["LANG"], "C");
    assert_eq!(compiled.config_vars["N"], "5");
    assert_eq!(compiled.detected, "Fake");
    assert_eq!(compiled.buildpacks[0].report["version"], "1.2");
    assert_eq!(built.files()["made"], "made\n");
    assert_eq!(compiled.manifest.bytes, built.slug.len() as u64);
}

#[test]
fn programs_see_the_contract_and_nothing_else() {
    let bench = Bench::new();
    let pack = bench.buildpack(
        "pack",
        "env | cut -d= -f1 | sort | tr '\\n' ' '; echo\n\
         echo \"$HOME $STACK $SOURCE_VERSION $REQUEST_ID $SOURCE_DATE_EPOCH\"\n\
         echo \"args $# cwd $PWD\"; test -w \"$HOME\"; test -f \"$BUILDPACK_LOG_FILE\"; read x || echo no-input",
    );
    let job = Job { env: vars(&[("SECRET_KEY", "do not export")]), ..bench.job(&[pack]) };
    let built = bench.build(&job);
    built.ok();
    let home = bench.path("home");
    let cwd = bench.path("work/buildpack-0");
    built.says(&[
        "BUILDPACK_LOG_FILE DYNO HOME PATH PWD REQUEST_ID SHLVL SOURCE_DATE_EPOCH SOURCE_VERSION STACK _ \n",
        &format!("{} heroku-22 c0ffee r-1 1700000000\n", home.display()),
        &format!("args 3 cwd {}\n", cwd.display()),
        "no-input\n",
    ]);
    assert!(!home.exists(), "a home made for the build goes with it");
}

#[test]
fn config_vars_are_files_of_exact_bytes_and_are_masked() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", "ls \"$3\"; cat \"$3/TOKEN\"; echo; od -An -c \"$3/NL\"");
    let env = vars(&[("TOKEN", "s3cr3t-value"), ("NL", "a\n"), ("PATH", "/evil")]);
    let built = bench.build(&Job { env, ..bench.job(&[pack]) });
    built.ok();
    built.says(&["NL\nPATH\nTOKEN\n", "<TOKEN>\n", "a  \\n\n"]);
    assert!(!built.transcript.contains("s3cr3t"));
}

#[test]
fn exports_reach_later_buildpacks_only() {
    let bench = Bench::new();
    let one = bench.buildpack("one", "mkdir bin2; printf '#!/bin/sh\\necho tool-ran\\n' > bin2/tool; chmod +x bin2/tool; printf 'export PATH=\"%s/bin2:$PATH\" GREETING=\"a b\"\\nHIDDEN=1\\n' \"$PWD\" > export");
    let two = bench.buildpack(
        "two",
        "tool; echo \"[$GREETING] [$HIDDEN]\"; echo 'export GREETING=\"$GREETING c\"' > export",
    );
    let three = bench.buildpack("three", "tool; echo \"[$GREETING]\"");
    let built = bench.build_with(&[one, two, three]);
    built.ok();
    built.says(&["1. ", "2. ", "3. ", "tool-ran\n[a b] []\n", "tool-ran\n[a b c]\n"]);
    assert!(!bench.path("one/export").exists(), "the original buildpack is not touched");
    assert_eq!(built.ok().buildpacks.len(), 3);
}

#[test]
fn the_cache_is_kept_between_builds_and_bounded() {
    let bench = Bench::new();
    let pack = bench.buildpack(
        "pack",
        "n=$(cat \"$2/n\" 2>/dev/null || echo 0); echo \"cached: $n\"; echo $((n + 1)) > \"$2/n\"; echo $n > \"$1/n\"; ln -f \"$2/n\" \"$1/linked\"",
    );
    for n in 0..2 {
        bench.build_with(std::slice::from_ref(&pack)).says(&[&format!("cached: {n}\n")]);
    }
    let small = Job { cache_bytes_max: 1000, ..bench.job(std::slice::from_ref(&pack)) };
    bench.build(&small).says(&["cached: 2\n", "build cache grew"]);
    bench.build_with(&[pack]).says(&["cached: 0\n"]);
}

#[test]
fn only_the_last_release_counts_and_slugignore_comes_first() {
    let bench = Bench::new();
    bench.write("build/.slugignore", "*.psd\n/docs\n");
    for file in ["a.psd", "docs/x.md", "keep"] {
        bench.write(&format!("build/{file}"), "x");
    }
    let one = bench.buildpack(
        "one",
        "ls \"$1\"; mkdir -p \"$1/tmp\" \"$1/docs\"; touch \"$1/tmp/x\" \"$1/docs/made\"",
    );
    bench.write("one/bin/release", "#!/bin/sh\necho 'default_process_types: {web: one}'");
    let two = bench.buildpack("two", ":");
    bench.write("two/bin/release", "#!/bin/sh\necho 'default_process_types: {web: two}'");
    let built = bench.build_with(&[one, two]);
    assert_eq!(built.ok().process_types, [("web".to_owned(), "two".to_owned())]);
    built.says(&["app.txt\nkeep\n", "Procfile declares types     -> (none)"]);
    let files = built.files();
    assert!(files.contains_key("docs/made") && files.contains_key("keep"));
    assert!(!files.contains_key("a.psd") && !files.contains_key("tmp/x"));
}

#[test]
fn a_failed_compile_explains_itself() {
    let bench = Bench::new();
    let pack =
        bench.buildpack("pack", "echo Installing; echo 'npm error code ERESOLVE' >&2; exit 7");
    bench.write("pack/bin/report", "#!/bin/sh\necho ran >> \"$2/reported\"");
    let built = bench.build_with(&[pack]);
    assert!(matches!(built.error(), CompileError::Compile { ending: Failed::Exit(7), .. }));
    built.says(&[
        "npm error code ERESOLVE\n",
        " !     failed to compile Fake app: bin/compile exited with status 7\n",
        " !     Its last words: npm error code ERESOLVE\n",
        " !     Two dependencies want different versions",
        " !     Push rejected, failed to compile Fake app.\n",
    ]);
    assert!(bench.path("cache/reported").exists(), "bin/report runs after a failure, too");
    assert!(built.slug.is_empty());
}

#[test]
fn a_build_that_hangs_is_ended_with_all_its_children() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", "trap '' TERM; sleep 600 & echo started; wait; sleep 600");
    let started = Instant::now();
    let job = Job { timeout: Duration::from_secs(10), ..bench.job(&[pack]) };
    let built = bench.build(&job);
    assert!(matches!(built.error(), CompileError::TimedOut { .. }));
    built.says(&[
        "started\n",
        " !     compiling the Fake app did not finish within 10 seconds (build.timeout)\n",
        " !     It was still at: sleep 600\n",
        " !     Push rejected, failed to compile Fake app.\n",
    ]);
    assert!(started.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_cancelled_build_ends_at_once() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", "touch \"$2/started\"; sleep 600");
    let job = bench.job(&[pack]);
    let started = bench.path("cache/started");
    let built = std::thread::scope(|scope| {
        let build = scope.spawn(|| bench.build(&job));
        let deadline = Instant::now() + Duration::from_mins(1);
        while !started.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        job.cancel.cancel();
        build.join().unwrap()
    });
    assert!(matches!(built.error(), CompileError::Cancelled));
}

#[test]
fn the_same_source_is_the_same_slug() {
    let build = |touch: &str| {
        let bench = Bench::new();
        bench.write("build/sub/a", "1");
        let pack = bench.buildpack(
            "pack",
            &format!("{touch}\nln -s a \"$1/sub/l\"; ln \"$1/sub/a\" \"$1/sub/b\""),
        );
        let built = bench.build_with(&[pack]);
        (built.ok().manifest, built.slug.clone())
    };
    assert_eq!(build("umask 077"), build("touch -d 1999-01-01 \"$1/sub/a\""));
}

#[test]
fn a_slug_too_large_is_refused_in_herokus_words() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", "head -c 3000000 /dev/urandom > \"$1/noise\"");
    let mut job = bench.job(&[pack]);
    job.limits.compressed_bytes_max = 1 << 20;
    let built = bench.build(&job);
    assert!(matches!(built.error(), CompileError::TooLarge { .. }));
    built.says(&["Compiled slug size: ", " is too large (max is 1M).", ".slugignore"]);
}

#[test]
fn a_broken_procfile_is_told_before_the_build() {
    let bench = Bench::new();
    bench.write("build/Procfile", "web: ok\nno colon here\n");
    let pack = bench.buildpack("pack", "touch \"$2/compiled\"");
    let built = bench.build_with(&[pack]);
    assert!(matches!(built.error(), CompileError::Procfile(_)));
    assert!(!bench.path("cache/compiled").exists());
    assert!(fs::read_dir(bench.path("cache")).unwrap().next().is_none());
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_went_into_a_build_is_known_by_digest() {
    let bench = Bench::new();
    bench.write("build/requirements.txt", "");
    bench.write("build/docs/left-out", "x");
    bench.write("build/.slugignore", "docs\n");
    let pack = bench.buildpack("pack", "echo changed > \"$1/requirements.txt\"");
    let first = bench.build_with(std::slice::from_ref(&pack));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(first.ok().inputs.locks["requirements.txt"], empty);
    assert_eq!(first.ok().inputs.source.len(), 64);
    assert_eq!(first.ok().buildpacks[0].digest.len(), 64);

    bench.write("build/requirements.txt", "");
    bench.write("build/docs/left-out", "y");
    let second = bench.build_with(std::slice::from_ref(&pack));
    assert_eq!(second.ok().inputs, first.ok().inputs, "what .slugignore leaves out is no input");
    assert_eq!(second.ok().buildpacks, first.ok().buildpacks);
    bench.write("pack/more", "");
    let third = bench.build_with(&[pack]);
    assert_ne!(third.ok().inputs.locks, first.ok().inputs.locks, "it was changed by the build");
    assert_ne!(third.ok().buildpacks[0].digest, first.ok().buildpacks[0].digest);
}

#[test]
fn a_report_keeps_no_secret() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", ":");
    bench.write("pack/bin/report", "#!/bin/sh\nprintf 'key: %s\\n' \"$(cat \"$3/TOKEN\")\"");
    let env = vars(&[("TOKEN", "s3cr3t-value")]);
    let built = bench.build(&Job { env, ..bench.job(&[pack]) });
    assert_eq!(built.ok().buildpacks[0].report["key"], "<TOKEN>");
}
