//! A test run: the app made testable by its buildpacks, then its tests. Heroku Dev Center, "Testpack
//! API" and "Heroku CI: Technical Detail on Test Run Lifecycle".

use crate::app_json::{self, ForTests};
use crate::build::{self, Aim};
use crate::detect::{self, Chosen};
use crate::error::CompileError;
use crate::job::Job;
use crate::program::{Ending, Program};
use crate::site::Site;
use crate::transcript::Transcript;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// How tests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestRun {
    Passed,
    Failed {
        /// What ran, for people.
        tests: String,
        /// As a shell reports it: 128 + N for signal N.
        status: u8,
    },
}

/// Builds the source in `job.build_dir` by `bin/test-compile` of its buildpacks, or `bin/compile` of
/// those that have none, and runs its tests: the commands of its `app.json`, or else `bin/test` of each
/// buildpack that has one, up to the first that fails. `.slugignore` is for slugs: nothing is removed.
pub fn test(job: &Job, out: &mut Transcript) -> Result<TestRun, CompileError> {
    out.hide(&job.env);
    out.bound(job.output_bytes_max);
    let result = steps(job, out);
    if let Err(error) = &result {
        out.error(&error.reason());
        out.error(error.remedy());
    }
    result
}

fn steps(job: &Job, out: &mut Transcript) -> Result<TestRun, CompileError> {
    let ForTests { setup, test, env } = app_json::for_tests(&job.build_dir)?;
    let ours = BTreeMap::from([("CI".to_owned(), "true".to_owned())]);
    // What was given by hand goes before what the app says, and that before what all get.
    let env = ours.into_iter().chain(env).chain(job.env.clone()).collect();
    let job = Job { env, ..job.clone() };
    let mut site = Site::open(&job)?;
    out.step(&format!("Building for tests on the {} stack", job.stack));
    let mut chosen = detect::choose(&site, out)?;
    build::build(&mut site, &mut chosen, Aim::Tests, out)?;

    let room = Room::of(&site);
    if let Some(command) = setup {
        out.step("Running test-setup of app.json");
        let ended = room.run(Path::new("/bin/bash"), vec!["-c".into(), command.into()], out)?;
        if let Some(status) = ended {
            return Err(CompileError::TestSetup { status });
        }
    }
    match test {
        Some(command) => {
            let tests = "the test command of app.json".to_owned();
            out.step(&format!("Running {tests}"));
            let ended = room.run(Path::new("/bin/bash"), vec!["-c".into(), command.into()], out)?;
            Ok(judged(tests, ended))
        }
        None => buildpacks_tests(&room, &chosen, out),
    }
}

fn buildpacks_tests(
    room: &Room<'_>,
    chosen: &[Chosen],
    out: &mut Transcript,
) -> Result<TestRun, CompileError> {
    let mut verdict = Err(CompileError::NoTests);
    for Chosen { pack, .. } in chosen {
        let Some(program) = pack.program("test") else { continue };
        let tests = format!("bin/test of {}", pack.name);
        out.step(&format!("Running {tests}"));
        let job = room.site.job;
        let folders = vec![job.build_dir.clone().into(), job.env_dir.clone().into()];
        let ended = room.run(&program, folders, out)?;
        verdict = Ok(judged(tests, ended));
        if ended.is_some() {
            break;
        }
    }
    verdict
}

fn judged(tests: String, ended: Option<u8>) -> TestRun {
    match ended {
        None => TestRun::Passed,
        Some(status) => TestRun::Failed { tests, status },
    }
}

/// Where tests run: in the app's folder, as its home, with what the buildpacks export, the config vars
/// and `.profile.d`.
struct Room<'a> {
    site: &'a Site<'a>,
    env: BTreeMap<String, OsString>,
}

impl<'a> Room<'a> {
    fn of(site: &'a Site<'a>) -> Self {
        let mut env = site.env.clone();
        env.extend(site.job.env.iter().map(|(name, value)| (name.clone(), value.into())));
        env.insert("HOME".into(), site.job.build_dir.clone().into());
        Self { site, env }
    }

    /// Runs it with its output shown as it comes. None where it ends well, and else its status.
    fn run(
        &self,
        program: &Path,
        args: Vec<OsString>,
        out: &mut Transcript,
    ) -> Result<Option<u8>, CompileError> {
        // The script is a constant, what it runs its arguments: no shell text is made of names.
        let script =
            r#"for file in .profile.d/*.sh; do [ ! -f "$file" ] || . "$file"; done; exec "$@""#;
        let head = ["-c", script, "bash"].map(OsString::from);
        let program = Program {
            path: Path::new("/bin/bash"),
            args: head.into_iter().chain([program.into()]).chain(args).collect(),
            cwd: &self.site.job.build_dir,
            env: &self.env,
        };
        let ended = program.stream(&self.site.watch, |bytes| out.raw(bytes)).map_err(|source| {
            CompileError::Run { buildpack: "the app".into(), program: "test", source }
        })?;
        out.end_line();
        match ended.ending {
            Ending::Exited(0) => Ok(None),
            Ending::Exited(status) => Ok(Some(u8::try_from(status).unwrap_or(u8::MAX))),
            Ending::Signaled(signal) => Ok(Some(u8::try_from(128 + signal).unwrap_or(u8::MAX))),
            Ending::Cancelled => Err(CompileError::Cancelled),
            Ending::TimedOut => {
                let at_work = ended.at_work.iter().map(|line| out.masked(line)).collect();
                let limit = self.site.job.timeout;
                Err(CompileError::TestsTimedOut { limit, at_work })
            }
        }
    }
}
