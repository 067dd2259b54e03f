//! One way to make an archive of a tree and back, run as child processes that are waited for.

use super::super::BenchError;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the memory of what runs: rare enough not to slow it down.
const LOOK: Duration = Duration::from_millis(10);

/// Who packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rival {
    Lathe,
    Gzip,
    Pigz,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) wall: Duration,
    /// Of all its processes.
    pub(super) cpu: Duration,
    /// Of its largest process.
    pub(super) memory_bytes: u64,
}

impl Rival {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lathe => "lathe",
            Self::Gzip => "tar, gzip -6",
            Self::Pigz => "tar, pigz -6 -p2",
        }
    }

    /// A program it needs that is not here.
    pub(super) fn missing(self) -> Option<&'static str> {
        let programs: &[&str] = match self {
            Self::Lathe => &[],
            Self::Gzip => &["tar", "gzip"],
            Self::Pigz => &["tar", "pigz"],
        };
        let runs = |program: &str| {
            let mut command = Command::new(program);
            command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        programs.iter().find(|program| !runs(program)).copied()
    }

    /// The whole pipeline, from the tree to a file.
    pub(super) fn pack(self, dir: &Path, archive: &Path) -> Result<Run, BenchError> {
        let compressor: &[&str] = match self {
            Self::Lathe => {
                let mut lathe = own_program()?;
                lathe.args(["slug", "pack"]).arg(dir).arg("--output").arg(archive);
                lathe.stdout(Stdio::null());
                return timed("pack with lathe", vec![lathe]);
            }
            Self::Gzip => &["gzip", "-6", "-n"],
            Self::Pigz => &["pigz", "-6", "-n", "-p2"],
        };
        let failed = || BenchError::at::<io::Error>("make a pipe");
        let (read, write) = io::pipe().map_err(failed())?;
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "-cf", "-", "-C"]).arg(dir).arg(".").stdout(write);
        let mut compress = Command::new(compressor[0]);
        compress.args(&compressor[1..]).stdin(read);
        compress.stdout(File::create(archive).map_err(failed())?);
        timed("pack with tar", vec![tar, compress])
    }

    /// Into a directory that is not there yet.
    pub(super) fn unpack(self, archive: &Path, tree: &Path) -> Result<Run, BenchError> {
        if self == Self::Lathe {
            let mut lathe = own_program()?;
            lathe.args(["slug", "unpack"]).arg(archive).arg(tree);
            return timed("unpack with lathe", vec![lathe]);
        }
        fs::create_dir(tree).map_err(BenchError::at("make a directory"))?;
        let mut tar = Command::new("tar");
        tar.args(if self == Self::Pigz { &["-I", "pigz"][..] } else { &["-z"] });
        tar.arg("-xf").arg(archive).arg("-C").arg(tree);
        timed("unpack with tar", vec![tar])
    }
}

/// A tree of any size is measured, also one that no slug may be.
fn own_program() -> Result<Command, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::at("find this program"))?;
    let mut lathe = Command::new(own);
    for setting in ["compressed=1TiB", "unpacked=1TiB", "entries=10000000"] {
        lathe.args(["--set", &format!("archive.{setting}")]);
    }
    Ok(lathe)
}

/// Runs the programs of a pipeline side by side until all have ended.
fn timed(step: &str, pipeline: Vec<Command>) -> Result<Run, BenchError> {
    let failed = || BenchError::at::<io::Error>(step);
    let (cpu, begin) = (cpu_of_children(), Instant::now());
    let mut children = Vec::new();
    // Each command is dropped with its ends of the pipes: a reader would else wait for us to write.
    for mut command in pipeline {
        children.push(command.spawn().map_err(failed())?);
    }
    let memory_bytes = wait(children).map_err(failed())?;
    let (wall, cpu) = (begin.elapsed(), cpu_of_children().saturating_sub(cpu));
    Ok(Run { wall, cpu, memory_bytes })
}

/// Waits for all, and returns the largest resident set that any of them was seen to have had. The
/// kernel keeps that maximum itself, so that only what the last instants added can be missed.
fn wait(mut children: Vec<Child>) -> io::Result<u64> {
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watching = scope.spawn(move || {
            let mut peak = 0;
            while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                peak = pids.iter().filter_map(|pid| peak_bytes(*pid)).fold(peak, u64::max);
            }
            peak
        });
        let statuses: Vec<_> = children.iter_mut().map(Child::wait).collect();
        drop(ended);
        let peak = watching.join().unwrap_or_default();
        for status in statuses {
            let status = status?;
            if !status.success() {
                return Err(io::Error::other(status.to_string()));
            }
        }
        Ok(peak)
    })
}

/// `VmHWM` of `proc_pid_status`(5).
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

fn cpu_of_children() -> Duration {
    let sum = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_or(0, |used| (used.user_time() + used.system_time()).num_microseconds());
    Duration::from_micros(u64::try_from(sum).unwrap_or_default())
}
