//! How far a check is, for whoever waits for it.

use crate::compiling::Crates;
use std::fmt;
use std::time::Duration;

/// Said at the beginning of every step, and again while one takes long.
#[derive(Clone, Debug)]
pub struct Progress {
    /// None before the first and after the last stage.
    pub stage: Option<u32>,
    /// Since the stage began; since the check began where there is no stage.
    pub elapsed: Duration,
    pub step: Step,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// The source, and whether it has changes that are not committed and so not part of this.
    Source {
        commit: String,
        uncommitted: bool,
    },
    Downloads,
    Bare(Crates),
    /// Which executable begins, by its digest.
    Starting {
        builder: String,
    },
    Proving,
    Proved {
        checks: usize,
    },
    Pushing,
    Compiling(Crates),
    Comparing,
    Slug {
        slug: String,
        bytes: u64,
        entries: u64,
    },
    Stopping,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.stage.map_or_else(|| "check".into(), |stage| format!("stage {stage}"));
        write!(f, "{who:<8} {:>6}  {}", clock(self.elapsed), self.step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { commit, uncommitted } => {
                let without =
                    if *uncommitted { "; changes that are not committed stay out" } else { "" };
                write!(f, "the source is commit {commit}{without}")
            }
            Self::Downloads => f.write_str("downloading crates, once for all stages"),
            Self::Bare(crates) => write!(f, "cargo alone compiles, {crates}"),
            Self::Starting { builder } => write!(f, "lathe {builder} starts a platform"),
            Self::Proving => f.write_str("it has to prove that it works"),
            Self::Proved { checks } => write!(f, "it passed {checks} checks"),
            Self::Pushing => f.write_str("git push"),
            Self::Compiling(crates) => write!(f, "compiling, {crates}"),
            Self::Comparing => f.write_str("comparing"),
            Self::Slug { slug, bytes, entries } => {
                write!(f, "slug {slug}, {bytes} bytes, {entries} entries")
            }
            Self::Stopping => f.write_str("stopping the platform"),
        }
    }
}

/// `m:ss`
pub(crate) fn clock(elapsed: Duration) -> String {
    format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}
