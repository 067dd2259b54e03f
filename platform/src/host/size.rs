//! How large this machine is, and what of it may be promised to dynos.

use super::facts;
use lathe_dynos::class::{Capacity, Policy};
use std::thread::available_parallelism;

pub fn capacity(policy: Policy) -> Capacity {
    let cpus = available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(1));
    Capacity::of(facts::memory_bytes(&facts::read("/proc/meminfo")), cpus, policy)
}
