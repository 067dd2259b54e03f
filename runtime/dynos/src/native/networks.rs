//! Ready networks: made ahead, because making one takes as long as all the rest of a start.

use super::address::Network;
use super::engine::Shared;
use super::network::{self, Plan};
use super::open::NativeConfig;
use super::wire::Failure;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// As many as a small app starts at once; each takes about half a megabyte of the kernel's memory.
const READY_MAX: usize = 4;

/// Addresses, and networks that have theirs already.
#[derive(Debug)]
pub(super) struct Networks {
    state: Mutex<State>,
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// The address handed out last.
    last: Ipv4Addr,
    ready: Vec<Ready>,
    /// What is being made now has an address, too.
    making: Option<Ipv4Addr>,
    closed: bool,
}

/// A network for one dyno: as planned, and laid unless none was ready.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) plan: Plan,
    namespace: Option<OwnedFd>,
}

impl Ready {
    /// The network, made now if it is not there yet.
    pub(super) fn make(self) -> Result<OwnedFd, Failure> {
        self.namespace.map_or_else(|| network::make(&self.plan), Ok)
    }
}

impl Networks {
    pub(super) fn new(last: Ipv4Addr) -> Self {
        let state = State { last, ready: Vec::new(), making: None, closed: false };
        Self { state: Mutex::new(state), wanted: Notify::new() }
    }

    /// A network for a new dyno beside those at the addresses `taken`; none when all are.
    pub(super) fn take(&self, taken: BTreeSet<Ipv4Addr>, config: &NativeConfig) -> Option<Ready> {
        let mut state = self.state();
        if !state.ready.is_empty() {
            // The oldest first: its address has been out of use for longest.
            return Some(state.ready.remove(0));
        }
        let address = state.next(taken, config.network)?;
        Some(Ready { plan: config.plan(address), namespace: None })
    }

    /// A start is over: now is the time to make what the next one wants.
    pub(super) fn refill(&self) {
        self.wanted.notify_one();
    }

    /// Takes down what no dyno has, and what is just being made, too.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.ready.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// An address that neither a dyno nor a ready network has.
    fn next(&mut self, mut taken: BTreeSet<Ipv4Addr>, block: Network) -> Option<Ipv4Addr> {
        taken.extend(self.ready.iter().map(|ready| ready.plan.address).chain(self.making));
        self.last = block.next(self.last, &taken)?;
        Some(self.last)
    }
}

/// Keeps networks ready until it is aborted.
pub(super) async fn keep_ready(shared: Arc<Shared>) {
    loop {
        let making = Arc::clone(&shared);
        match tokio::task::spawn_blocking(move || make_one(&making)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => shared.networks.wanted.notified().await,
            Ok(Err(failure)) => {
                // A start makes its own, and says it to whoever wants it.
                let error = failure.error();
                tracing::warn!(%error, step = failure.step, "no network could be made ahead");
                shared.networks.wanted.notified().await;
            }
        }
    }
}

/// Whether there was one to be made.
fn make_one(shared: &Shared) -> Result<bool, Failure> {
    let networks = &shared.networks;
    let plan = {
        let dynos = shared.dynos();
        let mut state = networks.state();
        if state.closed || state.ready.len() >= READY_MAX {
            return Ok(false);
        }
        let taken = dynos.values().map(|dyno| dyno.record.address).collect();
        let Some(address) = state.next(taken, shared.config.network) else { return Ok(false) };
        state.making = Some(address);
        shared.config.plan(address)
    };
    let made = network::make(&plan);
    let mut state = networks.state();
    state.making = None;
    let namespace = Some(made?);
    if !state.closed {
        state.ready.push(Ready { plan, namespace });
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(address: Ipv4Addr) -> Ready {
        let plan = Plan { link: String::new(), address, gateway: Ipv4Addr::LOCALHOST };
        Ready { plan, namespace: None }
    }

    #[test]
    fn a_ready_network_has_its_address_for_itself() {
        let block: Network = "10.1.2.0/24".parse().unwrap();
        let networks = Networks::new(block.gateway());
        let mut state = networks.state();
        let mut seen = BTreeSet::new();
        for turn in 0..253 {
            let address = state.next(BTreeSet::new(), block).unwrap();
            assert!(seen.insert(address), "{address} twice");
            match turn {
                0 => state.making = Some(address),
                1..=4 => state.ready.push(ready(address)),
                _ => {}
            }
        }
        // Once around: all others are free again, these are not.
        for _ in 0..248 {
            let address = state.next(BTreeSet::new(), block).unwrap();
            assert!(Some(address) != state.making);
            assert!(state.ready.iter().all(|ready| ready.plan.address != address));
        }
        assert_eq!(state.next(seen, block), None);
    }
}
