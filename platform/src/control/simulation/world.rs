//! Machines, a network, a control plane and a router, and the time that passes for all of them.

use super::super::plan::{Plan, Turn};
use super::super::slots::Place;
use super::super::snapshot::Snapshot;
use super::super::wanted;
use super::apps::{self, BAD};
use super::fleet::{Fault, Fleet};
use super::judge::Judge;
use super::network::{Letter, Network};
use crate::state::model::{Phase, ReleaseStatus};
use lathe_dynos::fake::{Dice, Machine};
use lathe_dynos::spec::Slot;
use lathe_logs::AppId;
use lathe_router::Routes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

const TICK_MS: u64 = 100;
/// Machines say how they are, and are told what is wanted, at least so often.
const HEARTBEAT_MS: u64 = 5_000;
/// The control plane decides at most so often.
const DECIDE_MS: u64 = 1_000;
/// Crashed dynos wait 16 minutes at most; everything else is over long before.
const SETTLE_MS: u64 = 30 * 60_000;

/// Fewer machines are not worth a thread.
const MANY: usize = 100;

#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) machines: usize,
    pub(super) apps: usize,
    /// Of each app.
    pub(super) dynos: u32,
}

impl Size {
    pub(super) fn all(self) -> usize {
        self.apps * usize::try_from(self.dynos).unwrap()
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) network: Network,
    pub(super) snapshot: Snapshot,
    /// None while the state is gone.
    pub(super) fleet: Option<Fleet>,
    pub(super) fault: Option<Fault>,
    plan: Option<Plan>,
    routes: Routes,
    judge: Judge,
    changed: bool,
    decide_ms: u64,
    heartbeat_ms: u64,
    reports: u64,
    silent: Option<usize>,
    pub(super) versions: u32,
}

impl World {
    pub(super) fn new(size: Size, fault: Option<Fault>, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let machine = |number: usize| {
            let mut machine = Machine::new(u32::try_from(number).unwrap(), Dice::new(dice.throw()));
            machine.bad_command = Some(BAD.to_owned());
            if let Some(Fault::Cell(fault)) = fault {
                machine.fault = Some(fault);
            }
            machine
        };
        let now_ms = 1_700_000_000_000;
        Self {
            now_ms,
            machines: (0..size.machines).map(machine).collect(),
            network: Network::new(Dice::new(seed ^ 0xae7)),
            snapshot: apps::all(size),
            fleet: Some(Fleet::new(size.machines, fault, now_ms)),
            fault,
            plan: None,
            routes: Routes::default(),
            judge: Judge::default(),
            changed: true,
            decide_ms: now_ms,
            heartbeat_ms: now_ms,
            reports: 0,
            silent: None,
            versions: 1,
        }
    }

    pub(super) fn run(&mut self, for_ms: u64) {
        // Whatever was done to it from outside.
        self.changed = true;
        let until_ms = self.now_ms + for_ms;
        while self.now_ms < until_ms {
            self.step();
        }
    }

    /// Until all is as it is wanted.
    pub(super) fn settle(&mut self) {
        let until_ms = self.now_ms + SETTLE_MS;
        let mut wrong = self.wrong();
        while wrong.is_some() {
            assert!(self.now_ms < until_ms, "never settled: {}", wrong.unwrap_or_default());
            self.run(HEARTBEAT_MS);
            wrong = self.wrong();
        }
    }

    fn step(&mut self) {
        self.now_ms = self.next_ms();
        for (machine, letter) in self.network.arrived(self.now_ms) {
            self.deliver(machine, letter);
        }
        for number in advance(&mut self.machines, self.now_ms) {
            self.report(number);
        }
        (0..self.machines.len()).for_each(|number| self.judge(number));
        if self.now_ms >= self.heartbeat_ms {
            self.heartbeat_ms = self.now_ms + HEARTBEAT_MS;
            (0..self.machines.len()).for_each(|number| self.report(number));
            self.wish(|_, _| true);
            // Time alone takes a silent machine's dynos away.
            let silent = self.fleet.as_ref().map(|fleet| fleet.silent(self.now_ms));
            self.changed |= self.silent != silent;
            self.silent = silent;
            self.see();
        }
        if self.changed && self.now_ms >= self.decide_ms {
            self.decide();
        }
    }

    /// The next tick at which anything happens.
    fn next_ms(&self) -> u64 {
        let machines = self.machines.iter().filter_map(Machine::next_ms).min();
        let decide_ms = self.changed.then_some(self.decide_ms);
        let due = [machines, self.network.next_ms(), decide_ms, Some(self.heartbeat_ms)];
        let due_ms = due.into_iter().flatten().min().unwrap_or(self.heartbeat_ms);
        due_ms.max(self.now_ms + 1).next_multiple_of(TICK_MS)
    }

    fn deliver(&mut self, machine: usize, letter: Letter) {
        match letter {
            Letter::Wish(desired) => self.machines[machine].want(desired),
            Letter::Report(number, observed) => {
                if let Some(fleet) = &mut self.fleet {
                    self.changed |= fleet.hear(machine, number, observed, self.now_ms);
                }
            }
        }
    }

    /// What a machine has done.
    fn judge(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        self.judge.machine(machine);
        for slot in machine.take_stopped() {
            let home = self.fleet.as_ref().and_then(|fleet| fleet.home(&slot));
            // A wish may be on its way that has it back.
            let wished = self.machines[number].wants(&slot);
            Judge::stopped(&slot, home == Some(number) && wished, self.plan.as_ref());
        }
    }

    fn report(&mut self, number: usize) {
        // Before its first full report a machine says nothing.
        let Some(observed) = self.machines[number].reported() else { return };
        self.reports += 1;
        let letter = Letter::Report(self.reports, observed.clone());
        self.network.send(number, &letter, self.now_ms);
    }

    fn wish(&mut self, to: impl Fn(usize, u64) -> bool) {
        let Some(fleet) = &self.fleet else { return };
        for number in 0..self.machines.len() {
            if let Some(wish) = fleet.wish(number, self.now_ms)
                && to(number, wish.generation)
            {
                self.network.send(number, &Letter::Wish(wish.clone()), self.now_ms);
            }
        }
    }

    fn decide(&mut self) {
        self.decide_ms = self.now_ms + DECIDE_MS;
        self.changed = false;
        let Some(fleet) = &mut self.fleet else { return };
        let Some(plan) = fleet.decide(&self.snapshot, self.now_ms) else { return };
        plan.turns.iter().for_each(|turn| turned(&mut self.snapshot, turn));
        self.changed = !plan.turns.is_empty() || !plan.draining.is_empty();
        let routes = Routes {
            generation: self.routes.generation + 1,
            hosts: plan.hosts.clone(),
            apps: plan.routes.clone(),
        };
        self.judge.routes(&routes, &self.routes);
        self.routes = routes;
        let newest = fleet.generation();
        self.plan = Some(plan);
        self.wish(|_, generation| generation == newest);
    }

    /// Which apps have no route and could serve, were they asked.
    fn see(&mut self) {
        let without: BTreeMap<String, u32> = self
            .snapshot
            .apps
            .iter()
            .filter_map(|state| {
                let route = self.routes.apps.get(&AppId::new(&state.app.id))?;
                let release = state.current.as_ref().filter(|_| route.targets.is_empty())?;
                Some((state.app.id.clone(), release.version))
            })
            .collect();
        let mut listening = BTreeSet::new();
        let reached = |number: &usize| !self.network.cut_off.contains(number);
        for number in (0..self.machines.len()).filter(reached).filter(|_| !without.is_empty()) {
            let machine = &self.machines[number];
            for (slot, known) in machine.running() {
                let app = Place::app_of(slot);
                let version = without.get(app).filter(|_| !listening.contains(app));
                let of_release =
                    version.is_some_and(|v| slot.0[app.len()..].starts_with(&format!("/v{v}/")));
                if of_release && machine.listens(known.id, self.now_ms) {
                    listening.insert(app.to_owned());
                }
            }
        }
        if self.fleet.is_some() {
            self.judge.unrouted(listening, self.now_ms);
        }
    }

    /// The first thing that is not as it is wanted.
    fn wrong(&self) -> Option<String> {
        if let Some(state) = self.snapshot.apps.iter().find(|state| state.candidate.is_some()) {
            return Some(format!("{} still deploys", state.app.id));
        }
        let mut wanted: HashMap<Slot, usize> = HashMap::new();
        let quantities = self.snapshot.apps.iter().flat_map(|state| &state.formation);
        let n_wanted: usize = quantities.map(|f| usize::try_from(f.quantity).unwrap()).sum();
        let n_running: usize = self.machines.iter().map(Machine::n_running).sum();
        if n_running != n_wanted {
            return Some(format!("{n_running} dynos run instead of {n_wanted}"));
        }
        for state in &self.snapshot.apps {
            let places = state.current.iter().flat_map(|release| wanted::places(state, release));
            wanted.extend(places.map(|place| (place.slot(), 0)));
        }
        for (number, machine) in self.machines.iter().enumerate() {
            for (slot, known) in machine.running() {
                match wanted.get_mut(slot) {
                    Some(n) if *n == 0 => *n += 1,
                    Some(_) => return Some(format!("{slot:?} runs twice")),
                    None => return Some(format!("{slot:?} of nobody runs on {number}")),
                }
                if known.spec.port.is_some() && !machine.listens(known.id, self.now_ms) {
                    return Some(format!("{slot:?} does not listen yet"));
                }
            }
            if machine.n_containers() != machine.n_running() {
                return Some(format!("ended containers are kept on {number}"));
            }
        }
        if let Some((slot, _)) = wanted.iter().find(|(_, n)| **n == 0) {
            return Some(format!("{slot:?} does not run"));
        }
        self.unrouted()
    }

    fn unrouted(&self) -> Option<String> {
        let alive: BTreeSet<String> = self
            .machines
            .iter()
            .flat_map(|machine| machine.running().map(|(_, known)| known.id.to_string()))
            .collect();
        self.snapshot.apps.iter().find_map(|state| {
            let id = AppId::new(&state.app.id);
            let n_web = state.formation.iter().find(|f| f.process_type == "web")?.quantity;
            let targets = &self.routes.apps.get(&id)?.targets;
            let right = targets.len() == usize::try_from(n_web).ok()?
                && targets.iter().all(|target| alive.contains(&target.dyno));
            (!right).then(|| format!("{} has {} routes of {n_web}", state.app.id, targets.len()))
        })
    }
}

/// Lets happen what is due on each machine; gives those that have news. No machine knows of another,
/// so that many do it at once.
fn advance(machines: &mut [Machine], now_ms: u64) -> Vec<usize> {
    let advance = |first: usize, machines: &mut [Machine]| -> Vec<usize> {
        let due = |machine: &Machine| machine.next_ms().is_some_and(|due_ms| due_ms <= now_ms);
        let all = machines.iter_mut().enumerate().filter(|(_, machine)| due(machine));
        all.filter_map(|(n, machine)| machine.advance(now_ms).then_some(first + n)).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = machines.len().div_ceil(threads).max(MANY);
    if machines.len() <= share {
        return advance(0, machines);
    }
    std::thread::scope(|scope| {
        let shares = machines.chunks_mut(share).enumerate();
        let shares = shares.map(|(n, machines)| scope.spawn(move || advance(n * share, machines)));
        let shares: Vec<_> = shares.collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    })
}

/// A step of a release is written down.
fn turned(snapshot: &mut Snapshot, turn: &Turn) {
    let (Turn::RunReleasePhase { app, .. }
    | Turn::BeginProbation { app, .. }
    | Turn::Promote { app, .. }
    | Turn::Fail { app, .. }) = turn
    else {
        return;
    };
    let Some(state) = snapshot.apps.iter_mut().find(|state| state.app.id == *app) else { return };
    let state = Arc::make_mut(state);
    let Some(mut candidate) = state.candidate.take() else { return };
    if matches!(turn, Turn::Promote { .. }) {
        (candidate.status, candidate.phase) = (ReleaseStatus::Succeeded, Phase::Done);
        state.current = Some(candidate);
    }
}
