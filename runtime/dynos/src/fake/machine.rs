//! A machine and its cell under given time: containers in memory, and the cell's own decisions
//! about them.

use super::dice::Dice;
use crate::cell::label::SlotLabels;
use crate::checks::Outcome;
use crate::containers::{Ended, Known};
use crate::mind::Mind;
use crate::spec::{Desired, DynoId, Observed, Slot};
use crate::tracked::{Action, Fact};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::Ipv4Addr;
use std::sync::Arc;
use uuid::Uuid;

/// From start to listening; from SIGTERM to the end.
const BOOT_MS: u64 = 400;
const OBEY_MS: u64 = 200;
/// An engine's answer, and the word of an end.
const ANSWER_MS: u64 = 5;
/// Rounds of deciding at one moment, as in the cell's loop.
const ROUNDS_MAX: usize = 4;
/// A call that nobody answers is given up after this.
const CALL_TIMEOUT_MS: u64 = 10_000;

/// How the engine treats its calls, in percent of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Nothing is done.
    pub refuses: u64,
    /// It is done, and nobody hears of it; an end likewise.
    pub forgets: u64,
    /// It takes up to so long.
    pub delays_ms: u64,
}

/// One machine. Time passes in `advance` only.
#[derive(Debug)]
pub struct Machine {
    number: u32,
    dice: Dice,
    pub weather: Weather,
    /// Whatever is wanted of these commands never listens.
    pub bad_command: Option<String>,
    /// A fault that is planted into what its cell decides, to see whether it is found.
    pub fault: Option<fn(&mut Vec<Action>)>,
    mind: Mind,
    reported: Option<Arc<Observed>>,
    containers: BTreeMap<DynoId, Container>,
    /// What runs in each slot.
    running: BTreeMap<Slot, BTreeSet<DynoId>>,
    to_come: BTreeMap<(u64, u64), Event>,
    events: u64,
    starts: u32,
    wake_ms: Option<u64>,
    stopped: Vec<Slot>,
    begun: Vec<DynoId>,
}

#[derive(Debug)]
struct Container {
    slot: Slot,
    known: Known,
    listens_ms: Option<u64>,
}

#[derive(Debug)]
enum Event {
    End(DynoId, u8),
    Learn(Fact),
}

impl Machine {
    /// The number makes its addresses and identities its own.
    pub fn new(number: u32, dice: Dice) -> Self {
        Self {
            number,
            dice,
            weather: Weather::default(),
            bad_command: None,
            fault: None,
            mind: Mind::new(Arc::default()),
            reported: None,
            containers: BTreeMap::new(),
            running: BTreeMap::new(),
            to_come: BTreeMap::new(),
            events: 0,
            starts: 0,
            wake_ms: Some(0),
            stopped: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// Takes over a complete list, unless it is older than the one it has.
    pub fn want(&mut self, desired: Arc<Desired>) {
        if desired.generation > self.mind.desired().generation {
            self.mind.want(desired);
            self.wake_ms = Some(0);
        }
    }

    /// When something happens next by itself.
    pub fn next_ms(&self) -> Option<u64> {
        let event = self.to_come.first_key_value().map(|((due_ms, _), _)| *due_ms);
        [event, self.wake_ms].into_iter().flatten().min()
    }

    /// Lets happen what is due, and decides. True when there is news to report.
    pub fn advance(&mut self, now_ms: u64) -> bool {
        while let Some(entry) = self.to_come.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            match entry.remove() {
                Event::End(id, status) => self.end(id, status, now_ms),
                Event::Learn(fact) => {
                    self.mind.learn(fact, now_ms);
                }
            }
        }
        for _ in 0..ROUNDS_MAX {
            let mut plan = self.mind.decide(now_ms);
            if let Some(fault) = self.fault {
                fault(&mut plan.actions);
            }
            self.wake_ms = plan.wake_ms;
            if plan.actions.is_empty() {
                break;
            }
            plan.actions.into_iter().for_each(|action| self.act(action, now_ms));
        }
        let Some(news) = self.mind.report() else { return false };
        self.reported = Some(Arc::new(news));
        true
    }

    /// What it has reported last; none before the first time.
    pub fn reported(&self) -> Option<&Arc<Observed>> {
        self.reported.as_ref()
    }

    /// Whether its own wish, the newest that has arrived, has this slot.
    pub fn wants(&self, slot: &Slot) -> bool {
        self.mind.wanted(slot).is_some()
    }

    /// What runs in truth, whatever anybody knows.
    pub fn running(&self) -> impl Iterator<Item = (&Slot, &Known)> {
        let running =
            self.running.iter().flat_map(|(slot, ids)| ids.iter().map(move |id| (slot, id)));
        running.filter_map(|(slot, id)| Some((slot, &self.containers.get(id)?.known)))
    }

    /// How many run in truth.
    pub fn n_running(&self) -> usize {
        self.running.values().map(BTreeSet::len).sum()
    }

    /// How many run in truth in one slot.
    pub fn n_running_in(&self, slot: &Slot) -> usize {
        self.running.get(slot).map_or(0, BTreeSet::len)
    }

    /// Whether a request to it would be answered.
    pub fn listens(&self, id: DynoId, now_ms: u64) -> bool {
        self.containers.get(&id).is_some_and(|c| {
            c.known.ended.is_none() && c.listens_ms.is_some_and(|from_ms| from_ms <= now_ms)
        })
    }

    /// Containers that are kept, ended ones too.
    pub fn n_containers(&self) -> usize {
        self.containers.len()
    }

    /// The slots of the dynos that it has told to end since it was last asked.
    pub fn take_stopped(&mut self) -> Vec<Slot> {
        mem::take(&mut self.stopped)
    }

    /// Whose dynos have begun to run in which slots since it was last asked.
    pub fn take_begun(&mut self) -> Vec<(Slot, Known)> {
        let begun = mem::take(&mut self.begun).into_iter();
        let container = |id| self.containers.get(&id);
        begun.filter_map(container).map(|c| (c.slot.clone(), c.known.clone())).collect()
    }

    /// One of the dynos ends by itself.
    pub fn crash_one(&mut self, now_ms: u64) {
        let ids: Vec<DynoId> = self.running().map(|(_, known)| known.id).collect();
        if let Some(id) = self.dice.pick(&ids).copied() {
            self.schedule(now_ms, Event::End(id, 1));
        }
    }

    /// The cell is killed and comes back: it has its last-good record, and nothing else.
    pub fn restart_cell(&mut self) {
        self.mind = Mind::new(self.mind.desired().clone());
        self.to_come.retain(|_, event| matches!(event, Event::End(..)));
        self.reported = None;
        self.wake_ms = Some(0);
    }

    /// The plug is pulled: no container is left, and no record of one.
    pub fn reboot(&mut self) {
        self.containers.clear();
        self.running.clear();
        self.begun.clear();
        self.to_come.clear();
        self.restart_cell();
    }

    fn schedule(&mut self, due_ms: u64, event: Event) {
        self.events += 1;
        self.to_come.insert((due_ms, self.events), event);
    }

    fn end(&mut self, id: DynoId, status: u8, now_ms: u64) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if container.known.ended.is_some() {
            return;
        }
        let ended = Ended { status, at_ms: now_ms, ..Ended::default() };
        container.known.ended = Some(ended);
        if let Some(ids) = self.running.get_mut(&container.slot) {
            ids.remove(&id);
            if ids.is_empty() {
                self.running.remove(&container.slot);
            }
        }
        if !self.dice.chance(self.weather.forgets) {
            let fact = Fact::Exited { id, ended, last_lines: Vec::new() };
            self.answer(fact, now_ms);
        }
    }

    fn answer(&mut self, fact: Fact, now_ms: u64) {
        let delay_ms = ANSWER_MS + self.dice.below(self.weather.delays_ms);
        self.schedule(now_ms + delay_ms, Event::Learn(fact));
    }

    fn act(&mut self, action: Action, now_ms: u64) {
        let refused = self.dice.chance(self.weather.refuses);
        let unanswered = self.dice.chance(self.weather.forgets);
        if let Action::Start { slot } = action {
            return self.start(&slot, refused, unanswered, now_ms);
        }
        self.mind.begin(&action, now_ms);
        let fact = if refused { silence(&action) } else { self.obey(&action, now_ms) };
        match fact {
            Some(_) if unanswered => {
                if let Some(fact) = silence(&action) {
                    self.schedule(now_ms + CALL_TIMEOUT_MS, Event::Learn(fact));
                }
            }
            Some(fact) => self.answer(fact, now_ms),
            None => {}
        }
    }

    fn start(&mut self, slot: &Slot, refused: bool, unanswered: bool, now_ms: u64) {
        let Some(wanted) = self.mind.wanted(slot).cloned() else { return };
        self.starts += 1;
        let id = DynoId(Uuid::from_u128(u128::from(self.number) << 64 | u128::from(self.starts)));
        let address = Ipv4Addr::from(0x0A00_0000 + (self.number << 12) + self.starts % 4096);
        let crashes = self.mind.tracked().crashes(slot);
        self.mind.begin_start(id, slot, &wanted, now_ms);
        if !refused {
            let bad = self.bad_command.as_ref().is_some_and(|bad| *bad == wanted.spec.command);
            let listens_ms = (wanted.spec.port.is_some() && !bad).then_some(now_ms + BOOT_MS);
            let known = Known {
                id,
                pid: self.starts,
                address,
                labels: SlotLabels::new(slot, &wanted, crashes).write(),
                spec: wanted.spec.clone(),
                started_ms: now_ms,
                ended: None,
            };
            let container = Container { slot: slot.clone(), known, listens_ms };
            let before = self.containers.insert(id, container);
            assert!(before.is_none(), "{id} was started twice");
            self.running.entry(slot.clone()).or_default().insert(id);
            self.begun.push(id);
        }
        if refused || unanswered {
            self.schedule(now_ms + ANSWER_MS, Event::Learn(Fact::StartUnanswered { id }));
        } else {
            self.answer(Fact::Started { id, address }, now_ms);
        }
    }

    /// Does it, and says what there is to learn from that.
    fn obey(&mut self, action: &Action, now_ms: u64) -> Option<Fact> {
        match action {
            Action::Start { .. } => None,
            Action::Terminate { id } | Action::Kill { id, .. } => {
                let obeys = matches!(action, Action::Terminate { .. });
                if let Some(container) = self.containers.get(id) {
                    self.stopped.push(container.slot.clone());
                    let (after_ms, status) = if obeys { (OBEY_MS, 143) } else { (0, 137) };
                    self.schedule(now_ms + after_ms, Event::End(*id, status));
                }
                None
            }
            Action::Forget { id } => {
                self.containers.remove(id);
                Some(Fact::Forgotten { id: *id })
            }
            Action::Probe { id } => {
                let well = self.listens(*id, now_ms);
                let port = self.containers.get(id).and_then(|c| c.known.spec.port);
                let ports = port.filter(|_| well).into_iter().collect();
                Some(Fact::Probed { id: *id, ports, well, readiness: None })
            }
            Action::Check { id, vital, failures } => {
                let (id, vital, failures) = (*id, *vital, *failures);
                let well = self.listens(id, now_ms);
                let outcome =
                    if well { Outcome::Well } else { Outcome::Failed("it is gone".to_owned()) };
                Some(Fact::Checked { id, vital, failures, outcome })
            }
            Action::Sample { id, .. } => {
                Some(Fact::Sampled { id: *id, usage: None, runnable: None })
            }
            Action::List => {
                let known = self.containers.values().map(|c| c.known.clone()).collect();
                Some(Fact::Listed { known })
            }
        }
    }
}

/// What is known of an action that has no answer.
fn silence(action: &Action) -> Option<Fact> {
    crate::cell::perform::unanswered(action)
}
