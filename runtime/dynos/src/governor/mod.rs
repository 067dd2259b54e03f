//! The CPU governor: who may burst and who is held to its baseline, and the loop that writes it down.
//!
//! All decisions are pure: [`credit`] keeps one account, [`ledger`] what a dyno may use,
//! [`rollout`] which setting applies to whom, [`report`] who should have a larger class. The loop in
//! `turn` reads counters and writes quotas.

pub mod credit;
mod disk;
mod gauge;
pub mod history;
pub mod ledger;
pub mod report;
pub mod rollout;
pub mod setting;
mod tenants;
mod turn;

pub use gauge::quota;

use crate::class::Classes;
use crate::clock::Clock;
use crate::containers::Containers;
use crate::spec::DynoId;
use history::History;
use lathe_logs::AppId;
use report::Finding;
use rollout::{Change, Load, Overloaded, Rollout, Scope, Step};
use serde::Serialize;
use setting::{Setting, Treatment};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tenants::Tenants;

/// How the governor behaves beyond what it is told while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where balances, settings and history are kept.
    pub dir: PathBuf,
    /// The load average of a minute, in hundredths for each CPU, at which a step is taken back.
    pub load_limit: u32,
    pub clock: Clock,
}

/// Why a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("write the settings of the governor to {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A handle on the one governor of a cell; cheap to clone.
#[derive(Clone, Debug)]
pub struct Governor {
    shared: Arc<Shared>,
}

/// What the loop and those who ask share.
#[derive(Debug)]
struct Shared {
    config: Config,
    state: Mutex<State>,
    stopped: Mutex<bool>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rollout: Rollout,
    tenants: Tenants,
    history: History,
    /// A setting was changed, and dynos do not know yet.
    changed: bool,
}

/// One dyno's credit as people and metrics see it. CPU is in CPUs, times are in seconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Credit {
    pub id: DynoId,
    pub app: AppId,
    /// `web.1`.
    pub dyno: String,
    pub class: String,
    pub treatment: Treatment,
    /// What it may count on, and what it may use with balance.
    pub baseline: f64,
    pub cap: Option<f64>,
    pub utilization: f64,
    /// None for a class without credit.
    pub balance: Option<f64>,
    /// Whether it is held to its baseline now, or would be.
    pub held: bool,
    pub used: f64,
    pub user: f64,
    pub system: f64,
    /// Kept from running by its quota.
    pub throttled: f64,
    pub throttled_periods: u64,
    /// Kept from running by its quota or by others.
    pub steal: f64,
}

/// The loop's end; dropping it leaves the loop running.
#[derive(Debug)]
pub struct Running {
    governor: Governor,
    thread: JoinHandle<()>,
}

impl Governor {
    /// Starts the governor of an engine; it goes on where an earlier one has ended. To be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start<C: Containers>(
        config: Config,
        engine: Arc<C>,
        logs: lathe_logs::Sender,
    ) -> io::Result<(Self, Running)> {
        let state = disk::load(&config.dir);
        let (stopped, wake) = (Mutex::new(false), Condvar::new());
        let shared = Arc::new(Shared { config, state: Mutex::new(state), stopped, wake });
        let governor = Self { shared: Arc::clone(&shared) };
        let turns = turn::Loop::new(shared, engine, logs, tokio::runtime::Handle::current());
        let thread = std::thread::Builder::new().name("governor".into());
        let thread = thread.spawn(move || turns.run())?;
        Ok((governor.clone(), Running { governor, thread }))
    }

    /// Changes a setting, durably.
    ///
    /// # Errors
    /// Nothing is changed when the machine is overloaded or the setting cannot be written.
    pub fn change(&self, change: Change) -> Result<Step, ChangeError> {
        let config = &self.shared.config;
        let load = Load { percent: turn::load_percent(), limit: config.load_limit };
        let mut state = self.shared.state();
        let before = state.rollout.clone();
        let step = state.rollout.change(change, config.clock.now_ms(), load)?;
        if let Err(source) = disk::save_rollout(&config.dir, &state.rollout) {
            state.rollout = before;
            return Err(ChangeError::Write { path: config.dir.clone(), source });
        }
        state.changed = true;
        tracing::info!(scope = ?step.scope, %step, "CPU credits");
        Ok(step)
    }

    /// Every dyno that runs, or those of one app.
    pub fn credits(&self, app: Option<&AppId>) -> Vec<Credit> {
        self.shared.state().tenants.credits(app)
    }

    /// Who would have been held back for most of the last 24 hours.
    pub fn report(&self, classes: &Classes) -> Vec<Finding> {
        let now_ms = self.shared.config.clock.now_ms();
        report::report(&self.shared.state().history, classes, now_ms)
    }

    /// The settings in force, and the steps of the roll-out, the newest first.
    pub fn settings(&self) -> (Vec<(Scope, Setting)>, Vec<Step>) {
        let state = self.shared.state();
        let now_ms = self.shared.config.clock.now_ms();
        (state.rollout.in_force(now_ms), state.rollout.steps().cloned().collect())
    }
}

impl Running {
    /// Ends the loop: every dyno that is held to its credit is held to its baseline from now on.
    pub fn stop(self) {
        *self.governor.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.governor.shared.wake.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the governor has panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
