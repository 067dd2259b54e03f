//! A dyno's output, from the daemon's files into pipes, on from where it was last read.

use super::engine::Shared;
use super::position::Position;
use crate::containers::Output;
use crate::spec::DynoId;
use bollard::container::LogOutput;
use futures_util::StreamExt;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often it is looked at what was read.
const NOTE: Duration = Duration::from_millis(25);
/// While the daemon does not answer.
const RETRY: Duration = Duration::from_millis(250);

/// Where the time of the last line that was read is kept.
pub(super) fn position_file(dir: &Path, id: DynoId) -> PathBuf {
    dir.join(format!("{id}.read"))
}

/// New pipes, which are filled until the dyno has ended and all is told, or nobody reads.
pub(super) fn open(shared: &Arc<Shared>, id: DynoId, container: String) -> io::Result<Output> {
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
    let pipes = [Sender::from_owned_fd(out)?, Sender::from_owned_fd(err)?];
    let file = position_file(&shared.config.dir, id);
    let read_ns = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let follower =
        Follower { id, container, pipes, file, told_ns: read_ns, position: Position::default() };
    shared.spawn(follower.run(Arc::clone(shared)));
    Ok(Output { stdout, stderr, dropped_bytes: 0 })
}

/// What one stream of the daemon's had of what there is.
enum Told {
    All,
    /// It was cut off, or never began.
    Some,
}

struct Follower {
    id: DynoId,
    container: String,
    pipes: [Sender; 2],
    file: PathBuf,
    /// The time of the last line that went into a pipe.
    told_ns: i128,
    position: Position,
}

impl Follower {
    async fn run(mut self, shared: Arc<Shared>) {
        loop {
            let ended = shared.has_ended(self.id);
            match self.follow(&shared).await {
                // Nobody reads any more.
                Err(_) => return self.note(),
                // All that there was at its end.
                Ok(Told::All) if ended => break,
                Ok(Told::Some) if !shared.knows(self.id) => break,
                Ok(_) => sleep(RETRY).await,
            }
        }
        self.close(&shared).await;
    }

    /// Closes the pipes; what is still in them counts as read when it is out.
    async fn close(self, shared: &Shared) {
        let readers = self.pipes.each_ref().map(reader);
        let Self { id, pipes, file, mut position, .. } = self;
        drop(pipes);
        let [Ok(stdout), Ok(stderr)] = readers else { return };
        while shared.knows(id) {
            let unread = [unread(&stdout), unread(&stderr)];
            note(id, &file, position.read(unread));
            if unread == [0, 0] {
                return;
            }
            sleep(NOTE).await;
        }
    }

    /// Until the stream ends, be it with the dyno or with the daemon.
    async fn follow(&mut self, shared: &Shared) -> io::Result<Told> {
        let since_s = i32::try_from(self.told_ns / 1_000_000_000).unwrap_or(0);
        let mut lines = Box::pin(shared.daemon.logs(&self.container, since_s));
        let mut tick = interval(NOTE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                line = lines.next() => match line {
                    Some(Ok(LogOutput::StdErr { message })) => self.tell(1, &message).await?,
                    Some(Ok(line)) => self.tell(0, &line.into_bytes()).await?,
                    Some(Err(_)) => return Ok(Told::Some),
                    None => return Ok(Told::All),
                },
                _ = tick.tick() => self.note(),
            }
        }
    }

    /// `2026-01-02T03:04:05.000000006Z the line`.
    async fn tell(&mut self, pipe: usize, message: &[u8]) -> io::Result<()> {
        let space = message.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let (time, line) = message.split_at(space);
        let time = std::str::from_utf8(time).ok().and_then(|text| text.parse::<Timestamp>().ok());
        let Some(time) = time else { return Ok(()) };
        let time_ns = time.as_nanosecond();
        if time_ns <= self.told_ns {
            return Ok(());
        }
        let line = line.get(1..).unwrap_or_default();
        self.pipes[pipe].write_all(line).await?;
        self.told_ns = time_ns;
        self.position.wrote(pipe, line.len(), time_ns);
        Ok(())
    }

    fn note(&mut self) {
        let [stdout, stderr] = &self.pipes;
        note(self.id, &self.file, self.position.read([unread(stdout), unread(stderr)]));
    }
}

/// Another reading end of the pipe.
fn reader(pipe: &Sender) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn unread(pipe: impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(pipe).unwrap_or(0)
}

fn note(id: DynoId, file: &Path, read_ns: Option<i128>) {
    if let Some(read_ns) = read_ns
        && let Err(error) = fs::write(file, read_ns.to_string())
    {
        tracing::warn!(%error, dyno = %id, "how far its output was read is not on record");
    }
}
