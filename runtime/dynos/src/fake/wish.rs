//! Small wishes for the fake to fulfil.

use crate::checks::Checks;
use crate::class::Class;
use crate::spec::{Desired, DynoSpec, Slot, Wanted};
use lathe_logs::AppId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A list of small dynos, one for each name: `web.…` with a port, all others without.
pub fn desired<'a>(generation: u64, names: impl IntoIterator<Item = &'a str>) -> Desired {
    let dynos = names.into_iter();
    let dynos = dynos.map(|name| (Slot(format!("v1/{name}")), Arc::new(wanted(name)))).collect();
    Desired { generation, dynos }
}

/// A small dyno of that name.
pub fn spec(name: &str) -> DynoSpec {
    let class = Class {
        name: "fake".to_owned(),
        memory_bytes: 512 << 20,
        swap_bytes: 0,
        cpu_shares: 1024,
        cpu_millis_max: None,
        credit: None,
        own_cpus: 0,
        pids_max: 256,
        disk_bytes: 1 << 20,
        price_cents: None,
    };
    DynoSpec {
        app: AppId::new("app"),
        name: name.to_owned(),
        uid: 20_000,
        stack: PathBuf::from("/nonexistent"),
        slug: None,
        command: format!("run {name}"),
        env: BTreeMap::new(),
        class,
        port: name.starts_with("web").then_some(5000),
    }
}

fn wanted(name: &str) -> Wanted {
    let (boot_timeout, stop_grace) = (Duration::from_mins(1), Duration::from_secs(30));
    let checks = Checks::default();
    Wanted { spec: spec(name), boot_timeout, stop_grace, checks, metrics: false }
}
