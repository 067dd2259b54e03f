//! The kernel's files of one dyno: read and written by descriptors that stay open.

use super::ledger::PERIOD_US;
use crate::containers::CpuGroup;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// More than a counter or a `cpu.stat` ever has.
const FILE_BYTES_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Gauge {
    usage: File,
    quota: File,
    version: Version,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    One,
    Two,
}

impl Gauge {
    pub(super) fn open(group: &CpuGroup) -> io::Result<Self> {
        let (usage, quota, version) = match group {
            CpuGroup::V1 { cpu, cpuacct } => {
                (cpuacct.join("cpuacct.usage"), cpu.join("cpu.cfs_quota_us"), Version::One)
            }
            CpuGroup::V2(group) => (group.join("cpu.stat"), group.join("cpu.max"), Version::Two),
        };
        let quota = OpenOptions::new().write(true).open(quota)?;
        Ok(Self { usage: File::open(usage)?, quota, version })
    }

    /// CPU time since the dyno's start. What a hypervisor took is not in it.
    pub(super) fn used(&self) -> io::Result<Duration> {
        let mut bytes = [0; FILE_BYTES_MAX];
        let length = self.usage.read_at(&mut bytes, 0)?;
        let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
        let used = match self.version {
            Version::One => text.trim().parse().ok().map(Duration::from_nanos),
            Version::Two => {
                let value = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
                value.and_then(|value| value.parse().ok()).map(Duration::from_micros)
            }
        };
        used.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// One write, as the kernel's files want it.
    pub(super) fn set_quota(&self, quota_us: u64) -> io::Result<()> {
        let text = quota_text(self.version, quota_us);
        let written = self.quota.write_at(text.as_bytes(), 0)?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn quota_text(version: Version, quota_us: u64) -> String {
    match version {
        Version::One => quota_us.to_string(),
        Version::Two => format!("{quota_us} {PERIOD_US}"),
    }
}

/// What has to be written, and where, so that a dyno is held to `quota_us` when nobody else can:
/// for whoever outlives the governor.
pub(super) fn safe_quota(group: &CpuGroup, quota_us: u64) -> (std::path::PathBuf, String) {
    match group {
        CpuGroup::V1 { cpu, .. } => {
            (cpu.join("cpu.cfs_quota_us"), quota_text(Version::One, quota_us))
        }
        CpuGroup::V2(group) => (group.join("cpu.max"), quota_text(Version::Two, quota_us)),
    }
}

/// The quota of a group, microseconds in a period; none when it has none or is gone.
pub fn quota(group: &CpuGroup) -> Option<u64> {
    let path = match group {
        CpuGroup::V1 { cpu, .. } => cpu.join("cpu.cfs_quota_us"),
        CpuGroup::V2(group) => group.join("cpu.max"),
    };
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// How long a dyno was kept from running, since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Kept {
    /// By its quota.
    pub(super) throttled: Duration,
    pub(super) throttled_periods: u64,
    /// By others who ran, or by its quota: some task of it could have run.
    pub(super) waiting: Duration,
    pub(super) user: Duration,
    pub(super) system: Duration,
}

/// Reads what nobody needs more often than it is asked for; zero for what this kernel has not.
pub(super) fn kept(group: &CpuGroup, pressure: Option<&std::path::Path>) -> Kept {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut kept = Kept { waiting: waiting(pressure), ..Kept::default() };
    match group {
        CpuGroup::V1 { cpu, cpuacct } => {
            let stat = read(cpu.join("cpu.stat"));
            kept.throttled = Duration::from_nanos(field(&stat, "throttled_time"));
            kept.throttled_periods = field(&stat, "nr_throttled");
            kept.user = Duration::from_nanos(field(&read(cpuacct.join("cpuacct.usage_user")), ""));
            kept.system = Duration::from_nanos(field(&read(cpuacct.join("cpuacct.usage_sys")), ""));
        }
        CpuGroup::V2(group) => {
            let stat = read(group.join("cpu.stat"));
            kept.throttled = Duration::from_micros(field(&stat, "throttled_usec"));
            kept.throttled_periods = field(&stat, "nr_throttled");
            kept.user = Duration::from_micros(field(&stat, "user_usec"));
            kept.system = Duration::from_micros(field(&stat, "system_usec"));
        }
    }
    kept
}

fn waiting(pressure: Option<&std::path::Path>) -> Duration {
    let text = pressure.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let some = text.lines().find_map(|line| line.strip_prefix("some "));
    let total = some.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("total=")));
    Duration::from_micros(total.and_then(|total| total.parse().ok()).unwrap_or(0))
}

/// A value of a `name number` table; of a file with a number alone, by no name.
fn field(table: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    table.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_versions_are_read_and_written_as_the_kernel_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let write = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
        write("cpuacct.usage", "1500000000\n");
        write("cpuacct.usage_user", "1000000000\n");
        write("cpu.cfs_quota_us", "");
        write("cpu.max", "");
        write("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=42\n");
        let one = CpuGroup::V1 { cpu: path.clone(), cpuacct: path.clone() };
        let two = CpuGroup::V2(path.clone());
        let table = |group: &CpuGroup, stat: &str, file: &str, written: &str| {
            write("cpu.stat", stat);
            let gauge = Gauge::open(group).unwrap();
            assert_eq!(gauge.used().unwrap(), Duration::from_millis(1500));
            gauge.set_quota(6250).unwrap();
            assert_eq!(fs::read_to_string(path.join(file)).unwrap(), written);
            let kept = kept(group, Some(&path.join("cpu.pressure")));
            assert_eq!((kept.throttled_periods, kept.throttled), (3, Duration::from_millis(7)));
            assert_eq!(
                (kept.user, kept.waiting),
                (Duration::from_secs(1), Duration::from_micros(42))
            );
        };
        let stat = "nr_periods 9\nnr_throttled 3\nthrottled_time 7000000\n";
        table(&one, stat, "cpu.cfs_quota_us", "6250");
        let stat = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 5\nnr_periods 9\n\
                    nr_throttled 3\nthrottled_usec 7000\n";
        table(&two, stat, "cpu.max", "6250 100000");
    }
}
