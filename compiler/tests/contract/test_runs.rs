//! What a test run does: builds for tests, and takes their word for it.

use crate::bench::{Bench, Paper};
use lathe_compiler::{CompileError, Job, TestRun, Transcript, test};
use std::collections::BTreeMap;
use std::time::Duration;

struct Run {
    result: Result<TestRun, CompileError>,
    transcript: String,
}

impl Run {
    fn of(bench: &Bench, job: &Job) -> Self {
        let paper = Paper::default();
        let result = test(job, &mut Transcript::new(paper.clone()));
        for room in ["work", "env"] {
            assert!(!bench.path(room).exists(), "a test run leaves its rooms empty");
        }
        Self { result, transcript: paper.text() }
    }

    fn says(&self, texts: &[&str]) {
        let mut rest = self.transcript.as_str();
        for text in texts {
            let at = rest.find(text);
            assert!(at.is_some(), "{text:?} is not where it should be in\n{}", self.transcript);
            rest = &rest[at.unwrap() + text.len()..];
        }
    }

    fn failed(&self) -> (&str, u8) {
        match &self.result {
            Ok(TestRun::Failed { tests, status }) => (tests, *status),
            other => panic!("{other:?}\n{}", self.transcript),
        }
    }
}

/// A buildpack with the programs of a testpack.
fn testpack(bench: &Bench, name: &str, test_compile: &str, test: &str) -> String {
    let pack = bench.buildpack(name, "echo compiled for a slug");
    bench.write(
        &format!("{name}/bin/test-compile"),
        &format!("#!/bin/bash\nset -e\n{test_compile}\n"),
    );
    bench.write(&format!("{name}/bin/test"), &format!("#!/bin/bash\n{test}\n"));
    pack
}

#[test]
fn tests_get_the_app_as_it_runs_and_their_status_counts() {
    let bench = Bench::new();
    bench.write("build/.slugignore", "spec\n");
    bench.write("build/spec/one", "kept");
    let pack = testpack(
        &bench,
        "pack",
        "echo made for tests; mkdir -p \"$1/.profile.d\"\n\
         echo 'export OF_PROFILE=profile' > \"$1/.profile.d/x.sh\"\n\
         echo 'export OF_EXPORT=export' > export",
        "echo \"$# $1 $2 $HOME $PWD\"; echo \"$OF_PROFILE $OF_EXPORT $KEY $CI\"; cat spec/one\n\
         test \"$(cat \"$2/KEY\")\" = 'a value to hide'\nexit $STATUS",
    );
    let build = bench.path("build").display().to_string();
    for (status, expected) in [("0", None), ("7", Some(7))] {
        let env = [("KEY", "a value to hide"), ("STATUS", status)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let job = Job { env: BTreeMap::from(env), ..bench.job(std::slice::from_ref(&pack)) };
        let run = Run::of(&bench, &job);
        run.says(&[
            "-----> Building for tests on the lathe-12 stack\n",
            "made for tests\n",
            "-----> Running bin/test of ",
            &format!("2 {build} {} {build} {build}\n", bench.path("env").display()),
            // A config value is shown nowhere.
            "profile export <KEY> true\n",
            "kept",
        ]);
        assert!(!run.transcript.contains("compiled for a slug"), "{}", run.transcript);
        match expected {
            None => assert_eq!(run.result.as_ref().unwrap(), &TestRun::Passed),
            Some(status) => assert_eq!(run.failed().1, status),
        }
    }
}

#[test]
fn each_buildpack_is_asked_until_one_fails() {
    let bench = Bench::new();
    let packs = [
        bench.buildpack("plain", "echo plain compiled"),
        testpack(&bench, "first", "echo first made", "echo first tested"),
        testpack(&bench, "second", "echo second made", "echo second tested; kill -9 $$"),
        testpack(&bench, "third", "echo third made", "echo third tested"),
    ];
    let run = Run::of(&bench, &bench.job(&packs));
    run.says(&[
        "plain compiled\n",
        "first made\n",
        "second made\n",
        "third made\n",
        "first tested\n",
        "second tested\n",
    ]);
    assert!(!run.transcript.contains("third tested"), "{}", run.transcript);
    let (tests, status) = run.failed();
    assert_eq!((tests.ends_with("second"), status), (true, 137), "{tests}");
}

#[test]
fn an_app_says_by_itself_how_it_is_tested() {
    let bench = Bench::new();
    let pack = testpack(&bench, "pack", "true", "echo not asked; exit 1");
    bench.write(
        "build/app.json",
        r#"{"env": {"A": "everywhere", "B": "app"},
            "environments": {"test": {"env": {"A": "tests"},
                "scripts": {"test-setup": "echo set up > made", "test": "cat made; echo $A-$C"}}}}"#,
    );
    let job = Job {
        env: BTreeMap::from([("C".into(), "hand".into())]),
        ..bench.job(std::slice::from_ref(&pack))
    };
    let run = Run::of(&bench, &job);
    assert_eq!(run.result.as_ref().unwrap(), &TestRun::Passed);
    run.says(&[
        "-----> Running test-setup of app.json\n",
        "-----> Running the test command",
        "set up\n",
    ]);

    bench.write("build/app.json", r#"{"scripts": {"test-setup": "exit 4", "test": "true"}}"#);
    let run = Run::of(&bench, &bench.job(std::slice::from_ref(&pack)));
    assert!(matches!(run.result, Err(CompileError::TestSetup { status: 4 })), "{}", run.transcript);

    bench.write("build/app.json", "{");
    let run = Run::of(&bench, &bench.job(&[pack]));
    assert!(matches!(run.result, Err(CompileError::AppJson(_))), "{}", run.transcript);
    run.says(&["the app.json is not valid"]);
}

/// The built-in testpacks: an app of `buildpacks/` is given a test that holds, and then one that does not.
#[test]
fn built_in_buildpacks_test_their_apps() {
    let cases = [
        (
            "python/test/bare",
            "test_app.py",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertTrue(HOLDS)\n",
            "True",
            "False",
        ),
        (
            "rust/test/hello",
            "tests/holds.rs",
            "#[test]\nfn test() { assert!(HOLDS); }\n",
            "true",
            "false",
        ),
    ];
    for (fixture, file, text, yes, no) in cases {
        let (bench, job) = Bench::fixture(fixture);
        bench.write(&format!("build/{file}"), &text.replace("HOLDS", yes));
        let run = Run::of(&bench, &job);
        assert_eq!(run.result.as_ref().unwrap(), &TestRun::Passed, "{}", run.transcript);
        bench.write(&format!("build/{file}"), &text.replace("HOLDS", no));
        let run = Run::of(&bench, &job);
        assert!(run.failed().0.starts_with("bin/test of "), "{}", run.transcript);
    }
}

#[test]
fn what_cannot_be_tested_is_no_success() {
    let bench = Bench::new();
    let plain = bench.buildpack("plain", "true");
    let run = Run::of(&bench, &bench.job(&[plain]));
    assert!(matches!(run.result, Err(CompileError::NoTests)), "{}", run.transcript);
    run.says(&["app.json"]);

    let broken = testpack(&bench, "broken", "exit 3", "echo not asked");
    let run = Run::of(&bench, &bench.job(&[broken]));
    assert!(matches!(run.result, Err(CompileError::Compile { .. })), "{}", run.transcript);

    let endless = testpack(&bench, "endless", "true", "sleep 600.25");
    let job = Job { timeout: Duration::from_secs(10), ..bench.job(&[endless]) };
    let run = Run::of(&bench, &job);
    assert!(matches!(run.result, Err(CompileError::TestsTimedOut { .. })), "{}", run.transcript);
    run.says(&["sleep 600.25"]);
}
