//! Why a build failed: one variant per step, and the sentences a pusher reads.

use crate::buildpack::{FetchError, ParseReferenceError};
use crate::release::ReleaseError;
use lathe_slug::{IgnoreError, PackError, ProcfileError};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("could not prepare {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("config var {name:?} cannot be handed to a buildpack")]
    ConfigVar { name: String },
    #[error("could not read {}", path.display())]
    ReadSource {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the .slugignore is not valid")]
    SlugIgnore(#[source] IgnoreError),
    #[error("the Procfile is not valid")]
    Procfile(#[source] ProcfileError),
    #[error("the app.json is not valid")]
    AppJson(#[source] serde_json::Error),
    #[error("buildpack reference is not valid")]
    Reference(#[source] ParseReferenceError),
    #[error("{count} buildpacks are more than {max}")]
    TooManyBuildpacks { count: usize, max: usize },
    #[error("could not fetch buildpack {name}")]
    Fetch {
        name: String,
        #[source]
        source: FetchError,
    },
    #[error("buildpack {name} has no bin/{program}")]
    NotABuildpack { name: String, program: &'static str },
    #[error("no default language could be detected for this app (tried {tried})")]
    NoneDetected { tried: String },
    #[error("app not compatible with buildpack: {buildpack}")]
    NotDetected { buildpack: String },
    #[error("could not run bin/{program} of {buildpack}")]
    Run {
        buildpack: String,
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to compile {app} app: {}", how(*ending, *full_disk))]
    Compile {
        app: String,
        ending: Failed,
        /// The size in bytes of the build's disk, when there was no room left on it.
        full_disk: Option<u64>,
        last_words: Vec<String>,
        advice: Option<String>,
    },
    #[error("compiling the {app} app did not finish within {} seconds (build.timeout)", limit.as_secs())]
    TimedOut { app: String, limit: Duration, at_work: Vec<String> },
    #[error("test-setup of app.json failed with status {status}: the tests were not run")]
    TestSetup { status: u8 },
    #[error("the tests did not end within {} seconds (build.timeout)", limit.as_secs())]
    TestsTimedOut { limit: Duration, at_work: Vec<String> },
    #[error("this app has no tests that could be found")]
    NoTests,
    #[error("the build was cancelled")]
    Cancelled,
    #[error("the export file of {buildpack} could not be sourced: {said}")]
    Export { buildpack: String, said: String },
    #[error("bin/release of {buildpack} is not usable")]
    Release {
        buildpack: String,
        #[source]
        source: ReleaseError,
    },
    /// In Heroku's words.
    #[error("Compiled slug size: {} is too large (max is {}M).", over(*bytes), max >> 20)]
    TooLarge { bytes: u64, max: u64 },
    #[error("could not make a slug of the app")]
    Pack(#[source] PackError),
    /// Whoever took it has stopped, and knows why.
    #[error("the slug could not be handed over")]
    HandOver(#[source] io::Error),
}

/// How `bin/compile` itself failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    Exit(i32),
    Signal(i32),
}

/// Megabytes, rounded up: what is a byte over a limit must not read as equal to it.
fn over(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    format!("{}.{}M", tenths / 10, tenths % 10)
}

fn how(failed: Failed, full_disk: Option<u64>) -> String {
    if let Some(bytes) = full_disk {
        return format!("its disk of {} MB is full (build.disk)", bytes >> 20);
    }
    match failed {
        // A shell reports a child killed by signal N as 128 + N (POSIX, "Exit Status for Commands").
        Failed::Exit(137) | Failed::Signal(9) => {
            "killed (SIGKILL), most often for using too much memory".to_owned()
        }
        Failed::Exit(code @ 129..=159) => format!("ended by signal {}", code - 128),
        Failed::Exit(code) => format!("bin/compile exited with status {code}"),
        Failed::Signal(signal) => format!("ended by signal {signal}"),
    }
}

/// An error and everything that led to it, in one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl CompileError {
    /// The step that failed, one word.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Prepare { .. } | Self::ConfigVar { .. } => "prepare",
            Self::ReadSource { .. }
            | Self::SlugIgnore(_)
            | Self::Procfile(_)
            | Self::AppJson(_) => "source",
            Self::Reference(_)
            | Self::TooManyBuildpacks { .. }
            | Self::Fetch { .. }
            | Self::NotABuildpack { .. } => "fetch",
            Self::NoneDetected { .. } | Self::NotDetected { .. } => "detect",
            Self::Run { program, .. } => program,
            Self::Compile { .. } | Self::TimedOut { .. } | Self::Cancelled => "compile",
            Self::TestSetup { .. } | Self::TestsTimedOut { .. } | Self::NoTests => "test",
            Self::Export { .. } => "export",
            Self::Release { .. } => "release",
            Self::TooLarge { .. } | Self::Pack(_) | Self::HandOver(_) => "pack",
        }
    }

    /// What happened, with every cause, for people.
    pub fn reason(&self) -> String {
        let text = with_causes(self);
        let (about, lines): (_, &[String]) = match self {
            Self::Compile { last_words, .. } => ("Its last words", last_words),
            Self::TimedOut { at_work, .. } | Self::TestsTimedOut { at_work, .. } => {
                ("It was still at", at_work)
            }
            _ => ("", &[]),
        };
        if lines.is_empty() { text } else { format!("{text}\n{about}: {}", lines.join("\n  ")) }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Prepare { .. } | Self::Run { .. } => {
                "This is a fault of the build machine rather than of your app: push again, and tell \
                 its operator if it stays."
            }
            Self::ConfigVar { .. } => "Unset it, and use letters, digits and _ only.",
            Self::ReadSource { .. } => "Make it a plain file of moderate size and push again.",
            Self::SlugIgnore(_) => "Mend the named line of .slugignore and push again.",
            Self::Procfile(_) => {
                "Each line of a Procfile is `type: command`. Mend it and push again."
            }
            Self::AppJson(_) => "Mend what the message names.",
            Self::TestSetup { .. } => "The lines above are its own; mend what they name.",
            Self::TestsTimedOut { .. } => "Make them quicker, or raise build.timeout.",
            Self::NoTests => {
                "Say in app.json how: {\"scripts\": {\"test\": \"command\"}}, or use a buildpack with a \
                 bin/test."
            }
            Self::Reference(_) => {
                "A buildpack is a built-in name, an https:// git URL with an optional #ref, or the \
                 URL of a .tgz."
            }
            Self::TooManyBuildpacks { .. } => "Remove those the app does not need.",
            Self::Fetch { source, .. } => source.remedy(),
            Self::NotABuildpack { .. } => "Check the URL and its #ref.",
            Self::NoneDetected { .. } => {
                "Add the file a buildpack looks for (package.json, requirements.txt, Cargo.toml, \
                 index.html or a Procfile) to the top folder and commit it, or name a buildpack: \
                 heroku buildpacks:set <name or URL>"
            }
            Self::NotDetected { .. } => {
                "Is the file it looks for in the top folder and committed? Otherwise remove or \
                 replace the buildpack: heroku buildpacks"
            }
            Self::Compile { full_disk: Some(_), .. } => {
                "Make the app or its dependencies smaller, or purge its build cache: \
                 heroku builds:cache:purge"
            }
            Self::Compile { advice, .. } => advice.as_deref().unwrap_or(
                "The lines above are the buildpack's own; mend what they name and push again.",
            ),
            Self::TimedOut { at_work, .. } if at_work.iter().any(|line| line.contains("://")) => {
                "A download does not come to its end: is its host reachable from here?"
            }
            Self::TimedOut { .. } => {
                "Cached downloads make the next try faster: push again. If it stays slow, leave out \
                 what the build does not need."
            }
            Self::Cancelled => "Push again when you are ready.",
            Self::Export { .. } | Self::Release { .. } => {
                "This is a fault of the buildpack: try another version of it."
            }
            Self::TooLarge { .. } => {
                "Name files the app does not need at run time in .slugignore, and keep assets and \
                 data elsewhere. The operator may raise archive.compressed."
            }
            Self::HandOver(_) => {
                "Nothing is wrong with the app: push again when there is room for it."
            }
            Self::Pack(_) => "Remove what the message names, or name it in .slugignore.",
        }
    }

    /// The app as its buildpack calls it, where one was found.
    pub(crate) fn app(&self) -> Option<&str> {
        match self {
            Self::Compile { app, .. } | Self::TimedOut { app, .. } => Some(app),
            _ => None,
        }
    }
}
