//! The governor's loop: asks what runs, reads counters, writes quotas. Nothing is decided here.

use super::credit::TICK;
use super::rollout::Load;
use super::tenants::News;
use super::{Shared, disk};
use crate::containers::{Containers, Governed};
use crate::spec::DynoId;
use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, Line, Source};
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::{Arc, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::Handle;

/// Settings and load are looked at so often.
const SECOND: Duration = Duration::from_secs(1);
/// Balances are written down so often; the counters say exactly what happened since.
const SAVE: Duration = Duration::from_secs(5);
const SAVE_HISTORY: Duration = Duration::from_mins(1);
/// New dynos that are taken in at once: a crowd must not hold up those that are there.
const MEETINGS_MAX: usize = 256;
/// Ahead of the dynos on a crowded machine.
const NICENESS: i32 = -10;

pub(super) struct Loop<C> {
    shared: Arc<Shared>,
    engine: Arc<C>,
    logs: lathe_logs::Sender,
    runtime: Handle,
    second: Duration,
    saved: Duration,
    saved_history: Duration,
}

/// However the loop ends, nobody is left with a burst that nobody accounts for.
struct MakeSafe(Arc<Shared>);

impl Drop for MakeSafe {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.tenants.make_safe();
        let state = &mut *state;
        state.tenants.note(self.0.config.clock.now_ms(), &mut state.history);
        let accounts = state.tenants.accounts();
        let kept = disk::save_accounts(&self.0.config.dir, &accounts)
            .and_then(|()| disk::save_history(&self.0.config.dir, &state.history));
        if let Err(error) = kept {
            tracing::error!(%error, "balances of CPU credit are lost");
        }
    }
}

impl<C: Containers> Loop<C> {
    pub(super) fn new(
        shared: Arc<Shared>,
        engine: Arc<C>,
        logs: lathe_logs::Sender,
        runtime: Handle,
    ) -> Self {
        let (second, saved, saved_history) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Self { shared, engine, logs, runtime, second, saved, saved_history }
    }

    pub(super) fn run(mut self) {
        let _safe = MakeSafe(Arc::clone(&self.shared));
        // It is a wish: without it decisions are later, and real time is booked anyway.
        let _granted = rustix::process::setpriority_process(None, NICENESS);
        loop {
            let began = now();
            self.turn(began);
            let pause = TICK.saturating_sub(now().saturating_sub(began));
            let stopped = self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.shared.wake.wait_timeout_while(stopped, pause, |stopped| !*stopped);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
        }
    }

    fn turn(&mut self, now: Duration) {
        let now_ms = self.shared.config.clock.now_ms();
        // An engine that does not answer is asked again; those that are known go on.
        let running = self.runtime.block_on(self.engine.running()).ok();
        let new = running.as_deref().map(|running| self.introduce(running)).unwrap_or_default();
        let mut news = News::default();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let state = &mut *state;
        if let Some(running) = &running {
            state.tenants.keep_only(running, now_ms, &mut state.history);
        }
        let mut treat = std::mem::take(&mut state.changed) || !new.is_empty();
        for (id, governed) in new {
            let setting = state.rollout.setting(&governed.app, &governed.class.name, now_ms);
            let treatment = setting.treatment(&governed.app);
            if let Err(error) = state.tenants.meet(id, governed, treatment, now) {
                tracing::debug!(%error, dyno = %id, "a dyno ended before it was governed");
            }
        }
        if now.saturating_sub(self.second) >= SECOND {
            self.second = now;
            // A trial may have ended.
            treat = true;
            let load = Load { percent: load_percent(), limit: self.shared.config.load_limit };
            let steps = state.rollout.step(now_ms, load);
            for step in &steps {
                tracing::warn!(scope = ?step.scope, %step, "CPU credits");
            }
            if !steps.is_empty()
                && let Err(error) = disk::save_rollout(&self.shared.config.dir, &state.rollout)
            {
                tracing::error!(%error, "the settings of the governor cannot be written");
            }
        }
        if treat {
            state.tenants.treat(&state.rollout, now_ms, &mut news);
            state.tenants.wills(&mut news);
        }
        state.tenants.tick(now, now_ms, &mut state.history);
        self.save(now, now_ms, state);
        self.tell(news);
    }

    /// What has to be known of dynos that are met for the first time.
    fn introduce(&self, running: &[DynoId]) -> Vec<(DynoId, Governed)> {
        let unknown = self.shared.state().tenants.unknown(running);
        let new = unknown.into_iter().take(MEETINGS_MAX);
        new.filter_map(|id| Some((id, self.runtime.block_on(self.engine.governed(id)).ok()?)))
            .collect()
    }

    fn save(&mut self, now: Duration, now_ms: u64, state: &mut super::State) {
        let dir = &self.shared.config.dir;
        let mut saved = Ok(());
        if now.saturating_sub(self.saved) >= SAVE {
            self.saved = now;
            saved = disk::save_accounts(dir, &state.tenants.accounts());
        }
        if now.saturating_sub(self.saved_history) >= SAVE_HISTORY {
            self.saved_history = now;
            state.history.sweep(now_ms);
            saved = saved.and_then(|()| disk::save_history(dir, &state.history));
        }
        if let Err(error) = saved {
            tracing::error!(%error, "balances of CPU credit cannot be written");
        }
    }

    fn tell(&self, news: News) {
        for (id, will) in news.wills {
            let agreed = self.runtime.block_on(self.engine.when_gone(id, will));
            if let Err(error) = agreed {
                tracing::debug!(%error, dyno = %id, "the engine does not know what to do without us");
            }
        }
        for (app, process, text) in news.said {
            self.say(app, &process, text);
        }
    }

    fn say(&self, app: AppId, process: &str, text: String) {
        self.logs.send(Line {
            app,
            time: Timestamp::now(),
            source: Source::Heroku,
            process: Arc::from(process),
            text: Bytes::from(text),
        });
    }
}

/// Since the machine's start; a restart of ours does not change it.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The load average of the last minute, in hundredths for each CPU.
pub(super) fn load_percent() -> u32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpus = available_parallelism().map_or(1, std::num::NonZero::get);
    load_of(&text, cpus)
}

fn load_of(loadavg: &str, cpus: usize) -> u32 {
    let (whole, hundredths) =
        loadavg.split(' ').next().and_then(|t| t.split_once('.')).unwrap_or_default();
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    let percent = (number(whole) * 100 + number(hundredths)) / cpus.max(1);
    u32::try_from(percent).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_counted_for_each_cpu() {
        for (text, cpus, percent) in
            [("8.24 9.44 8.88 3/400 1", 2, 412), ("0.05 0 0", 1, 5), ("", 4, 0)]
        {
            assert_eq!(load_of(text, cpus), percent);
        }
    }
}
