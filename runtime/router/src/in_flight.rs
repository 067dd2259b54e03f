//! Which dynos have requests: so that whoever stops a dyno can let it finish them first.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests and tunnels per dyno identity. Cheap to clone; all clones are the same count, which
/// goes on counting after the dyno has left the table.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    counters: Arc<Mutex<HashMap<String, Counter>>>,
}

/// The requests of one dyno; whoever hands it requests keeps a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicUsize>);

/// One request at one dyno; over when dropped.
#[derive(Debug)]
pub(crate) struct Visit(Counter);

impl InFlight {
    /// The identities of the dynos that have at least one request.
    pub fn dynos(&self) -> BTreeSet<String> {
        let mut counters = self.lock();
        counters.retain(|_, counter| counter.is_used());
        let busy = counters.iter().filter(|(_, counter)| counter.count() > 0);
        busy.map(|(dyno, _)| dyno.clone()).collect()
    }

    pub(crate) fn of(&self, dyno: &str) -> Counter {
        self.lock().entry(dyno.to_owned()).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Counter>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counter {
    pub(crate) fn enter(&self) -> Visit {
        self.0.fetch_add(1, Ordering::AcqRel);
        Visit(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Whether somebody else has it: the dyno's place in a table, or a request.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dyno_is_busy_until_its_last_visit_ends() {
        let in_flight = InFlight::default();
        let first = in_flight.of("a").enter();
        let second = in_flight.clone().of("a").enter();
        drop(first);
        assert_eq!(in_flight.dynos(), BTreeSet::from(["a".to_owned()]));
        drop(second);
        assert!(in_flight.dynos().is_empty());
    }

    #[test]
    fn a_dyno_that_is_gone_is_forgotten_and_one_that_is_there_is_not() {
        let in_flight = InFlight::default();
        let (there, gone) = (in_flight.of("there"), in_flight.of("gone"));
        drop(gone);
        assert!(in_flight.dynos().is_empty());
        assert_eq!(in_flight.lock().len(), 1);
        let _visit = there.enter();
        assert_eq!(in_flight.dynos(), BTreeSet::from(["there".to_owned()]));
    }
}
