//! The labels by which a restarted cell knows its containers again.

use crate::clock::millis;
use crate::spec::{Slot, Wanted};
use std::collections::BTreeMap;
use std::time::Duration;

const SLOT: &str = "lathe.slot";
const BOOT_TIMEOUT_MS: &str = "lathe.boot-timeout-ms";
const STOP_GRACE_MS: &str = "lathe.stop-grace-ms";
const CRASHES: &str = "lathe.crashes";

/// What a slot's container carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SlotLabels {
    pub(crate) slot: Slot,
    pub(crate) boot_timeout: Duration,
    pub(crate) stop_grace: Duration,
    /// Crashes in a row before this container was started.
    pub(crate) crashes: u32,
}

impl SlotLabels {
    pub(crate) fn new(slot: &Slot, wanted: &Wanted, crashes: u32) -> Self {
        let (boot_timeout, stop_grace) = (wanted.boot_timeout, wanted.stop_grace);
        Self { slot: slot.clone(), boot_timeout, stop_grace, crashes }
    }

    pub(crate) fn write(&self) -> BTreeMap<String, String> {
        [
            (SLOT, self.slot.0.clone()),
            (BOOT_TIMEOUT_MS, millis(self.boot_timeout).to_string()),
            (STOP_GRACE_MS, millis(self.stop_grace).to_string()),
            (CRASHES, self.crashes.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// None for a container that fills no slot. Figures that do not read are Heroku's defaults:
    /// a newer cell must be able to take over from any older one.
    pub(crate) fn read(labels: &BTreeMap<String, String>) -> Option<Self> {
        let slot = Slot(labels.get(SLOT)?.clone());
        let figure = |key: &str| labels.get(key).and_then(|value| value.parse::<u64>().ok());
        Some(Self {
            slot,
            boot_timeout: Duration::from_millis(figure(BOOT_TIMEOUT_MS).unwrap_or(60_000)),
            stop_grace: Duration::from_millis(figure(STOP_GRACE_MS).unwrap_or(30_000)),
            crashes: figure(CRASHES).and_then(|n| n.try_into().ok()).unwrap_or(0),
        })
    }
}
