//! The spawner: a small single-threaded process that starts containers, reaps them and holds
//! their output, so that neither costs nor dies with the platform's process.

use super::container::{self, Inherited, KEPT_OUTPUT};
use super::netlink::Netlink;
use super::record::{Files, Record, Streams};
use super::stream::Stream;
use super::syscalls::{self, Cloned};
use super::watches::Watches;
use super::wire::{self, Answer, Failure, Message, Order, Report, Request, VERSION};
use crate::spec::DynoId;
use nix::sys::epoll::EpollTimeout;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The spawner's lock, held while it lives, in the engine's directory.
const LOCK: &str = "spawner.lock";

/// How often output that nobody reads is looked after, milliseconds.
const UNREAD_PAUSE_MS: u16 = 50;

/// A container as the spawner knows it.
#[derive(Debug)]
struct Held {
    pid: u32,
    /// None when it was adopted dead.
    process: Option<OwnedFd>,
    output: Option<[Stream; 2]>,
    status: Option<u8>,
    starting: Option<Starting>,
}

/// A start that has not been answered yet.
#[derive(Debug)]
struct Starting {
    number: u64,
    report: OwnedFd,
    terminal: Option<OwnedFd>,
    failure: Option<Failure>,
}

/// What a ready descriptor belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Listener,
    Engine,
    Report(DynoId),
    Process(DynoId),
}

#[derive(Debug)]
struct Spawner {
    dir: PathBuf,
    watches: Watches<Source>,
    listener: OwnedFd,
    engine: Option<OwnedFd>,
    held: BTreeMap<DynoId, Held>,
    retired: bool,
}

/// Why a spawner could not begin.
#[derive(Debug, thiserror::Error)]
#[error("spawner could not {step}")]
pub struct SpawnerError {
    step: &'static str,
    #[source]
    source: io::Error,
}

impl SpawnerError {
    fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self { step, source: error.into() }
    }
}

/// The address at which an engine finds the spawner of `dir`.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("spawner.sock")
}

/// Runs the spawner of the engine directory `dir` until it is told to retire. Call it before the
/// process has started any thread: it forks, and its children run ordinary code.
///
/// Returns at once when another spawner serves the directory.
pub fn run(dir: &Path) -> Result<(), SpawnerError> {
    // Without a session of its own it would end with the terminal of whoever started it. It
    // already leads one when it was started so.
    let _leader = rustix::process::setsid();
    let lock = File::create(dir.join(LOCK)).map_err(SpawnerError::at("open its lock"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
        other => other.map_err(SpawnerError::at("take its lock"))?,
    }
    raise_open_files();
    let mut spawner = Spawner::open(dir)?;
    spawner.adopt().map_err(SpawnerError::at("adopt containers"))?;
    while !spawner.retired {
        spawner.turn().map_err(SpawnerError::at("wait for events"))?;
    }
    Ok(())
}

/// Each container takes three descriptors.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    for wanted in [Some(1 << 20), limit.maximum] {
        let raised = rustix::process::Rlimit { current: wanted, maximum: wanted };
        if rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).is_ok() {
            return;
        }
    }
}

impl Spawner {
    fn open(dir: &Path) -> Result<Self, SpawnerError> {
        let path = socket(dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(SpawnerError::at("remove the old socket"))?,
        }
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(SpawnerError::at("make a socket"))?;
        rustix::net::bind(&listener, &address(&path).map_err(SpawnerError::at("name its socket"))?)
            .and_then(|()| rustix::net::listen(&listener, 8))
            .map_err(SpawnerError::at("listen"))?;
        let mut watches = Watches::new().map_err(SpawnerError::at("make an event queue"))?;
        watches.begin(&listener, Source::Listener).map_err(SpawnerError::at("watch its socket"))?;
        Ok(Self {
            dir: dir.to_owned(),
            watches,
            listener,
            engine: None,
            held: BTreeMap::new(),
            retired: false,
        })
    }

    /// Takes over what an earlier spawner has started.
    fn adopt(&mut self) -> io::Result<()> {
        for dyno in Files::all(&self.dir)? {
            let files = Files::of(&self.dir, dyno);
            let Some(pid) = files.pid() else { continue };
            let held = match files.running().map(|pid| adopt_running(pid, &files)) {
                Some(Ok(held)) => held,
                // It ended meanwhile, or long ago.
                Some(Err(_)) | None => Held {
                    pid,
                    process: None,
                    output: None,
                    status: Some(files.exit().unwrap_or(KILLED)),
                    starting: None,
                },
            };
            if let Some(process) = &held.process {
                self.watches.begin(process, Source::Process(dyno))?;
            }
            self.held.insert(dyno, held);
        }
        Ok(())
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self) -> io::Result<()> {
        // An ended container fills its pipes no further.
        let running = self.held.values().filter(|held| held.status.is_none());
        let mut outputs = running.flat_map(|held| held.output.iter().flatten());
        let timeout = if outputs.any(Stream::is_unread) {
            EpollTimeout::from(UNREAD_PAUSE_MS)
        } else {
            EpollTimeout::NONE
        };
        for key in self.watches.wait(timeout)? {
            let Some(source) = self.watches.source(key) else { continue };
            match source {
                Source::Listener => self.accept()?,
                Source::Engine => self.serve(),
                Source::Report(dyno) => {
                    self.hear(dyno);
                }
                Source::Process(dyno) => self.reap(dyno),
            }
        }
        for stream in self.held.values_mut().flat_map(|held| held.output.iter_mut().flatten()) {
            stream.make_room();
        }
        Ok(())
    }

    /// A new engine replaces the old one, which then is dead or about to be.
    fn accept(&mut self) -> io::Result<()> {
        let engine = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?;
        // An engine that does not read must not hold up the dynos' ends.
        let patience = Some(std::time::Duration::from_secs(5));
        let timeout = rustix::net::sockopt::Timeout::Send;
        rustix::net::sockopt::set_socket_timeout(&engine, timeout, patience)?;
        self.part();
        self.watches.begin(&engine, Source::Engine)?;
        self.engine = Some(engine);
        self.tell(&Message::Hello { version: VERSION, pid: std::process::id() }, &[]);
        let held: Vec<Message> = self
            .held
            .iter()
            .filter(|(_, held)| held.starting.is_none())
            .map(|(dyno, held)| Message::Held { dyno: *dyno, pid: held.pid, status: held.status })
            .collect();
        for message in &held {
            self.tell(message, &[]);
        }
        self.tell(&Message::Ready, &[]);
        Ok(())
    }

    /// The engine is gone: what it read, nobody reads now.
    fn part(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.watches.end(&engine);
            for stream in self.held.values_mut().flat_map(|held| held.output.iter_mut().flatten()) {
                stream.release();
            }
        }
    }

    fn tell(&mut self, message: &Message, fds: &[&OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Some(engine) = &self.engine
            && wire::send(engine, message, &fds).is_err()
        {
            self.part();
        }
    }

    fn reply(&mut self, number: u64, answer: Answer) {
        self.tell(&Message::Reply { number, answer }, &[]);
    }

    fn serve(&mut self) {
        let Some(engine) = &self.engine else { return };
        match wire::receive::<Request>(engine) {
            Ok(Some((request, fds))) => self.obey(request, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.part(),
        }
    }

    fn obey(&mut self, request: Request, fds: Vec<OwnedFd>) {
        let Request { number, order } = request;
        match order {
            Order::Start(dyno) => {
                if let Err(failure) = self.start(number, dyno, fds) {
                    self.reply(number, Answer::Failed(failure));
                }
            }
            Order::Output(dyno) => self.hand_out(number, dyno),
            Order::Signal(dyno, signal) => {
                let answer = self.signal(dyno, signal);
                self.reply(number, answer);
            }
            Order::Forget(dyno) => {
                if let Some(held) = self.held.remove(&dyno) {
                    self.unwatch(&held);
                }
                self.reply(number, Answer::Done);
            }
            Order::Retire => {
                self.retired = true;
                self.reply(number, Answer::Done);
            }
        }
    }

    fn start(&mut self, number: u64, dyno: DynoId, mut fds: Vec<OwnedFd>) -> Result<(), Failure> {
        let files = Files::of(&self.dir, dyno);
        let record = files.record().map_err(Failure::at("read record"))?;
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
            host: Netlink::open().map_err(Failure::at("open route socket"))?,
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
    fn hear(&mut self, dyno: DynoId) -> bool {
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

    /// Nothing is heard of it any more.
    fn unwatch(&mut self, held: &Held) {
        let report = held.starting.as_ref().map(|starting| &starting.report);
        for fd in held.process.iter().chain(report) {
            self.watches.end(fd);
        }
    }

    /// Answers a start.
    fn settle(&mut self, dyno: DynoId) {
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

    fn hand_out(&mut self, number: u64, dyno: DynoId) {
        let Some(output) = self.held.get_mut(&dyno).and_then(|held| held.output.as_mut()) else {
            return self.reply(number, Answer::Unknown);
        };
        let dropped_bytes = output.iter_mut().map(Stream::claim).sum();
        let ends: io::Result<Vec<OwnedFd>> = output.iter().map(Stream::reader).collect();
        match ends {
            Ok(ends) => {
                let answer = Answer::Output { dropped_bytes };
                let fds: Vec<&OwnedFd> = ends.iter().collect();
                self.tell(&Message::Reply { number, answer }, &fds);
            }
            Err(error) => {
                let failure = Failure::at("hand out output")(error);
                self.reply(number, Answer::Failed(failure));
            }
        }
    }

    fn signal(&self, dyno: DynoId, signal: i32) -> Answer {
        let Some(held) = self.held.get(&dyno) else { return Answer::Unknown };
        let (Some(process), None) = (&held.process, held.status) else { return Answer::Done };
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Answer::Failed(Failure { step: "signal".to_owned(), errno: libc::EINVAL });
        };
        match rustix::process::pidfd_send_signal(process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Answer::Done,
            Err(error) => Answer::Failed(Failure::at("signal")(error)),
        }
    }

    /// A container's first process has ended, and with it all others.
    fn reap(&mut self, dyno: DynoId) {
        // What it said about its start comes before its end.
        while self.hear(dyno) {}
        self.settle(dyno);
        let Some(held) = self.held.get_mut(&dyno) else { return };
        let Some(process) = held.process.take() else { return };
        self.watches.end(&process);
        // It has ended; were it not so, waiting would hold up everybody.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = match rustix::process::waitid(WaitId::PidFd(process.as_fd()), options) {
            Ok(Some(status)) => exit_status(&status),
            // An adopted one is not our child: what it wrote down itself counts.
            Ok(None) | Err(_) => Files::of(&self.dir, dyno).exit().unwrap_or(KILLED),
        };
        held.status = Some(status);
        self.tell(&Message::Exited { dyno, status }, &[]);
    }
}

/// The status of a first process that left none: only SIGKILL ends it unheard.
const KILLED: u8 = 128 + 9;

fn exit_status(status: &WaitIdStatus) -> u8 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED)
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

/// Opens a running container's process and the pipes it keeps for such a case.
fn adopt_running(pid: u32, files: &Files) -> io::Result<Held> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let process = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
    // The number may have found a new owner before the descriptor was open.
    if files.running() != Some(pid) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let output = match files.record()?.streams {
        Streams::Logged => {
            let [out, err] =
                KEPT_OUTPUT.map(|fd| Stream::adopt(Path::new(&format!("/proc/{pid}/fd/{fd}"))));
            Some([out?, err?])
        }
        Streams::Given | Streams::Terminal { .. } => None,
    };
    Ok(Held { pid, process: Some(process), output, status: None, starting: None })
}

/// Kills and reaps a container whose start failed, so that its groups are empty afterwards.
fn end_now(process: &OwnedFd) {
    // Both fail only when it is gone already.
    let _sent = rustix::process::pidfd_send_signal(process, Signal::KILL);
    let _reaped = rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}

/// A socket's name has 108 bytes at most: a longer path is named by its directory's descriptor.
pub(super) fn address(path: &Path) -> io::Result<rustix::net::SocketAddrUnix> {
    Ok(rustix::net::SocketAddrUnix::new(path)?)
}
