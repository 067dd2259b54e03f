//! The containers that an engine has not forgotten, and what they take together: kept count of, so
//! that a start costs the same beside one dyno as beside thousands.

use super::exits::{now_ms, since_boot_ms};
use super::record::Record;
use crate::class::Demand;
use crate::containers::{Ended, Known};
use crate::spec::{DynoId, SYSTEM_APP};
use lathe_logs::AppId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

/// A container that the engine has not forgotten.
#[derive(Debug)]
pub(super) struct Dyno {
    pub(super) record: Record,
    /// 0 until it is started.
    pub(super) pid: u32,
    pub(super) state: State,
    /// A copy of the terminal's master, for its size.
    pub(super) terminal: Option<OwnedFd>,
    /// The read ends of its output, until the spawner has handed them out: a dyno that ends while
    /// there is no spawner takes all others along.
    pub(super) output: Option<[OwnedFd; 2]>,
    /// A spawner has handed them out: the next one has to know that they are being read.
    pub(super) is_read: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Starting,
    Running,
    /// It has ended, and that is not on record yet.
    Ending,
    Ended(Ended),
}

/// An app's dyno of one name. All containers of that name share its room: a new release's `web.1`
/// starts beside the old one, and takes its room and its CPUs over.
type Place = (AppId, String);

#[derive(Debug, Default)]
pub(super) struct Dynos {
    all: BTreeMap<DynoId, Dyno>,
    addresses: BTreeSet<Ipv4Addr>,
    /// Those that have not ended.
    living: HashMap<Place, BTreeSet<DynoId>>,
    promised: Demand,
    /// Those of the living that have CPUs to themselves.
    apart: BTreeSet<DynoId>,
}

impl Dynos {
    pub(super) fn get(&self, id: DynoId) -> Option<&Dyno> {
        self.all.get(&id)
    }

    pub(super) fn contains(&self, id: DynoId) -> bool {
        self.all.contains_key(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DynoId, &Dyno)> {
        self.all.iter().map(|(id, dyno)| (*id, dyno))
    }

    pub(super) fn first(&self) -> Option<DynoId> {
        self.all.keys().next().copied()
    }

    /// Addresses that are not free, also those of dynos that have ended.
    pub(super) fn addresses(&self) -> &BTreeSet<Ipv4Addr> {
        &self.addresses
    }

    pub(super) fn insert(&mut self, dyno: Dyno) {
        let id = dyno.record.id;
        self.addresses.insert(dyno.record.address);
        self.all.insert(id, dyno);
        self.enter(id);
    }

    /// It starts in another berth than the one it was given first.
    pub(super) fn relocate(&mut self, record: &Record) {
        if let Some(dyno) = self.all.get_mut(&record.id) {
            self.addresses.remove(&dyno.record.address);
            self.addresses.insert(record.address);
            dyno.record = record.clone();
        }
    }

    pub(super) fn remove(&mut self, id: DynoId) {
        self.depart(id);
        if let Some(dyno) = self.all.remove(&id) {
            self.addresses.remove(&dyno.record.address);
        }
    }

    /// Those that have not ended and whose output is being read.
    pub(super) fn read(&self) -> Vec<DynoId> {
        let read = self.iter().filter(|(_, dyno)| dyno.is_read && dyno.state == State::Running);
        read.map(|(id, _)| id).collect()
    }

    /// Changes what is known of a dyno, but not whether it lives.
    pub(super) fn change(&mut self, id: DynoId, change: impl FnOnce(&mut Dyno)) {
        if let Some(dyno) = self.all.get_mut(&id) {
            change(dyno);
        }
    }

    /// It has ended, and that is on record.
    pub(super) fn end(&mut self, id: DynoId, ended: Ended) {
        self.depart(id);
        self.change(id, |dyno| dyno.state = State::Ended(ended));
    }

    /// Everything promised but to the dyno of this name.
    pub(super) fn promised_beside(&self, app: &AppId, name: &str) -> Demand {
        self.promised.without(self.demand(&(app.clone(), name.to_owned())))
    }

    /// The CPUs of a living dyno of this name, if it has some to itself.
    pub(super) fn cpus_of(&self, app: &AppId, name: &str) -> Option<&Vec<u32>> {
        let living = self.living.get(&(app.clone(), name.to_owned()))?;
        let newest = living.last().and_then(|id| self.all.get(id))?;
        Some(&newest.record.cpus).filter(|cpus| !cpus.is_empty())
    }

    /// The CPUs that some dyno has to itself.
    pub(super) fn cpus_taken(&self) -> BTreeSet<u32> {
        let apart = self.apart.iter().filter_map(|id| self.all.get(id));
        apart.flat_map(|dyno| &dyno.record.cpus).copied().collect()
    }

    pub(super) fn living(&self) -> impl Iterator<Item = &Record> {
        let living = self.all.values().filter(|dyno| !matches!(dyno.state, State::Ended(_)));
        living.map(|dyno| &dyno.record)
    }

    fn enter(&mut self, id: DynoId) {
        let Some(dyno) = self.all.get(&id) else { return };
        if matches!(dyno.state, State::Ended(_)) {
            return;
        }
        if !dyno.record.cpus.is_empty() {
            self.apart.insert(id);
        }
        let place = place(dyno);
        self.recount(&place, |living| {
            living.insert(id);
        });
    }

    fn depart(&mut self, id: DynoId) {
        self.apart.remove(&id);
        if let Some(place) = self.all.get(&id).map(place) {
            self.recount(&place, |living| {
                living.remove(&id);
            });
        }
    }

    fn recount(&mut self, place: &Place, change: impl FnOnce(&mut BTreeSet<DynoId>)) {
        let before = self.demand(place);
        let living = self.living.entry(place.clone()).or_default();
        change(living);
        if living.is_empty() {
            self.living.remove(place);
        }
        let after = self.demand(place);
        self.promised = self.promised.without(before);
        self.promised += after;
    }

    /// What the platform itself takes is not promised to anybody: the capacity leaves it out.
    fn demand(&self, place: &Place) -> Demand {
        if place.0.as_str() == SYSTEM_APP {
            return Demand::default();
        }
        let living = self.living.get(place).into_iter().flatten();
        let dynos = living.filter_map(|id| self.all.get(id));
        dynos.fold(Demand::default(), |all, dyno| all.or(Demand::from(&dyno.record.spec.class)))
    }
}

fn place(dyno: &Dyno) -> Place {
    (dyno.record.spec.app.clone(), dyno.record.spec.name.clone())
}

impl Dyno {
    pub(super) fn known(&self) -> Known {
        let ended = match self.state {
            State::Ended(ended) => Some(ended),
            State::Starting | State::Running | State::Ending => None,
        };
        Known {
            id: self.record.id,
            pid: self.pid,
            address: self.record.address,
            labels: self.record.labels.clone(),
            spec: self.record.spec.clone(),
            started_ms: self.record.started_ms(now_ms(), since_boot_ms()),
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::spec;
    use crate::native::grants::Grants;
    use crate::native::record::Streams;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn dyno(id: u128, name: u8, memory_bytes: u64, cpus: Vec<u32>) -> Dyno {
        let mut spec = spec(&format!("worker.{name}"));
        spec.class.memory_bytes = memory_bytes;
        let record = Record {
            id: DynoId(Uuid::from_u128(id)),
            spec,
            labels: BTreeMap::new(),
            argv: None,
            grants: Grants::default(),
            mounts: Vec::new(),
            streams: Streams::Logged,
            slug: None,
            address: Ipv4Addr::from(u32::try_from(id).unwrap()),
            link: String::new(),
            berth: None,
            cpus,
            own_cpuset: None,
            resolv_conf: String::new(),
            started_ms: 0,
            started_boot_ms: None,
        };
        Dyno { record, pid: 1, state: State::Running, terminal: None, output: None, is_read: false }
    }

    proptest! {
        /// Whatever came and went: the counts are those that counting anew gives.
        #[test]
        fn what_is_counted_is_what_is_there(
            steps in proptest::collection::vec((0..12u128, 0..4u8, 1..9u64, 0..3u8), 0..80),
        ) {
            let mut dynos = Dynos::default();
            for (id, name, memory_bytes, step) in steps {
                let known = DynoId(Uuid::from_u128(id));
                match step {
                    0 if !dynos.contains(known) => {
                        let cpus = if id % 3 == 0 { vec![u32::from(name)] } else { Vec::new() };
                        dynos.insert(dyno(id, name, memory_bytes, cpus));
                    }
                    1 => dynos.end(known, Ended::default()),
                    2 => dynos.remove(known),
                    _ => {}
                }
                let mut places: BTreeMap<&str, Demand> = BTreeMap::new();
                for record in dynos.living() {
                    let demand = places.entry(record.spec.name.as_str()).or_default();
                    *demand = demand.or(Demand::from(&record.spec.class));
                }
                let promised: Demand = places.values().copied().sum();
                prop_assert_eq!(dynos.promised, promised);
                let app = AppId::new("app");
                let beside = promised.without(places.get("worker.1").copied().unwrap_or_default());
                prop_assert_eq!(dynos.promised_beside(&app, "worker.1"), beside);
                let cpus: BTreeSet<u32> =
                    dynos.living().flat_map(|record| record.cpus.clone()).collect();
                prop_assert_eq!(dynos.cpus_taken(), cpus);
                let addresses: BTreeSet<Ipv4Addr> =
                    dynos.iter().map(|(_, dyno)| dyno.record.address).collect();
                prop_assert_eq!(dynos.addresses(), &addresses);
            }
        }
    }
}
