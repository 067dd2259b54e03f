//! What the cell knows: every container it answers for, and what each new fact teaches it.

mod adopt;
mod begin;
mod learn;
pub(crate) mod memory;
mod metrics;

use crate::checks::{Outcome, Pulse, Vital};
use crate::containers::{Ended, Known, Usage};
use crate::output::state_line as line;
use crate::spec::{DynoId, DynoState, End, EndCause, Slot};
use lathe_logs::AppId;
use memory::Memory;
use metrics::Load;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// How often the engine is asked for everything it has, in case an event was lost.
const RELIST_MS: u64 = 30_000;
/// When the engine fails, how soon it is tried again.
pub(crate) const ENGINE_RETRY_MS: u64 = 1_000;
/// Between two looks at a dyno's memory; Heroku's log-runtime-metrics interval.
const SAMPLE_MS: u64 = 20_000;
/// The same for a dyno whose metrics are told: how many want to run changes fast, and the kernel
/// looks every five seconds, too.
const METRICS_SAMPLE_MS: u64 = 5_000;

/// The memory of the cell. Changed by `Action`s when they begin and by `Fact`s when they arrive,
/// by nothing else, and never by the passing of time.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    pub(crate) containers: BTreeMap<DynoId, Container>,
    pub(crate) places: BTreeMap<Slot, Place>,
    /// The engine has said at least once what runs. Before that nothing is started or stopped.
    pub(crate) listed: bool,
    pub(crate) list_due_ms: u64,
    /// When the list that is under way was asked for.
    pub(crate) listing_ms: Option<u64>,
    /// Forgotten since then: the answer may still name them.
    forgotten: BTreeSet<DynoId>,
    /// Slots of which something has changed since `take_touched`.
    touched: BTreeSet<Slot>,
}

/// One slot: its containers, and what outlives them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// All that were started in it and are still kept.
    pub(crate) containers: BTreeSet<DynoId>,
    /// The container that fills it, or filled it last.
    pub(crate) current: Option<DynoId>,
    pub(crate) crashes: u32,
    /// The last crash; none when the next start owes nothing to a crash.
    pub(crate) crashed_ms: Option<u64>,
    /// The engine was at fault: no start before this.
    pub(crate) not_before_ms: u64,
    pub(crate) last_end: Option<End>,
    /// The state the log named last.
    word: Option<&'static str>,
}

/// One container of one slot.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) slot: Slot,
    pub(crate) app: AppId,
    pub(crate) name: String,
    command: String,
    pub(crate) port: Option<u16>,
    pub(crate) boot_timeout: Duration,
    pub(crate) stop_grace: Duration,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) phase: Phase,
    /// Of the last change of what `state` answers.
    pub(crate) since_ms: u64,
    pub(crate) sample_due_ms: u64,
    pub(crate) sampling: bool,
    pub(crate) pulse: Pulse,
    /// When its memory is to be judged and its metrics are to be told.
    judge_due_ms: u64,
    load: Load,
    /// Found running when the cell started.
    adopted: bool,
    /// Launched then, as far as is known.
    launched_ms: u64,
    /// Known to run since then: a list asked for earlier may not have it.
    known_ms: u64,
    memory: Memory,
    /// Uses more than twice its memory: it shall be ended.
    pub(crate) vast: bool,
    /// What it said before its end.
    last_lines: Vec<String>,
    word: &'static str,
}

/// Where a container is in its life.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Phase {
    /// The engine was asked to start it and has not answered; it may even have ended already.
    Launching {
        asked_ms: u64,
        early_end: Option<Ended>,
    },
    /// The engine's answer was lost: only a list can say whether it runs.
    Doubtful {
        asked_ms: u64,
    },
    /// Runs and is not seen listening on its port yet.
    /// The boot timeout counts from `from_ms`.
    Booting {
        from_ms: u64,
        probe: Probe,
        listened: Vec<u16>,
    },
    Up {
        from_ms: u64,
    },
    /// SIGTERM was sent at `from_ms`; `resend_ms` when the engine did not take it.
    Stopping {
        from_ms: u64,
        resend_ms: Option<u64>,
    },
    /// SIGKILL was sent, last at `sent_ms`.
    Killing {
        sent_ms: u64,
        cause: EndCause,
        up_ms: Option<u64>,
        listened: Vec<u16>,
    },
    /// Ended; the engine keeps a record of it while `recorded`.
    Ended {
        at_ms: u64,
        recorded: bool,
        forget_ms: Option<u64>,
    },
}

/// Whether the port of a booting dyno has been looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    Never,
    UnderWay,
    At { ms: u64 },
}

/// What to do next. Each is begun by `Tracked::begin` and answered by one `Fact`.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Start a new container in the slot.
    Start {
        slot: Slot,
    },
    /// SIGTERM to every process.
    Terminate {
        id: DynoId,
    },
    Kill {
        id: DynoId,
        cause: EndCause,
    },
    Forget {
        id: DynoId,
    },
    /// See whether it listens, and is well.
    Probe {
        id: DynoId,
    },
    /// See whether it still is; so many failures in a row count.
    Check {
        id: DynoId,
        vital: Vital,
        failures: u32,
    },
    /// Measure what it uses; for its metrics how many of its processes want to run, too.
    Sample {
        id: DynoId,
        metrics: bool,
    },
    /// Ask the engine for everything.
    List,
}

/// What the cell has come to know.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    Started {
        id: DynoId,
        address: Ipv4Addr,
    },
    /// It does not run; `line` is Heroku's line about it when there is one.
    NotStarted {
        id: DynoId,
        reason: String,
        line: Option<String>,
    },
    /// Nobody knows whether it runs.
    StartUnanswered {
        id: DynoId,
    },
    Exited {
        id: DynoId,
        ended: Ended,
        last_lines: Vec<String>,
    },
    /// The ports it listens on, whether it is well, and whether it says that it is ready, if that was
    /// asked.
    Probed {
        id: DynoId,
        ports: Vec<u16>,
        well: bool,
        readiness: Option<Outcome>,
    },
    Checked {
        id: DynoId,
        vital: Vital,
        failures: u32,
        outcome: Outcome,
    },
    NotTerminated {
        id: DynoId,
    },
    Forgotten {
        id: DynoId,
    },
    NotForgotten {
        id: DynoId,
    },
    Sampled {
        id: DynoId,
        usage: Option<Usage>,
        /// If that was asked.
        runnable: Option<u32>,
    },
    Listed {
        known: Vec<Known>,
    },
    NotListed,
    /// Events were lost.
    Lagged,
}

impl Action {
    /// The container that is acted upon.
    fn about(&self) -> Option<DynoId> {
        match self {
            Self::Start { .. } | Self::List => None,
            Self::Terminate { id }
            | Self::Kill { id, .. }
            | Self::Forget { id }
            | Self::Probe { id }
            | Self::Check { id, .. }
            | Self::Sample { id, .. } => Some(*id),
        }
    }
}

impl Fact {
    /// The container that this teaches something of.
    fn about(&self) -> Option<DynoId> {
        match self {
            Self::Listed { .. } | Self::NotListed | Self::Lagged => None,
            Self::Started { id, .. }
            | Self::NotStarted { id, .. }
            | Self::StartUnanswered { id }
            | Self::Exited { id, .. }
            | Self::Probed { id, .. }
            | Self::Checked { id, .. }
            | Self::NotTerminated { id }
            | Self::Forgotten { id }
            | Self::NotForgotten { id }
            | Self::Sampled { id, .. } => Some(*id),
        }
    }
}

/// One line of the platform's in an app's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub app: AppId,
    pub process: String,
    pub text: String,
}

impl Container {
    pub(crate) fn state(&self) -> DynoState {
        match self.phase {
            Phase::Launching { .. } | Phase::Doubtful { .. } | Phase::Booting { .. } => {
                DynoState::Starting
            }
            Phase::Up { .. } => DynoState::Up,
            Phase::Stopping { .. } | Phase::Killing { .. } => DynoState::Stopping,
            Phase::Ended { .. } => DynoState::Crashed,
        }
    }

    pub(crate) fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    fn says(&self, text: impl Into<String>) -> Said {
        Said { app: self.app.clone(), process: self.name.clone(), text: text.into() }
    }

    fn turns(&mut self, word: &'static str) -> Said {
        let said = self.says(line::state_changed(self.word, word));
        self.word = word;
        said
    }

    /// It runs: up at once without a port, else it has to show that it listens.
    fn boots(&mut self, now_ms: u64) -> Option<Said> {
        self.known_ms = now_ms;
        if self.port.is_some() {
            let probe = Probe::Never;
            self.enters(Phase::Booting { from_ms: now_ms, probe, listened: Vec::new() }, now_ms);
            return None;
        }
        self.enters(Phase::Up { from_ms: now_ms }, now_ms);
        Some(self.turns("up"))
    }

    fn enters(&mut self, phase: Phase, now_ms: u64) {
        let before = self.state();
        self.phase = phase;
        if self.state() != before {
            self.since_ms = now_ms;
        }
    }
}

impl Place {
    /// The containers of this place, out of `all`.
    pub(crate) fn containers<'a>(
        &'a self,
        all: &'a BTreeMap<DynoId, Container>,
    ) -> impl Iterator<Item = (DynoId, &'a Container)> {
        self.containers.iter().filter_map(|id| Some((*id, all.get(id)?)))
    }
}

impl Container {
    /// Found running, and not looked at since.
    pub(crate) fn is_unseen(&self) -> bool {
        self.adopted
            && matches!(
                self.phase,
                Phase::Booting { probe: Probe::Never | Probe::UnderWay, ref listened, .. }
                    if listened.is_empty()
            )
    }
}

impl Tracked {
    /// Slots of which something has changed since this was last asked.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<Slot> {
        std::mem::take(&mut self.touched)
    }

    pub(crate) fn touch(&mut self, slot: &Slot) {
        if !self.touched.contains(slot) {
            self.touched.insert(slot.clone());
        }
    }

    /// Everything that is known is to be looked at again.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.places.keys().cloned());
    }

    fn touch_container(&mut self, id: DynoId) {
        if let Some(container) = self.containers.get(&id) {
            let slot = container.slot.clone();
            self.touched.insert(slot);
        }
    }

    fn put(&mut self, id: DynoId, container: Container) {
        self.places.entry(container.slot.clone()).or_default().containers.insert(id);
        self.containers.insert(id, container);
    }

    fn remove(&mut self, id: DynoId) {
        let Some(container) = self.containers.remove(&id) else { return };
        if let Some(place) = self.places.get_mut(&container.slot) {
            place.containers.remove(&id);
        }
    }

    /// Whether a dyno was found running in it, and not looked at since.
    pub(crate) fn is_unseen(&self, slot: &Slot) -> bool {
        let place = self.places.get(slot);
        place.is_some_and(|place| place.containers(&self.containers).any(|(_, c)| c.is_unseen()))
    }

    /// Containers whose output can be read.
    pub(crate) fn readable(&self) -> Vec<DynoId> {
        let readable = |c: &Container| match c.phase {
            Phase::Launching { .. } | Phase::Doubtful { .. } => false,
            Phase::Ended { recorded, .. } => recorded,
            _ => true,
        };
        self.containers.iter().filter(|(_, c)| readable(c)).map(|(id, _)| *id).collect()
    }

    /// The app and the dyno name of a container.
    pub(crate) fn name(&self, id: DynoId) -> Option<(&AppId, &str)> {
        self.containers.get(&id).map(|c| (&c.app, c.name.as_str()))
    }

    pub(crate) fn slot(&self, id: DynoId) -> Option<&Slot> {
        self.containers.get(&id).map(|container| &container.slot)
    }

    /// Where a container shall take connections.
    pub(crate) fn door(&self, id: DynoId) -> Option<(Ipv4Addr, u16)> {
        let container = self.containers.get(&id)?;
        Some((container.address?, container.port?))
    }

    pub(crate) fn crashes(&self, slot: &Slot) -> u32 {
        self.places.get(slot).map_or(0, |place| place.crashes)
    }

    pub(crate) fn launching(&self) -> bool {
        self.containers.values().any(|c| matches!(c.phase, Phase::Launching { .. }))
    }

    pub(crate) fn longest_grace(&self) -> Duration {
        self.containers.values().map(|c| c.stop_grace).max().unwrap_or_default()
    }

    /// Whether nothing is left to be done about any container.
    pub fn is_empty(&self) -> bool {
        self.listed && self.containers.is_empty()
    }

    /// Drops what is kept about a slot that is not wanted, as far as nothing runs in it.
    pub(crate) fn sweep(&mut self, slot: &Slot) {
        let Some(place) = self.places.get(slot) else { return };
        let unkept = |c: &Container| matches!(c.phase, Phase::Ended { recorded: false, .. });
        let gone = place.containers(&self.containers).filter(|(_, c)| unkept(c));
        for id in gone.map(|(id, _)| id).collect::<Vec<_>>() {
            self.remove(id);
        }
        if self.places.get(slot).is_some_and(|place| place.containers.is_empty()) {
            self.places.remove(slot);
        }
    }
}
