//! When each of many dynos got where in its life, and what that is in figures. Pure.

use crate::cli::bench::figures::{quantile, sorted};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where a life has got to, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// The API has answered: it is on disk.
    Accepted,
    /// The engine has made it: its process is there.
    Started,
    /// It counts as up.
    Running,
    /// It has ended, and how is on disk.
    Done,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Started => "started",
            Self::Running => "running",
            Self::Done => "done",
        }
    }
}

/// Seconds after the burst began, by stage and dyno; the first word counts.
#[derive(Debug, Default)]
pub(super) struct Lives {
    seen: BTreeMap<Stage, BTreeMap<String, f64>>,
}

/// What one stage was for all.
#[derive(Debug, Serialize)]
pub(super) struct Passing {
    pub(super) stage: Stage,
    pub(super) dynos: usize,
    pub(super) p50_s: f64,
    pub(super) p99_s: f64,
    pub(super) max_s: f64,
}

impl Lives {
    pub(super) fn note(&mut self, stage: Stage, dyno: &str, at_s: f64) {
        let stage = self.seen.entry(stage).or_default();
        if !stage.contains_key(dyno) {
            stage.insert(dyno.to_owned(), at_s);
        }
    }

    pub(super) fn count(&self, stage: Stage) -> usize {
        self.seen.get(&stage).map_or(0, BTreeMap::len)
    }

    pub(super) fn passings(&self) -> Vec<Passing> {
        self.seen
            .iter()
            .map(|(stage, times)| {
                let times = sorted(times.values().copied());
                Passing {
                    stage: *stage,
                    dynos: times.len(),
                    p50_s: quantile(&times, 0.5),
                    p99_s: quantile(&times, 0.99),
                    max_s: quantile(&times, 1.0),
                }
            })
            .collect()
    }

    /// How many had passed the stage when: a step for each dyno.
    pub(super) fn curve(&self, stage: Stage) -> Vec<f64> {
        sorted(self.seen.get(&stage).into_iter().flat_map(BTreeMap::values).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_a_stage_counts_and_stages_are_in_order() {
        let mut lives = Lives::default();
        for (stage, dyno, at) in [
            (Stage::Running, "a", 3.0),
            (Stage::Accepted, "a", 1.0),
            (Stage::Running, "a", 9.0),
            (Stage::Running, "b", 4.0),
        ] {
            lives.note(stage, dyno, at);
        }
        let passings = lives.passings();
        let stages: Vec<Stage> = passings.iter().map(|passing| passing.stage).collect();
        assert_eq!(stages, [Stage::Accepted, Stage::Running]);
        assert!((passings[1].max_s - 4.0).abs() < 1e-9);
        assert_eq!(lives.curve(Stage::Running), [3.0, 4.0]);
        assert_eq!(lives.count(Stage::Done), 0);
    }
}
