//! The machine's room: whether one more dyno fits, and who has which CPUs to itself.

use super::berths::BerthId;
use super::engine::{Dyno, Shared, State};
use super::record::Record;
use crate::class::{Capacity, Shortage, Want, promised_beside};
use crate::spec::DynoId;
use std::collections::{BTreeMap, BTreeSet};

type Dynos = BTreeMap<DynoId, Dyno>;

/// Decides about one more dyno, and gives the CPUs it has to itself: those of its predecessor, if
/// it has one.
pub(super) fn find(shared: &Shared, dynos: &Dynos, new: &Record) -> Result<Vec<u32>, Shortage> {
    let class = &new.spec.class;
    let place = new.spec.tenant();
    let same = |record: &&Record| {
        let (app, name, _) = record.spec.tenant();
        (app, name) == (place.0, place.1)
    };
    let inherited = living(dynos).filter(same).last().map(|record| &record.cpus);
    let inherited = inherited.filter(|cpus| !cpus.is_empty());
    let promised = promised_beside(place, living(dynos).map(|record| record.spec.tenant()));
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

pub(super) fn living(dynos: &Dynos) -> impl Iterator<Item = &Record> {
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
