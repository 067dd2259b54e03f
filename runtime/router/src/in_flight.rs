//! Which dynos have requests: so that whoever stops a dyno can let it finish them first.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests and tunnels per dyno identity. Cheap to clone; all clones are the same count, which
/// goes on counting after the dyno has left the table.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

/// One request at one dyno; over when dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    dyno: String,
    counts: InFlight,
}

impl InFlight {
    /// The identities of the dynos that have at least one request.
    pub fn dynos(&self) -> BTreeSet<String> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn enter(&self, dyno: &str) -> Visit {
        *self.lock().entry(dyno.to_owned()).or_default() += 1;
        Visit { dyno: dyno.to_owned(), counts: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.dyno) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.dyno);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dyno_is_busy_until_its_last_visit_ends() {
        let in_flight = InFlight::default();
        let first = in_flight.enter("a");
        let second = in_flight.clone().enter("a");
        drop(first);
        assert_eq!(in_flight.dynos(), BTreeSet::from(["a".to_owned()]));
        drop(second);
        assert!(in_flight.dynos().is_empty());
    }
}
