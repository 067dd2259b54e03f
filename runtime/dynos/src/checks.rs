//! How a dyno shows that it is well and that it is ready, and what its answers have shown. Pure.
//!
//! Two questions, as Kubernetes asks them ("Configure Liveness, Readiness and Startup Probes"): one
//! that is not well is to be replaced, one that is not ready is only to be left alone for a while.

use crate::clock::millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A dyno that gets no requests is asked at least so often whether it is ready.
const UNREADY_EVERY: Duration = Duration::from_secs(1);

/// What is asked of a dyno.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// That its program takes a connection on its port.
    #[default]
    Port,
    /// That this path is answered with 2xx or 3xx.
    Path(String),
    /// That this command, run by a shell inside the dyno, ends with status 0.
    Command(String),
}

/// Everything that is asked of a dyno with a port, and how often.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checks {
    /// Well it has to be before it is up, and from then on.
    pub health: Check,
    /// None: it is ready whenever it is up.
    pub readiness: Option<Check>,
    /// From the beginning of one check to that of the next.
    pub interval: Duration,
    pub timeout: Duration,
    /// So many failures in a row are a finding; fewer are chance.
    pub failures: u32,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            health: Check::Port,
            readiness: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failures: 3,
        }
    }
}

/// Which of the two questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vital {
    Health,
    Readiness,
}

impl Vital {
    pub(crate) const BOTH: [Self; 2] = [Self::Health, Self::Readiness];
}

/// What came of one check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Well,
    /// Why not, as a lower-case fragment.
    Failed(String),
    /// It could not be asked, which is not its fault.
    Unknown,
}

impl Checks {
    pub(crate) fn of(&self, vital: Vital) -> Option<&Check> {
        match vital {
            Vital::Health => Some(&self.health),
            Vital::Readiness => self.readiness.as_ref(),
        }
    }
}

/// What the checks of one dyno have shown since it is up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pulse {
    health: Series,
    readiness: Series,
}

/// The checks of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Series {
    begun_ms: u64,
    under_way: bool,
    /// In a row, up to the last one.
    failed: u32,
    finding: Option<Finding>,
}

/// It has failed so often that it counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Unix time in milliseconds.
    pub since_ms: u64,
    /// How often it had failed in a row then, and why the last time.
    pub times: u32,
    pub why: String,
}

impl Pulse {
    /// Of a dyno that has just come up, with what was seen of its readiness then.
    pub(crate) fn up(readiness: Option<Outcome>, now_ms: u64) -> Self {
        let health = Series { begun_ms: now_ms, ..Series::default() };
        let mut series = health.clone();
        if let Some(Outcome::Failed(why)) = readiness {
            series.finding = Some(Finding { since_ms: now_ms, times: 1, why });
        }
        Self { health, readiness: series }
    }

    fn of(&self, vital: Vital) -> &Series {
        match vital {
            Vital::Health => &self.health,
            Vital::Readiness => &self.readiness,
        }
    }

    fn of_mut(&mut self, vital: Vital) -> &mut Series {
        match vital {
            Vital::Health => &mut self.health,
            Vital::Readiness => &mut self.readiness,
        }
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn finding(&self, vital: Vital) -> Option<&Finding> {
        self.of(vital).finding.as_ref()
    }

    /// When to ask again; none while an answer is awaited.
    pub(crate) fn due_ms(&self, vital: Vital, checks: &Checks) -> Option<u64> {
        let series = self.of(vital);
        let waits = vital == Vital::Readiness && series.finding.is_some();
        let every = if waits { checks.interval.min(UNREADY_EVERY) } else { checks.interval };
        (!series.under_way).then(|| series.begun_ms.saturating_add(millis(every)))
    }

    pub(crate) fn begin(&mut self, vital: Vital, now_ms: u64) {
        let series = self.of_mut(vital);
        (series.begun_ms, series.under_way) = (now_ms, true);
    }

    /// Takes in an answer. True when there is a finding now and was none before, or the other way
    /// round. `failures` of `Checks`.
    pub(crate) fn learn(
        &mut self,
        vital: Vital,
        outcome: Outcome,
        failures: u32,
        now_ms: u64,
    ) -> bool {
        let series = self.of_mut(vital);
        series.under_way = false;
        match outcome {
            Outcome::Unknown => false,
            Outcome::Well => {
                series.failed = 0;
                series.finding.take().is_some()
            }
            Outcome::Failed(why) => {
                series.failed = series.failed.saturating_add(1);
                if series.finding.is_some() || series.failed < failures {
                    return false;
                }
                let finding = Finding { since_ms: now_ms, times: series.failed, why };
                series.finding = Some(finding);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed() -> Outcome {
        Outcome::Failed("no answer".into())
    }

    #[test]
    fn only_failures_in_a_row_are_a_finding_and_one_good_answer_ends_it() {
        use Vital::{Health, Readiness};
        let mut pulse = Pulse::up(None, 0);
        let story = [
            (failed(), false, false),
            (failed(), false, false),
            (Outcome::Well, false, false),
            (failed(), false, false),
            (Outcome::Unknown, false, false),
            (failed(), false, false),
            (failed(), true, true),
            (Outcome::Unknown, false, true),
            (failed(), false, true),
            (Outcome::Well, true, false),
        ];
        for (step, (outcome, turned, found)) in story.into_iter().enumerate() {
            assert_eq!(pulse.learn(Health, outcome, 3, 7), turned, "step {step}");
            assert_eq!(pulse.finding(Health).is_some(), found, "step {step}");
            assert_eq!(pulse.finding(Readiness), None);
        }
    }

    #[test]
    fn who_is_not_ready_when_it_comes_up_is_asked_often() {
        let checks = Checks::default();
        let mut pulse = Pulse::up(Some(failed()), 1000);
        assert_eq!(pulse.finding(Vital::Readiness).map(|found| found.times), Some(1));
        assert_eq!(pulse.due_ms(Vital::Readiness, &checks), Some(2000));
        assert_eq!(pulse.due_ms(Vital::Health, &checks), Some(11_000));
        pulse.begin(Vital::Readiness, 2000);
        assert_eq!(pulse.due_ms(Vital::Readiness, &checks), None);
        assert!(pulse.learn(Vital::Readiness, Outcome::Well, 3, 2500));
        assert_eq!(pulse.due_ms(Vital::Readiness, &checks), Some(12_000));
    }

    proptest! {
        #[test]
        fn a_finding_takes_as_many_failures_as_it_says(
            answers in proptest::collection::vec(0..3u8, 0..60),
            failures in 1..6u32,
        ) {
            let mut pulse = Pulse::up(None, 0);
            let mut in_a_row = 0;
            for (step, answer) in (1..).zip(answers) {
                let outcome = match answer {
                    0 => Outcome::Well,
                    1 => failed(),
                    _ => Outcome::Unknown,
                };
                in_a_row = match outcome {
                    Outcome::Well => 0,
                    Outcome::Failed(_) => in_a_row + 1,
                    Outcome::Unknown => in_a_row,
                };
                pulse.begin(Vital::Health, step);
                pulse.learn(Vital::Health, outcome, failures, step);
                prop_assert_eq!(pulse.finding(Vital::Health).is_some(), in_a_row >= failures);
            }
        }
    }
}
