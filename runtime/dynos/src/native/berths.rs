//! Berths: all of a dyno that can be made before it is known whose it will be, because making it
//! takes longer than all the rest of a start.

use super::address::Network;
use super::cgroup::Membership;
use super::engine::Shared;
use super::network::{self, Plan};
use super::open::NativeConfig;
use super::record::Record;
use super::wire::{Answer, Failure, Order};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// As many as a small app starts at once; each takes about a megabyte of memory, most of it the
/// kernel's.
const READY_MAX: usize = 4;

/// After one that could not be made ahead.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The name of a berth, and of its control groups. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct BerthId(pub(crate) Uuid);

impl fmt::Display for BerthId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place for one dyno.
#[derive(Debug)]
pub(super) struct Berth {
    pub(super) id: BerthId,
    pub(super) plan: Plan,
    /// None while only its name and its address are taken.
    pub(super) made: Option<Made>,
}

/// What a berth consists of.
#[derive(Debug)]
pub(super) struct Made {
    network: OwnedFd,
    groups: Membership,
    /// A first process waits in it, or has.
    pub(super) manned: bool,
}

/// Addresses, and berths that have theirs already.
#[derive(Debug)]
pub(super) struct Berths {
    state: Mutex<State>,
    wanted: Notify,
    /// Held while one is made ahead, which nobody can interrupt.
    busy: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// The address handed out last.
    last: Ipv4Addr,
    ready: Vec<Berth>,
    /// What is being made now has an address, too.
    making: Option<Ipv4Addr>,
    closed: bool,
}

impl Berths {
    pub(super) fn new(last: Ipv4Addr) -> Self {
        let state = State { last, ready: Vec::new(), making: None, closed: false };
        Self { state: Mutex::new(state), wanted: Notify::new(), busy: Mutex::default() }
    }

    /// A berth for a new dyno beside those at the addresses `taken`; none when all are.
    pub(super) fn take(&self, taken: &BTreeSet<Ipv4Addr>, config: &NativeConfig) -> Option<Berth> {
        let mut state = self.state();
        if !state.ready.is_empty() {
            // The oldest first: its address has been out of use for longest.
            return Some(state.ready.remove(0));
        }
        let address = state.next(taken, config.network, network::is_taken)?;
        Some(Berth::at(config.plan(address)))
    }

    /// A start is over: now is the time to make what the next one wants.
    pub(super) fn refill(&self) {
        self.wanted.notify_one();
    }

    /// Gives up what no dyno has, and what is just being made, too. The control groups are left,
    /// and the first processes, which end with the spawner.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.ready.clear();
    }

    /// Waits until nothing more is made after `close`.
    pub(super) fn settle(&self) {
        drop(self.busy.lock());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// An address that neither a dyno nor a ready berth has, nor anybody else of this machine.
    fn next(
        &mut self,
        taken: &BTreeSet<Ipv4Addr>,
        block: Network,
        is_elsewhere: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let mine = |address| {
            taken.contains(&address)
                || self.making == Some(address)
                || self.ready.iter().any(|ready| ready.plan.address == address)
        };
        self.last = block.next(self.last, |address| mine(address) || is_elsewhere(address))?;
        Some(self.last)
    }
}

impl Berth {
    /// Has a dyno start here.
    pub(super) fn house(&self, record: &mut Record) {
        record.berth = Some(self.id);
        record.address = self.plan.address;
        record.link.clone_from(&self.plan.link);
    }

    fn at(plan: Plan) -> Self {
        Self { id: BerthId(Uuid::new_v4()), plan, made: None }
    }

    /// Makes what is not made yet. After an error no control group is left.
    pub(super) fn make(&mut self, shared: &Shared) -> Result<(), Failure> {
        if self.made.is_some() {
            return Ok(());
        }
        let network = network::make(&self.plan)?;
        let mut groups = shared
            .cgroups
            .of(self.id)
            .create()
            .map_err(Failure::at(format!("make control groups {}", self.id)))?;
        groups.v1.extend(shared.cpusets.shared());
        self.made = Some(Made { network, groups, manned: false });
        Ok(())
    }
}

impl Made {
    /// Has the spawner put a first process into the berth.
    pub(super) async fn man(&mut self, shared: &Shared, berth: BerthId) -> Result<(), Failure> {
        let order = Order::Prepare(berth, self.groups.clone());
        let link = shared.link().await.map_err(|_| super::link::gone())?;
        let (answer, _) = link.ask(order, std::slice::from_ref(&self.network)).await?;
        if let Answer::Failed(failure) = answer {
            return Err(failure);
        }
        self.manned = true;
        Ok(())
    }
}

/// Keeps berths ready until it is aborted.
pub(super) async fn keep_ready(shared: Arc<Shared>) {
    let mut pause = PAUSE_MIN;
    loop {
        match make_ready(&shared).await {
            Ok(true) => pause = PAUSE_MIN,
            Ok(false) => shared.berths.wanted.notified().await,
            // Another platform's, since it was chosen: the next one is another.
            Err(failure) if failure.errno == libc::EEXIST && pause == PAUSE_MIN => pause *= 2,
            Err(failure) => {
                // A start makes its own, and says it to whoever wants it.
                let error = failure.error();
                tracing::warn!(%error, step = failure.step, "no berth could be made ahead");
                drop(tokio::time::timeout(pause, shared.berths.wanted.notified()).await);
                pause = PAUSE_MAX.min(pause * 2);
            }
        }
    }
}

/// Whether there was one to be made.
async fn make_ready(shared: &Arc<Shared>) -> Result<bool, Failure> {
    let Some(mut berth) = shared.plan_one() else { return Ok(false) };
    let making = Arc::clone(shared);
    let made = tokio::task::spawn_blocking(move || {
        let _busy = making.berths.busy.lock();
        if making.berths.state().closed { Err(interrupted()) } else { berth.make(&making) }?;
        Ok(berth)
    });
    let made = made.await.unwrap_or_else(|_| Err(interrupted()));
    let manned = match made {
        Ok(berth) => man_ready(shared, berth).await,
        Err(failure) => Err(failure),
    };
    let mut state = shared.berths.state();
    state.making = None;
    let berth = manned?;
    if !state.closed {
        state.ready.push(berth);
    }
    Ok(true)
}

async fn man_ready(shared: &Arc<Shared>, mut berth: Berth) -> Result<Berth, Failure> {
    let manned = match &mut berth.made {
        Some(made) => made.man(shared, berth.id).await,
        None => Ok(()),
    };
    if manned.is_err() {
        let (clearing, id) = (Arc::clone(shared), berth.id);
        // The failure is what is to be told; an engine that opens later removes what is left.
        drop(tokio::task::spawn_blocking(move || clearing.cgroups.of(id).remove()).await);
    }
    manned.map(|()| berth)
}

impl Shared {
    /// The next berth to be made ahead, if one is wanted.
    fn plan_one(&self) -> Option<Berth> {
        let dynos = self.dynos();
        let mut state = self.berths.state();
        if state.closed || state.ready.len() >= READY_MAX {
            return None;
        }
        let address = state.next(dynos.addresses(), self.config.network, network::is_taken)?;
        state.making = Some(address);
        Some(Berth::at(self.config.plan(address)))
    }
}

fn interrupted() -> Failure {
    Failure { step: "make a berth".to_owned(), errno: libc::EINTR }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(address: Ipv4Addr) -> Berth {
        Berth::at(Plan { link: String::new(), address, gateway: Ipv4Addr::LOCALHOST })
    }

    #[test]
    fn a_ready_berth_has_its_address_for_itself() {
        let block: Network = "10.1.2.0/24".parse().unwrap();
        let berths = Berths::new(block.gateway());
        let mut state = berths.state();
        let mut seen = BTreeSet::new();
        for turn in 0..253 {
            let address = state.next(&BTreeSet::new(), block, |_| false).unwrap();
            assert!(seen.insert(address), "{address} twice");
            match turn {
                0 => state.making = Some(address),
                1..=4 => state.ready.push(ready(address)),
                _ => {}
            }
        }
        // Once around: all others are free again, these are not.
        for _ in 0..248 {
            let address = state.next(&BTreeSet::new(), block, |_| false).unwrap();
            assert!(Some(address) != state.making);
            assert!(state.ready.iter().all(|ready| ready.plan.address != address));
        }
        assert_eq!(state.next(&seen, block, |_| false), None);
        assert_eq!(state.next(&BTreeSet::new(), block, |address| seen.contains(&address)), None);
    }
}
