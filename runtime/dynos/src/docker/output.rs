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
use std::fmt;
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

/// Where the times of the last lines that were read are kept.
pub(super) fn position_file(dir: &Path, id: DynoId) -> PathBuf {
    dir.join(format!("{id}.read"))
}

/// New pipes, which are filled until the dyno has ended and all is told, or nobody reads.
pub(super) fn open(shared: &Arc<Shared>, id: DynoId, container: String) -> io::Result<Output> {
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
    let file = position_file(&shared.config.dir, id);
    let read = ReadUpTo::from(&fs::read_to_string(&file).unwrap_or_default());
    let pipes = [Pipe::new(out, read.0[0])?, Pipe::new(err, read.0[1])?];
    let follower = Follower { id, container, pipes, file, read };
    shared.spawn(follower.run(Arc::clone(shared)));
    Ok(Output { stdout, stderr, dropped_bytes: 0 })
}

/// The times up to which standard output and standard error have been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ReadUpTo([i128; 2]);

impl ReadUpTo {
    /// One number is what an earlier version has written down, of both.
    fn from(text: &str) -> Self {
        let mut times = text.split_ascii_whitespace().map_while(|time| time.parse().ok());
        let out = times.next().unwrap_or(0);
        Self([out, times.next().unwrap_or(out)])
    }
}

impl fmt::Display for ReadUpTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([out, err]) = self;
        write!(f, "{out} {err}")
    }
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
    pipes: [Pipe; 2],
    file: PathBuf,
    /// As it is on record.
    read: ReadUpTo,
}

/// One of the two ways of the dyno's output.
struct Pipe {
    sender: Sender,
    /// All lines up to this time went in.
    told_ns: i128,
    position: Position,
}

impl Pipe {
    fn new(end: OwnedFd, told_ns: i128) -> io::Result<Self> {
        Ok(Self { sender: Sender::from_owned_fd(end)?, told_ns, position: Position::default() })
    }

    async fn tell(&mut self, line: &[u8], time_ns: i128) -> io::Result<()> {
        self.sender.write_all(line).await?;
        // The pieces of a long line have its one time; all is told with the last.
        if line.ends_with(b"\n") {
            self.told_ns = self.told_ns.max(time_ns);
        }
        self.position.wrote(line.len(), self.told_ns);
        Ok(())
    }
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
        let readers = self.pipes.each_ref().map(|pipe| reader(&pipe.sender));
        let Self { id, pipes, file, mut read, .. } = self;
        let mut positions = pipes.map(|pipe| pipe.position);
        let [Ok(stdout), Ok(stderr)] = readers else { return };
        while shared.knows(id) {
            let unread = [unread(&stdout), unread(&stderr)];
            note(id, &file, &mut read, positions.each_mut(), unread);
            if unread == [0, 0] {
                return;
            }
            sleep(NOTE).await;
        }
    }

    /// Until the stream ends, be it with the dyno or with the daemon.
    async fn follow(&mut self, shared: &Shared) -> io::Result<Told> {
        // Of this stream of the daemon's all that comes is told: its two ways overtake each other, and
        // the clock may be set back.
        let told_ns = self.pipes.each_ref().map(|pipe| pipe.told_ns);
        let since_s = i32::try_from(told_ns[0].min(told_ns[1]) / 1_000_000_000).unwrap_or(0);
        let mut lines = Box::pin(shared.daemon.logs(&self.container, since_s));
        let mut tick = interval(NOTE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (pipe, message) = tokio::select! {
                line = lines.next() => match line {
                    Some(Ok(LogOutput::StdErr { message })) => (1, message),
                    Some(Ok(line)) => (0, line.into_bytes()),
                    Some(Err(_)) => return Ok(Told::Some),
                    None => return Ok(Told::All),
                },
                _ = tick.tick() => {
                    self.note();
                    continue;
                }
            };
            if let Some((time_ns, line)) = timed(&message)
                && time_ns > told_ns[pipe]
            {
                self.pipes[pipe].tell(line, time_ns).await?;
            }
        }
    }

    fn note(&mut self) {
        let unread = self.pipes.each_ref().map(|pipe| unread(&pipe.sender));
        let positions = self.pipes.each_mut().map(|pipe| &mut pipe.position);
        note(self.id, &self.file, &mut self.read, positions, unread);
    }
}

/// `2026-01-02T03:04:05.000000006Z the line`.
fn timed(message: &[u8]) -> Option<(i128, &[u8])> {
    let space = message.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&message[..space]).ok()?.parse::<Timestamp>().ok()?;
    Some((time.as_nanosecond(), &message[space + 1..]))
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

/// Puts on record what has been taken out of the pipes since it was last asked.
fn note(
    id: DynoId,
    file: &Path,
    read: &mut ReadUpTo,
    positions: [&mut Position; 2],
    unread: [u64; 2],
) {
    let before = *read;
    for ((position, unread), read_ns) in positions.into_iter().zip(unread).zip(&mut read.0) {
        *read_ns = position.read(unread).unwrap_or(*read_ns);
    }
    if *read != before
        && let Err(error) = fs::write(file, read.to_string())
    {
        tracing::warn!(%error, dyno = %id, "how far its output was read is not on record");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_with_its_time() {
        let line = timed(b"2026-01-02T03:04:05.000000006Z two words\n");
        assert_eq!(line, Some((1_767_323_045_000_000_006, b"two words\n".as_slice())));
        assert_eq!(timed(b"2026-01-02T03:04:05Z \n").unwrap().1, b"\n");
        assert_eq!([timed(b"no time"), timed(b"")], [None, None]);
    }

    #[test]
    fn what_is_on_record_is_of_each_way_or_of_both() {
        let record = ReadUpTo([5, 7]);
        assert_eq!(ReadUpTo::from(&record.to_string()), record);
        assert_eq!(ReadUpTo::from("6"), ReadUpTo([6, 6]));
        assert_eq!(ReadUpTo::from(""), ReadUpTo([0, 0]));
    }
}
