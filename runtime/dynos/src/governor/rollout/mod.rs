//! Which setting applies to whom and when, and how a step of a roll-out is taken back. Pure.
//!
//! A setting is for the whole cell, a class or an app; the narrower one counts. It is tried for a
//! time or meant for good; either way it is watched, and when the machine's load passes the limit
//! while it is, what was before is again. (Fly.io rolled its quotas out so in the autumn of 2024,
//! and took a step back by hand.)

use super::setting::Setting;
use crate::clock::millis;
use lathe_logs::AppId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// A setting that is meant for good is watched for so long.
pub const WATCHED: Duration = Duration::from_hours(1);

const STEPS_KEPT: usize = 200;

/// For whom a setting is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Cell,
    Class(String),
    App(AppId),
}

/// What an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub scope: Scope,
    /// None: what the wider scope says.
    pub setting: Option<Setting>,
    /// Tried for so long; none: for good.
    pub trial: Option<Duration>,
}

/// The machine's load average of a minute, in hundredths for each CPU, and what it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    pub percent: u32,
    pub limit: u32,
}

impl Load {
    fn passed(self) -> bool {
        self.percent > self.limit
    }
}

/// Why nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the load of this machine is {}.{:02} for each CPU already, and {}.{:02} is the limit at which \
     it would be taken back",
    load.percent / 100, load.percent % 100, load.limit / 100, load.limit % 100
)]
pub struct Overloaded {
    load: Load,
}

/// Something that has happened to a roll-out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Unix time in milliseconds.
    pub at_ms: u64,
    pub scope: Scope,
    pub what: What,
    /// What holds from now on; none: what the wider scope says.
    pub setting: Option<Setting>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Tried {
        for_ms: u64,
    },
    Set,
    /// A trial has ended in its time.
    Ended,
    /// What was set for good is not watched any more.
    Kept,
    /// The load has passed the limit.
    Aborted {
        load_percent: u32,
    },
}

/// All settings in force, and those that were before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rollout {
    plans: Vec<(Scope, Plan)>,
    steps: VecDeque<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Plan {
    lasting: Option<Setting>,
    watched: Option<Watched>,
}

/// A change that can still be taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Watched {
    to: Option<Setting>,
    until_ms: u64,
    for_good: bool,
}

impl Plan {
    fn in_force(&self, now_ms: u64) -> Option<Setting> {
        match self.watched {
            Some(watched) if watched.for_good || now_ms < watched.until_ms => watched.to,
            _ => self.lasting,
        }
    }

    /// What becomes of a watched change; `None` while nothing does.
    fn step(&mut self, now_ms: u64, load: Load) -> Option<What> {
        let watched = self.watched?;
        let enforces = watched.to.is_some_and(Setting::enforces);
        let due = now_ms >= watched.until_ms;
        if !due && enforces && load.passed() {
            self.watched = None;
            return Some(What::Aborted { load_percent: load.percent });
        }
        if !due {
            return None;
        }
        self.watched = None;
        if watched.for_good {
            self.lasting = watched.to;
            return Some(What::Kept);
        }
        Some(What::Ended)
    }
}

impl Rollout {
    /// What applies to dynos of an app and a class.
    pub fn setting(&self, app: &AppId, class: &str, now_ms: u64) -> Setting {
        let of = |wanted: &dyn Fn(&Scope) -> bool| {
            let plan = self.plans.iter().find(|(scope, _)| wanted(scope));
            plan.and_then(|(_, plan)| plan.in_force(now_ms))
        };
        of(&|scope| matches!(scope, Scope::App(id) if id == app))
            .or_else(|| of(&|scope| matches!(scope, Scope::Class(name) if name == class)))
            .or_else(|| of(&|scope| *scope == Scope::Cell))
            .unwrap_or(Setting::Observe)
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// Nothing is begun that would be taken back at once.
    pub fn change(&mut self, change: Change, now_ms: u64, load: Load) -> Result<Step, Overloaded> {
        let Change { scope, setting, trial } = change;
        if setting.is_some_and(Setting::enforces) && load.passed() {
            return Err(Overloaded { load });
        }
        let index = self.plans.iter().position(|(other, _)| *other == scope);
        let index = index.unwrap_or_else(|| {
            self.plans.push((scope.clone(), Plan::default()));
            self.plans.len() - 1
        });
        let plan = &mut self.plans[index].1;
        // A trial that is under way is over; what was meant for good is what was before.
        if let Some(Watched { to, for_good: true, .. }) = plan.watched {
            plan.lasting = to;
        }
        let for_ms = millis(trial.unwrap_or(WATCHED));
        let until_ms = now_ms.saturating_add(for_ms);
        plan.watched = Some(Watched { to: setting, until_ms, for_good: trial.is_none() });
        let what = if trial.is_some() { What::Tried { for_ms } } else { What::Set };
        let step = Step { at_ms: now_ms, scope, what, setting };
        self.note(step.clone());
        Ok(step)
    }

    /// What time and load do.
    pub fn step(&mut self, now_ms: u64, load: Load) -> Vec<Step> {
        let mut steps = Vec::new();
        for (scope, plan) in &mut self.plans {
            if let Some(what) = plan.step(now_ms, load) {
                let (scope, setting) = (scope.clone(), plan.in_force(now_ms));
                steps.push(Step { at_ms: now_ms, scope, what, setting });
            }
        }
        self.plans.retain(|(_, plan)| *plan != Plan::default());
        for step in &steps {
            self.note(step.clone());
        }
        steps
    }

    fn note(&mut self, step: Step) {
        self.steps.truncate(STEPS_KEPT - 1);
        self.steps.push_front(step);
    }

    /// The newest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// Every setting that is in force.
    pub fn in_force(&self, now_ms: u64) -> Vec<(Scope, Setting)> {
        let plans = self.plans.iter();
        plans.filter_map(|(scope, plan)| Some((scope.clone(), plan.in_force(now_ms)?))).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting =
            self.setting.map_or_else(|| "as the wider setting says".into(), |s| s.to_string());
        match self.what {
            What::Tried { for_ms } => write!(f, "{setting}, tried for {} s", for_ms / 1000),
            What::Set => write!(f, "{setting}, for good"),
            What::Ended => write!(f, "the trial has ended: {setting}"),
            What::Kept => write!(f, "kept: {setting}"),
            What::Aborted { load_percent } => write!(
                f,
                "taken back, because the machine's load is {}.{:02} for each CPU: {setting}",
                load_percent / 100,
                load_percent % 100
            ),
        }
    }
}

#[cfg(test)]
mod tests;
