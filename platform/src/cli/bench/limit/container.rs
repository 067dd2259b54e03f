//! One container of the limit, from its control group to its end.

use super::super::{BenchError, groups, probe, ready};
use super::clone::{clone, exit};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::waitpid;
use nix::unistd::{chdir, dup2_stdout, execv, pivot_root};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The limits of a small dyno, by the file of either version. Names that do not exist in a
/// hierarchy are not its business.
const LIMITS: [(&str, &str); 5] = [
    ("memory.limit_in_bytes", "536870912"),
    ("memory.max", "536870912"),
    ("pids.max", "256"),
    ("cpu.shares", "256"),
    ("cpu.weight", "10"),
];

/// Makes containers one after the other.
pub(super) struct Maker {
    room: PathBuf,
    /// The overlay's options; the layers stay the same.
    options: String,
    /// As every dyno's groups are below its engine's: a container's weight counts in there, not
    /// against the machine.
    above: Vec<PathBuf>,
    groups: Vec<PathBuf>,
    program: CString,
    name: CString,
}

impl Maker {
    pub(super) fn open(dir: &Path) -> Result<Self, BenchError> {
        let room = dir.join("limit");
        fs::create_dir_all(room.join("root")).map_err(BenchError::at("make a directory"))?;
        let name = format!("lathe-limit-{}", std::process::id());
        let above: Vec<PathBuf> =
            groups::hierarchies().iter().map(|root| root.join(&name)).collect();
        for group in &above {
            fs::create_dir(group).map_err(BenchError::at(format!("make {}", group.display())))?;
        }
        if groups::unified() {
            for group in groups::hierarchies().iter().chain(&above) {
                fs::write(group.join("cgroup.subtree_control"), "+cpu +memory +pids")
                    .map_err(BenchError::at("set up groups"))?;
            }
        }
        let groups = above.iter().map(|group| group.join("container")).collect();
        let (layer, stack) = (ready::layer(dir), dir.join("stack"));
        let lower = format!("{}:{}", layer.display(), stack.display());
        let options = format!("lowerdir={lower},upperdir=upper,workdir=work");
        let text = |text: String| CString::new(text).unwrap_or_default();
        let program = text(format!("/app/{}", probe::NAME));
        Ok(Self { room, options, above, groups, program, name: text(probe::NAME.to_owned()) })
    }

    /// The time at which the program had its first instruction. The container has ended, and
    /// nothing is left of it, when this returns.
    pub(super) fn make(&self, own_network: bool) -> Result<Duration, BenchError> {
        for name in ["upper", "work"] {
            fs::create_dir(self.room.join(name)).map_err(BenchError::at("make a layer"))?;
        }
        for group in &self.groups {
            make_group(group).map_err(BenchError::at(format!("make {}", group.display())))?;
        }
        let (told, tells) = io::pipe().map_err(BenchError::at("make a pipe"))?;
        let born_in = groups::unified().then(|| self.groups.first().map(File::open));
        let born_in = born_in.flatten().transpose().map_err(BenchError::at("open a group"))?;
        let child = clone(born_in.as_ref().map(AsFd::as_fd), own_network);
        let Some(child) = child.map_err(BenchError::at("make namespaces"))? else {
            let error = self.become_program(&tells);
            eprintln!(" !     the limit: {error}");
            exit();
        };
        drop(tells);
        let at = probe::told(told).map_err(BenchError::at("hear the limit's program"))?;
        waitpid(child, None).map_err(BenchError::at("wait for the limit's program"))?;
        self.groups.iter().try_for_each(|group| remove_group(group))?;
        for name in ["upper", "work"] {
            fs::remove_dir_all(self.room.join(name)).map_err(BenchError::at("remove a layer"))?;
        }
        Ok(at)
    }

    /// Removes the groups above the containers'.
    pub(super) fn close(&self) -> Result<(), BenchError> {
        self.above.iter().try_for_each(|group| remove_group(group))
    }

    fn become_program(&self, tells: &PipeWriter) -> io::Error {
        match self.try_become(tells) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_become(&self, tells: &PipeWriter) -> io::Result<std::convert::Infallible> {
        if !groups::unified() {
            for group in &self.groups {
                // A process that moves itself by `tasks` waits for nobody.
                File::options().write(true).open(group.join("tasks"))?.write_all(b"0")?;
            }
        }
        let none = None::<&Path>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        chdir(&self.room)?;
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("overlay"), "root", Some("overlay"), quiet, Some(self.options.as_str()))?;
        mount(Some("proc"), "root/proc", Some("proc"), quiet | MsFlags::MS_NOEXEC, none)?;
        chdir("root")?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        dup2_stdout(tells)?;
        Ok(execv(&self.program, &[&self.name])?)
    }
}

fn make_group(group: &Path) -> io::Result<()> {
    fs::create_dir(group)?;
    for (name, value) in LIMITS {
        match File::options().write(true).open(group.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?.write_all(value.as_bytes())?,
        }
    }
    Ok(())
}

fn remove_group(group: &Path) -> Result<(), BenchError> {
    fs::remove_dir(group).map_err(BenchError::at(format!("remove {}", group.display())))
}

/// Processor time of this process and of its ended children.
pub(super) fn cpu() -> Duration {
    let of = |who| {
        getrusage(who).map_or(0, |used| (used.user_time() + used.system_time()).num_microseconds())
    };
    let sum = of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN);
    Duration::from_micros(u64::try_from(sum).unwrap_or_default())
}
