//! Whose processor time a burst takes: the platform's, its spawner's, the dynos' own, that of the
//! clients who measure, and what the kernel does for nobody in particular.

use super::clients::Clients;
use crate::cli::bench::figures::milliseconds;
use crate::cli::bench::machine::Machine;
use crate::cli::bench::{BenchError, groups};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who is asked.
pub(super) struct Meter {
    spawner: u32,
    /// The group above all dynos.
    dynos: PathBuf,
}

/// What each has taken by some moment.
#[derive(Clone, Copy)]
pub(super) struct Spent {
    all: Duration,
    /// Clients included.
    user: Duration,
    kernel: Duration,
    clients: Duration,
    spawner: Duration,
    dynos: Duration,
}

/// Milliseconds, for each task and dyno.
#[expect(clippy::struct_field_names, reason = "units are last, and in the report")]
#[derive(Debug, Serialize)]
pub(super) struct Bill {
    pub(super) platform_ms: f64,
    /// Of that in the kernel, what the clients had of it included.
    pub(super) platform_kernel_ms: f64,
    pub(super) spawner_ms: f64,
    pub(super) dynos_ms: f64,
    pub(super) clients_ms: f64,
    /// Of the kernel's threads and of whatever else the machine does.
    pub(super) others_ms: f64,
}

impl Meter {
    /// A platform that runs in this process has a spawner, and that has a berth ready.
    pub(super) fn new() -> Result<Self, BenchError> {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let ids = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        let spawner = ids.flat_map(groups::children).find(|child| is_spawner(*child));
        let spawner = known(spawner, "spawner")?;
        let first = groups::children(spawner).first().copied();
        let group = first.and_then(|first| groups::of(first, "cpuacct"));
        let above = group.as_deref().and_then(Path::parent).map(Path::to_owned);
        Ok(Self { spawner, dynos: known(above, "group of the dynos")? })
    }

    pub(super) fn read(&self, machine: &Machine, clients: &Clients) -> Result<Spent, BenchError> {
        let own = getrusage(UsageWho::RUSAGE_SELF).map_err(BenchError::at("see the usage"))?;
        Ok(Spent {
            all: machine.busy,
            user: duration(own.user_time()),
            kernel: duration(own.system_time()),
            clients: known(clients.spent(), "time of the clients")?,
            spawner: known(groups::cpu_of_thread(self.spawner), "time of the spawner")?,
            dynos: known(groups::cpu(&self.dynos), "time of the dynos")?,
        })
    }
}

impl Spent {
    pub(super) fn bill(&self, before: &Self, each: f64) -> Bill {
        let ms =
            |of: fn(&Self) -> Duration| milliseconds(of(self).saturating_sub(of(before))) / each;
        let own = ms(|spent| spent.user + spent.kernel);
        let (spawner_ms, dynos_ms) = (ms(|spent| spent.spawner), ms(|spent| spent.dynos));
        let clients_ms = ms(|spent| spent.clients);
        Bill {
            platform_ms: own - clients_ms,
            platform_kernel_ms: ms(|spent| spent.kernel),
            spawner_ms,
            dynos_ms,
            clients_ms,
            others_ms: ms(|spent| spent.all) - own - spawner_ms - dynos_ms,
        }
    }
}

/// A bill with somebody's share left out would give it to others.
fn known<T>(found: Option<T>, what: &str) -> Result<T, BenchError> {
    found.ok_or_else(|| BenchError::at(format!("find the {what}"))(io::ErrorKind::NotFound))
}

fn is_spawner(process: u32) -> bool {
    let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).nth(1) == Some(b"spawner".as_slice())
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
}
