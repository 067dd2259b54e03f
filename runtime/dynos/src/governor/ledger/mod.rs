//! The accounts of all dynos, and what each may use now. Pure: counters and time come in.

use super::credit::{Account, Allowance, Femtos, Mode, TICK, Terms};
use super::setting::Treatment;
use crate::class::Class;
use lathe_logs::AppId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Length of the kernel's period, microseconds: shorter ones make a dyno wait more often, not less.
pub const PERIOD_US: u64 = 100_000;
/// The least quota that the kernel takes.
const QUOTA_US_MIN: u64 = 1000;
/// Whoever cannot run out of balance for so long is looked at no sooner.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// One dyno as the governor keeps it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub app: AppId,
    /// `web.1`.
    pub name: String,
    pub class: Class,
    terms: Terms,
    account: Account,
    treatment: Treatment,
    /// The kernel's counter when it was last read, and when that was.
    read: Reading,
    /// When it has to be looked at again.
    due: Duration,
    /// CPU time over elapsed time, since the last look.
    rate_ppm: u64,
    written_us: Option<u64>,
}

/// CPU time that a dyno has used since its start, at a time since the machine's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    pub used: Duration,
    pub at: Duration,
}

/// What was kept over an absence of the governor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    account: Account,
    read: Reading,
}

/// What happened between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Booked {
    pub elapsed: Duration,
    pub used: Duration,
    /// It was held to its baseline, or would have been.
    pub held: bool,
}

impl Entry {
    /// A dyno that is seen for the first time, or again. None for a class that has no credit.
    pub fn new(
        (app, name): (AppId, String),
        class: Class,
        treatment: Treatment,
        read: Reading,
        kept: Option<Kept>,
    ) -> Option<Self> {
        let terms = class.credit?;
        let (account, read) = match kept {
            Some(kept) => (kept.account, kept.read),
            None => (Account::new(&terms, mode(treatment)), read),
        };
        let mut entry = Self {
            app,
            name,
            class,
            terms,
            account,
            treatment,
            read,
            due: Duration::ZERO,
            rate_ppm: 0,
            written_us: None,
        };
        entry.account.switch(&terms, mode(treatment));
        Some(entry)
    }

    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// Books what the counter says. A counter never runs backwards; were it so, nothing was used.
    pub fn book(&mut self, now: Reading) -> Booked {
        let booked = Booked {
            elapsed: now.at.saturating_sub(self.read.at),
            used: now.used.saturating_sub(self.read.used),
            held: self.treatment != Treatment::Off
                && self.account.allowance() == Allowance::Baseline,
        };
        if self.treatment != Treatment::Off {
            self.account.book(&self.terms, booked.used, booked.elapsed);
        }
        let elapsed = booked.elapsed.as_nanos().max(1);
        self.rate_ppm =
            u64::try_from(booked.used.as_nanos() * 1_000_000 / elapsed).unwrap_or(u64::MAX);
        self.read = now;
        self.due = now.at + self.unchanging();
        booked
    }

    /// How long at least what it may use stays the same, whatever it does. Between `TICK` and
    /// `LOOK_MAX`.
    fn unchanging(&self) -> Duration {
        if self.treatment == Treatment::Off {
            return LOOK_MAX;
        }
        let (saved, second) = (self.account.saved(), Duration::from_secs(1));
        let earned: Femtos = self.terms.earned(second);
        let change = if saved > 0 { self.terms.paid(second) } else { earned };
        // In milliseconds: what is saved or owed, over what a second changes it by.
        let ms = saved.abs().saturating_mul(1000) / change.max(1);
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        Duration::from_millis(ms).clamp(TICK, LOOK_MAX)
    }

    /// Takes over a new treatment; whether it is another one.
    pub fn treat(&mut self, treatment: Treatment) -> bool {
        if self.treatment == treatment {
            return false;
        }
        self.treatment = treatment;
        self.account.switch(&self.terms, mode(treatment));
        self.due = Duration::ZERO;
        true
    }

    /// The quota that has to be written, if it is not the one that was.
    pub fn quota_to_write(&mut self) -> Option<u64> {
        let quota = self.quota_us();
        let changed = self.written_us.replace(quota) != Some(quota);
        changed.then_some(quota)
    }

    /// The write has failed: it is tried again.
    pub fn not_written(&mut self) {
        self.written_us = None;
        self.due = Duration::ZERO;
    }

    fn quota_us(&self) -> u64 {
        match (self.treatment, self.account.allowance()) {
            (Treatment::Enforce { .. }, Allowance::Baseline) => self.safe_us(),
            _ => self.cap_us(),
        }
    }

    fn cap_us(&self) -> u64 {
        u64::from(self.terms.cpus) * PERIOD_US
    }

    /// The quota of a dyno without balance: what holds whenever nobody keeps its account.
    pub fn safe_us(&self) -> u64 {
        let baseline = self.terms.baseline_ppm_pooled() * PERIOD_US / 1_000_000;
        let strength = match self.treatment {
            Treatment::Enforce { strength } => u64::from(strength.min(100)),
            Treatment::Off | Treatment::Observe => 0,
        };
        let cap = self.cap_us();
        let weakened = ((100 - strength) * cap + strength * baseline) / 100;
        weakened.max(baseline).max(QUOTA_US_MIN)
    }

    pub fn is_enforced(&self) -> bool {
        matches!(self.treatment, Treatment::Enforce { .. })
    }

    pub fn treatment(&self) -> Treatment {
        self.treatment
    }

    pub fn is_held(&self) -> bool {
        self.account.allowance() == Allowance::Baseline
    }

    pub fn balance_secs(&self) -> f64 {
        self.account.balance_secs()
    }

    /// Millionths of one CPU.
    pub fn rate_ppm(&self) -> u64 {
        self.rate_ppm
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn used(&self) -> Duration {
        self.read.used
    }

    pub fn keep(&self) -> Kept {
        Kept { account: self.account, read: self.read }
    }
}

fn mode(treatment: Treatment) -> Mode {
    match treatment {
        Treatment::Enforce { .. } => Mode::Enforce,
        Treatment::Off | Treatment::Observe => Mode::Observe,
    }
}

#[cfg(test)]
mod tests;
