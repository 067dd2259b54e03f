//! The machine's room: whether one more dyno fits, and who has which CPUs to itself.

use super::berths::BerthId;
use super::dynos::Dynos;
use super::engine::Shared;
use super::record::Record;
use crate::class::{Capacity, Shortage, Want};
use crate::spec::SYSTEM_APP;

/// Decides about one more dyno, and gives the CPUs it has to itself. Dynos of one app and one name are
/// one place.
pub(super) fn find(shared: &Shared, dynos: &Dynos, new: &Record) -> Result<Vec<u32>, Shortage> {
    if new.spec.app.as_str() == SYSTEM_APP {
        return Ok(Vec::new());
    }
    let (class, app, name) = (&new.spec.class, &new.spec.app, new.spec.name.as_str());
    let promised = dynos.promised_beside(app, name);
    let capacity = capacity(shared);
    capacity.admit(&promised, class)?;
    let wanted = usize::try_from(class.own_cpus).unwrap_or(usize::MAX);
    if let Some(cpus) = dynos.cpus_of(app, name).filter(|cpus| cpus.len() == wanted) {
        return Ok(cpus.clone());
    }
    // A dyno that was larger before has more than its successor, and holds it until it ends.
    shared.cpusets.pick(&dynos.cpus_taken(), class.own_cpus).ok_or_else(|| Shortage {
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

/// Lets those that share their CPUs run where nobody is by himself. To be called when that has
/// changed.
pub(super) fn part(shared: &Shared) {
    // Under the lock, so that the last to write knows best.
    let dynos = shared.dynos();
    let sharing: Vec<BerthId> =
        dynos.living().filter(|record| record.cpus.is_empty()).map(Record::group).collect();
    if let Err(error) = shared.cpusets.share(&dynos.cpus_taken(), &sharing) {
        tracing::error!(%error, "CPUs cannot be set aside: others run on them too");
    }
}
