//! What is kept on disk about one dyno, so that it outlives the engine and the spawner.

use super::berths::BerthId;
use super::grants::Grants;
use super::records;
use super::wire::Failure;
use crate::containers::{Ended, LastWill, Mount};
use crate::spec::{DynoId, DynoSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Everything a container is made from; written by the engine, read by the container itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: DynoId,
    pub(super) spec: DynoSpec,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) argv: Option<Vec<String>>,
    pub(super) mounts: Vec<Mount>,
    /// What no dyno of an app has.
    #[serde(default)]
    pub(super) grants: Grants,
    pub(super) streams: Streams,
    /// The unpacked slug, the directory that holds `app`.
    pub(super) slug: Option<PathBuf>,
    pub(super) address: Ipv4Addr,
    /// Name of the host's end of the network link.
    pub(super) link: String,
    /// None of a dyno that an earlier version has started: its groups bear its own name.
    #[serde(default)]
    pub(super) berth: Option<BerthId>,
    /// The CPUs it has to itself.
    #[serde(default)]
    pub(super) cpus: Vec<u32>,
    /// Version 1: the group for these CPUs, joined instead of the one for all who share theirs.
    #[serde(default)]
    pub(super) own_cpuset: Option<PathBuf>,
    pub(super) resolv_conf: String,
    /// Unix time in milliseconds, as it was then.
    pub(super) started_ms: u64,
    /// Since the machine's start: what the system's clock was set to since then changes no age.
    #[serde(default)]
    pub(super) started_boot_ms: Option<u64>,
}

impl Record {
    /// When it was started, by the clocks of now.
    pub(super) fn started_ms(&self, now_ms: u64, now_boot_ms: u64) -> u64 {
        let passed_ms = self.started_boot_ms.and_then(|then| now_boot_ms.checked_sub(then));
        began(self.started_ms, passed_ms, now_ms)
    }

    /// Whose control groups the dyno lives in.
    pub(super) fn group(&self) -> BerthId {
        self.berth.unwrap_or(BerthId(self.id.0))
    }
}

/// `Stdio` without its descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Streams {
    Logged,
    Given,
    Terminal { rows: u16, columns: u16 },
}

/// The files of one dyno: `dynos/<id>/{record.json, pid, exit, end.json, safe}`.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn of(dir: &Path, id: DynoId) -> Self {
        Self(records::path(dir).join(id.to_string()))
    }

    /// All dynos that have a directory here.
    pub(super) fn all(dir: &Path) -> io::Result<Vec<DynoId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(records::path(dir))? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(DynoId(id));
            }
        }
        Ok(ids)
    }

    /// Fails with `AlreadyExists` when the dyno has been started before.
    pub(super) fn create(&self, record: &Record) -> io::Result<()> {
        fs::create_dir(&self.0)?;
        self.create_new("exit")?;
        // Half written it is of no dyno that was started: the spawner reads it before.
        self.create_new("record.json")?.write_all(&serde_json::to_vec(record)?)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(super) fn record(&self) -> io::Result<Record> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("record.json"))?)?)
    }

    /// Kept open by the dyno's first process, which writes its status here with its last breath.
    pub(super) fn open_exit(&self) -> Result<File, Failure> {
        let open = OpenOptions::new().write(true).open(self.0.join("exit"));
        open.map_err(Failure::at("open exit record"))
    }

    /// The status the first process left, if it came to that.
    pub(super) fn exit(&self) -> Option<u8> {
        let mut text = String::new();
        File::open(self.0.join("exit")).ok()?.take(16).read_to_string(&mut text).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    }

    /// A process is known by its number and the time it started: numbers are used again.
    ///
    /// Ours may have ended already, but is there until we reap it.
    pub(super) fn write_pid(&self, pid: u32) -> io::Result<()> {
        let (_, started) = started(pid).ok_or(io::ErrorKind::NotFound)?;
        self.write("pid", format!("{pid} {started}").as_bytes())
    }

    /// The dyno's first process, if it is still the one that was written down.
    pub(super) fn running(&self) -> Option<u32> {
        let text = fs::read_to_string(self.0.join("pid")).ok()?;
        let (pid, was) = text.split_once(' ')?;
        let pid = pid.parse().ok()?;
        let (zombie, started) = started(pid)?;
        (!zombie && started.to_string() == was).then_some(pid)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.0.join("pid")).ok()?;
        text.split_once(' ')?.0.parse().ok()
    }

    pub(super) fn write_end(&self, ended: &Ended) -> io::Result<()> {
        self.write("end.json", &serde_json::to_vec(ended)?)
    }

    pub(super) fn end(&self) -> Option<Ended> {
        serde_json::from_slice(&fs::read(self.0.join("end.json")).ok()?).ok()
    }

    /// What the spawner shall write when the engine is gone.
    pub(super) fn write_will(&self, will: Option<&LastWill>) -> io::Result<()> {
        match will {
            Some(will) => self.write("safe", &serde_json::to_vec(will)?),
            None => match fs::remove_file(self.0.join("safe")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        }
    }

    pub(super) fn will(&self) -> Option<LastWill> {
        serde_json::from_slice(&fs::read(self.0.join("safe")).ok()?).ok()
    }

    fn create_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.0.join(name))
    }

    /// Whole or not at all; a reboot ends every dyno anyway.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.0.join(format!(".{name}"));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(temporary, self.0.join(name))
    }
}

/// Two clocks that are read one after the other never agree to the millisecond: only what is more
/// than that is a clock that was set. So a start is the same whenever one asks, and whoever asks.
const CLOCKS_AGREE_MS: u64 = 1000;

fn began(noted_ms: u64, passed_ms: Option<u64>, now_ms: u64) -> u64 {
    let counted_ms = passed_ms.map(|passed_ms| now_ms.saturating_sub(passed_ms));
    let set_ms = counted_ms.filter(|counted| counted.abs_diff(noted_ms) >= CLOCKS_AGREE_MS);
    set_ms.unwrap_or(noted_ms.min(now_ms))
}

/// Whether it has ended, and field 22 of `/proc/<pid>/stat`: clock ticks from the machine's boot to
/// its start. None for nobody.
fn started(pid: u32) -> Option<(bool, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let zombie = fields.next()? == "Z";
    Some((zombie, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault S5: a dyno that was started at 1,000,000 by a clock that was right, ahead, or behind.
    #[test]
    fn an_age_is_what_has_passed_since_the_start() {
        let minute = 60_000;
        for noted_ms in [1_000_000, 1_000_000 + 10 * 365 * 24 * 60 * minute, 0] {
            assert_eq!(began(noted_ms, Some(minute), 1_000_000 + minute), 1_000_000);
        }
        assert_eq!(began(7000, Some(minute), 6000), 0);
        // As an earlier version has written it down.
        assert_eq!(began(1_000_000, None, 1_060_000), 1_000_000);
        assert_eq!(began(1_000_000, None, 900_000), 900_000);
    }

    #[test]
    fn a_start_is_the_same_whenever_one_asks() {
        for (passed_ms, now_ms) in [(59_999, 1_060_000), (60_000, 1_059_999), (60_001, 1_060_000)] {
            assert_eq!(began(1_000_000, Some(passed_ms), now_ms), 1_000_000);
        }
    }
}
