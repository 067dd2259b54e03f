//! A container's start, from the order to the answer.

use super::held::{Held, Starting};
use super::{Source, Spawner};
use crate::native::container::{self, Inherited};
use crate::native::record::{Files, Record, Streams};
use crate::native::stream::Stream;
use crate::native::syscalls::{self, Cloned};
use crate::native::wire::{self, Answer, Failure, Message, Report};
use crate::spec::DynoId;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

impl Spawner {
    pub(super) fn start(
        &mut self,
        number: u64,
        dyno: DynoId,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let files = Files::of(&self.dir, dyno);
        let record = files.record().map_err(Failure::at("read record"))?;
        if fds.is_empty() {
            return Err(Failure { step: "take network".to_owned(), errno: libc::EBADF });
        }
        let network = fds.remove(0);
        let mut output = None;
        let (mut stdio, mut kept) = (Vec::new(), Vec::new());
        match record.streams {
            Streams::Logged => {
                let null = File::open("/dev/null").map_err(Failure::at("open /dev/null"))?;
                let (out, out_end) = Stream::open().map_err(Failure::at("make output pipe"))?;
                let (err, err_end) = Stream::open().map_err(Failure::at("make output pipe"))?;
                for stream in [&out, &err] {
                    kept.push(stream.reader().map_err(Failure::at("make output pipe"))?);
                }
                stdio.extend([null.into(), out_end, err_end]);
                output = Some([out, err]);
            }
            Streams::Given if fds.len() >= 3 => stdio.extend(fds.drain(..3)),
            Streams::Given => {
                return Err(Failure { step: "take stdio".to_owned(), errno: libc::EBADF });
            }
            Streams::Terminal { .. } => {}
        }
        give_pipes(&stdio, record.spec.uid).map_err(Failure::at("give output pipes away"))?;
        let (report, inside) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Failure::at("make report socket"))?;
        let inherited = Inherited {
            report: inside,
            exit: files.open_exit()?,
            stdio,
            output: kept,
            extra: fds,
            network,
        };
        let (pid, process) = clone(&record, inherited, &self.dir)?;
        let known = files
            .write_pid(pid)
            .and_then(|()| self.watches.begin(&process, Source::Process(dyno)))
            .and_then(|()| self.watches.begin(&report, Source::Report(dyno)));
        if let Err(error) = known {
            self.watches.end(&process);
            end_now(&process);
            return Err(Failure::at("keep track of container")(error));
        }
        let starting = Some(Starting { number, report, terminal: None, failure: None });
        self.held
            .insert(dyno, Held { pid, process: Some(process), output, status: None, starting });
        Ok(())
    }

    /// A container says how its start goes; when it closes the socket, its program runs. Whether
    /// it may have more to say.
    pub(super) fn hear(&mut self, dyno: DynoId) -> bool {
        let Some(held) = self.held.get_mut(&dyno) else { return false };
        let Some(starting) = &mut held.starting else { return false };
        match wire::receive::<Report>(&starting.report) {
            Ok(Some((Report::Terminal, mut fds))) => starting.terminal = fds.pop(),
            Ok(Some((Report::Failed(failure), _))) => starting.failure = Some(failure),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(None) | Err(_) => {
                self.settle(dyno);
                return false;
            }
        }
        true
    }

    /// Answers a start.
    pub(super) fn settle(&mut self, dyno: DynoId) {
        let Some(held) = self.held.get_mut(&dyno) else { return };
        let Some(starting) = held.starting.take() else { return };
        self.watches.end(&starting.report);
        let number = starting.number;
        if let Some(failure) = starting.failure {
            if let Some(held) = self.held.remove(&dyno)
                && let Some(process) = &held.process
            {
                self.watches.end(process);
                end_now(process);
            }
            return self.reply(number, Answer::Failed(failure));
        }
        let answer = Answer::Started { pid: held.pid };
        let fds: Vec<&OwnedFd> = starting.terminal.iter().collect();
        self.tell(&Message::Reply { number, answer }, &fds);
    }
}

/// Makes pipes the dyno's own: programs open `/dev/stdout` and `/dev/stderr` by name, and the kernel
/// asks then whose they are.
fn give_pipes(files: &[OwnedFd], uid: u32) -> io::Result<()> {
    for file in files {
        let kind = rustix::fs::fstat(file)?.st_mode;
        if FileType::from_raw_mode(kind) == FileType::Fifo {
            std::os::unix::fs::fchown(file, Some(uid), Some(uid))?;
        }
    }
    Ok(())
}

fn clone(record: &Record, inherited: Inherited, dir: &Path) -> Result<(u32, OwnedFd), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &PathBuf| rustix::fs::open(path, flags, Mode::empty());
    let group = record
        .cgroup
        .v2
        .as_ref()
        .map(open)
        .transpose()
        .map_err(Failure::at("open control group"))?;
    match syscalls::clone_container(group.as_ref().map(AsFd::as_fd))
        .map_err(Failure::at("make namespaces"))?
    {
        Cloned::Child => container::run(record, inherited, &dir.join("scratch")),
        Cloned::Parent { pid, pidfd } => Ok((pid.as_raw().cast_unsigned(), pidfd)),
    }
}

/// Kills and reaps a container whose start failed, so that its groups are empty afterwards.
fn end_now(process: &OwnedFd) {
    // Both fail only when it is gone already.
    let _sent = rustix::process::pidfd_send_signal(process, Signal::KILL);
    let _reaped = rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}
