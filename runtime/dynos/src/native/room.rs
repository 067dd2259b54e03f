//! The machine's room: whether one more dyno fits, and who has which CPUs to itself.

use super::berths::BerthId;
use super::engine::{Dyno, Shared, State};
use super::record::Record;
use crate::class::{Capacity, Demand, Shortage, Want};
use crate::spec::{DynoId, SYSTEM_APP};
use std::collections::{BTreeMap, BTreeSet, HashMap};

type Dynos = BTreeMap<DynoId, Dyno>;

/// Decides about one more dyno, and gives the CPUs it has to itself.
///
/// Dynos of one app and one name are one place: a new release's `web.1` starts beside the old
/// one, and takes its room and its CPUs over.
pub(super) fn find(shared: &Shared, dynos: &Dynos, new: &Record) -> Result<Vec<u32>, Shortage> {
    if is_ours(new) {
        return Ok(Vec::new());
    }
    let class = &new.spec.class;
    let mut places: HashMap<(&str, &str), Demand> = HashMap::new();
    let mut inherited = None;
    for record in living(dynos).filter(|record| !is_ours(record)) {
        let place = (record.spec.app.as_str(), record.spec.name.as_str());
        if place == (new.spec.app.as_str(), new.spec.name.as_str()) {
            inherited = Some(&record.cpus).filter(|cpus| !cpus.is_empty());
            continue;
        }
        let demand = places.entry(place).or_default();
        *demand = demand.or(Demand::from(&record.spec.class));
    }
    let promised: Demand = places.values().copied().sum();
    let capacity = capacity(shared);
    capacity.admit(&promised, class)?;
    let wanted = usize::try_from(class.own_cpus).unwrap_or(usize::MAX);
    if let Some(cpus) = inherited.filter(|cpus| cpus.len() == wanted) {
        return Ok(cpus.clone());
    }
    // A dyno that was larger before has more than its successor, and holds it until it ends.
    shared.cpusets.pick(&taken(dynos), class.own_cpus).ok_or_else(|| Shortage {
        class: class.name.clone(),
        want: Want::OwnCpus,
        wanted: class.own_cpus.into(),
        promised: promised.own_cpus.into(),
        total: capacity.own_cpus.into(),
    })
}

/// As configured, but no more CPUs are set aside than the kernel lets us.
fn capacity(shared: &Shared) -> Capacity {
    let capacity = shared.config.capacity;
    Capacity { own_cpus: capacity.own_cpus.min(shared.cpusets.count()), ..capacity }
}

/// What the platform itself takes is not promised to anybody: the capacity leaves it out.
fn is_ours(record: &Record) -> bool {
    record.spec.app.as_str() == SYSTEM_APP
}

fn living(dynos: &Dynos) -> impl Iterator<Item = &Record> {
    dynos.values().filter(|dyno| !matches!(dyno.state, State::Ended(_))).map(|dyno| &dyno.record)
}

/// The CPUs that some dyno has to itself.
pub(super) fn taken(dynos: &Dynos) -> BTreeSet<u32> {
    living(dynos).flat_map(|record| &record.cpus).copied().collect()
}

/// Lets those that share their CPUs run where nobody is by himself. To be called when that has
/// changed.
pub(super) fn part(shared: &Shared) {
    // Under the lock, so that the last to write knows best.
    let dynos = shared.dynos();
    let sharing: Vec<BerthId> =
        living(&dynos).filter(|record| record.cpus.is_empty()).map(Record::group).collect();
    if let Err(error) = shared.cpusets.share(&taken(&dynos), &sharing) {
        tracing::error!(%error, "CPUs cannot be set aside: others run on them too");
    }
}
