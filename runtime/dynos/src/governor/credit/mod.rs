//! CPU credits: what a dyno leaves of its baseline it saves, and what it takes above it it pays.
//!
//! The rules are those of Fly.io's machines ("CPU performance" in its documentation, October 2024):
//! baseline, quota and balance are pooled over a dyno's CPUs; only the part above the baseline is
//! paid for; without balance a dyno is held to its baseline. Balances here are per CPU of the class,
//! so that a dyno of many CPUs bursts as long as one of one CPU.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// CPU time in femtoseconds: nanoseconds times millionths, so that a share in millionths of a
/// time in nanoseconds is exact.
pub type Femtos = i128;

const FEMTOS_PER_NANO: Femtos = 1_000_000;

/// Between two decisions, if the machine is not late.
pub const TICK: Duration = Duration::from_millis(80);

/// What a new dyno of a class of the table has, and the most it can save: for each CPU.
pub const INITIAL: Duration = Duration::from_secs(5);
pub const MAX: Duration = Duration::from_secs(500);

/// What a class grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// CPUs the dyno may use at once while it has balance.
    pub cpus: u32,
    /// What one CPU gives for ever, in millionths of it: 62 500 is one sixteenth.
    pub baseline_ppm: u32,
    /// Balance of a new dyno, for each CPU.
    pub initial: Duration,
    /// The most a dyno can save, for each CPU.
    pub max: Duration,
}

impl Terms {
    /// What the dyno earns in `elapsed`.
    pub fn earned(&self, elapsed: Duration) -> Femtos {
        let nanos = Femtos::try_from(elapsed.as_nanos()).unwrap_or(Femtos::MAX / FEMTOS_PER_NANO);
        nanos.saturating_mul(self.baseline_ppm_pooled().into())
    }

    /// What it pays in `elapsed` when it uses all its CPUs.
    pub fn paid(&self, elapsed: Duration) -> Femtos {
        self.pooled(elapsed) - self.earned(elapsed)
    }

    /// The most that a burst can take beyond its balance before the next decision.
    fn overshoot(&self) -> Femtos {
        self.paid(TICK)
    }

    /// The baseline of all CPUs together, in millionths of one.
    pub fn baseline_ppm_pooled(&self) -> u64 {
        u64::from(self.cpus) * u64::from(self.baseline_ppm)
    }

    fn pooled(&self, each: Duration) -> Femtos {
        femtos(each) * Femtos::from(self.cpus)
    }

    pub fn initial_balance(&self) -> Femtos {
        self.pooled(self.initial).min(self.max_balance())
    }

    pub fn max_balance(&self) -> Femtos {
        self.pooled(self.max)
    }
}

/// Whether a dyno without balance is held to its baseline, or only would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is held back, and the balance may go below zero: it assumes that the dyno would
    /// have used the same CPU time later.
    Observe,
    Enforce,
}

/// What a dyno may use until the next decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// All CPUs of its class.
    Burst,
    Baseline,
}

/// The account of one dyno.
///
/// The last tick of a burst takes more than is left. That is owed: were it forgiven, a dyno that
/// works a little less than its baseline in one tick and with all its might in the next would
/// have half a CPU for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Below zero: owed.
    saved: Femtos,
    mode: Mode,
}

impl Account {
    pub fn new(terms: &Terms, mode: Mode) -> Self {
        Self { saved: terms.initial_balance(), mode }
    }

    /// Below zero only when it is observed.
    pub fn balance(&self) -> Femtos {
        match self.mode {
            Mode::Observe => self.saved,
            Mode::Enforce => self.saved.max(0),
        }
    }

    /// What is saved or, below zero, owed.
    pub fn saved(&self) -> Femtos {
        self.saved
    }

    /// The balance in seconds, for people and metrics.
    pub fn balance_secs(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "shown, never calculated with")]
        let femtos = self.balance() as f64;
        femtos / 1e15
    }

    /// What the balance buys. When it only observes: what it would have bought.
    pub fn allowance(&self) -> Allowance {
        if self.saved > 0 { Allowance::Burst } else { Allowance::Baseline }
    }

    /// Books what happened since the last decision. `used` is CPU time of all CPUs together,
    /// without what a hypervisor took; `elapsed` is real time, however late the decision is.
    pub fn book(&mut self, terms: &Terms, used: Duration, elapsed: Duration) {
        let saved = self.saved + terms.earned(elapsed) - femtos(used);
        let least = match self.mode {
            Mode::Observe => Femtos::MIN,
            Mode::Enforce => -terms.overshoot(),
        };
        self.saved = saved.clamp(least, terms.max_balance());
    }

    /// Observation that becomes enforcement starts afresh: a debt that nobody was told of is not
    /// collected.
    pub fn switch(&mut self, terms: &Terms, mode: Mode) {
        if (self.mode, mode) == (Mode::Observe, Mode::Enforce) {
            self.saved = terms.initial_balance();
        }
        self.mode = mode;
    }
}

fn femtos(time: Duration) -> Femtos {
    Femtos::try_from(time.as_nanos()).unwrap_or(Femtos::MAX / FEMTOS_PER_NANO) * FEMTOS_PER_NANO
}

#[cfg(test)]
mod tests;
