//! What a check has found, for people and for programs.

use crate::builder::Builder;
use crate::judge::Verdict;
use crate::surroundings::Surroundings;
use lathe_slug::{Difference, Manifest};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub commit: String,
    pub verdict: Verdict,
    pub stages: Vec<Stage>,
    /// Of each stage with the one before.
    pub comparisons: Vec<Comparison>,
    /// Something was made to differ on purpose.
    pub planted: bool,
    /// `cargo build` of the same source without any platform.
    pub bare_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub number: u32,
    pub built_by: Builder,
    /// Unix time in seconds.
    pub begun_at: u64,
    pub checks_passed: usize,
    pub slug: Manifest,
    pub crates_compiled: usize,
    /// From `git push` to its end.
    pub build_ms: u64,
    /// From the platform's start to its end.
    pub stage_ms: u64,
    pub surroundings: Surroundings,
}

#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub left: u32,
    pub right: u32,
    pub equal: bool,
    /// The first that were found.
    pub differences: Vec<Difference>,
}

impl Report {
    /// How much longer the builds of the stages took than cargo alone, in percent of it, on average.
    pub fn overhead_percent(&self) -> Option<f64> {
        let bare = self.bare_ms.filter(|bare| *bare > 0)?;
        let count = u32::try_from(self.stages.len()).ok().filter(|count| *count > 0)?;
        let all: u64 = self.stages.iter().map(|stage| stage.build_ms).sum();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some hours at most")]
        let (all, bare) = (all as f64, bare as f64);
        Some((all / f64::from(count) / bare - 1.0) * 100.0)
    }
}
