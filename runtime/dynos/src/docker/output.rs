//! A dyno's output, from the daemon's files into pipes, on from where it was last read.

use super::engine::Shared;
use super::position::{self, Way};
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

/// Where the time up to which all was read is kept.
pub(super) fn position_file(dir: &Path, id: DynoId) -> PathBuf {
    dir.join(format!("{id}.read"))
}

/// New pipes, which are filled until the dyno has ended and all is told, or nobody reads.
pub(super) fn open(shared: &Arc<Shared>, id: DynoId, container: String) -> io::Result<Output> {
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
    let file = position_file(&shared.config.dir, id);
    let read_ns = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let pipes = [Pipe::new(out, read_ns)?, Pipe::new(err, read_ns)?];
    let follower = Follower { id, container, pipes, file, read_ns };
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
    pipes: [Pipe; 2],
    file: PathBuf,
    /// Up to when all was read, as it is on record.
    read_ns: i128,
}

/// One of the two ways of the dyno's output.
struct Pipe {
    sender: Sender,
    way: Way,
}

impl Pipe {
    fn new(end: OwnedFd, read_ns: i128) -> io::Result<Self> {
        Ok(Self { sender: Sender::from_owned_fd(end)?, way: Way::read_up_to(read_ns) })
    }

    async fn tell(&mut self, line: &[u8], time_ns: i128) -> io::Result<()> {
        self.sender.write_all(line).await?;
        self.way.wrote(line.len(), time_ns, line.ends_with(b"\n"));
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
        let Self { id, pipes, file, mut read_ns, .. } = self;
        let [mut out, mut err] = pipes.map(|pipe| pipe.way);
        out.end();
        err.end();
        let [Ok(stdout), Ok(stderr)] = readers else { return };
        while shared.knows(id) {
            let unread = [unread(&stdout), unread(&stderr)];
            note(id, &file, &mut read_ns, position::read_up_to([&mut out, &mut err], unread));
            if unread == [0, 0] {
                return;
            }
            sleep(NOTE).await;
        }
    }

    /// Until the stream ends, be it with the dyno or with the daemon.
    async fn follow(&mut self, shared: &Shared) -> io::Result<Told> {
        // Of one stream of the daemon's all that comes is told: the two ways overtake each other, the
        // pieces of a long line have one time, and the clock may be set back.
        let told_ns = self.pipes.each_ref().map(|pipe| pipe.way.told_ns());
        let since_s = position::ask_from(told_ns).max(0) / 1_000_000_000;
        let since_s = i32::try_from(since_s).unwrap_or(0);
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
        let [out, err] = &mut self.pipes;
        let unread = [unread(&out.sender), unread(&err.sender)];
        let read_ns = position::read_up_to([&mut out.way, &mut err.way], unread);
        note(self.id, &self.file, &mut self.read_ns, read_ns);
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

/// Puts on record up to when all was read, unless it is there.
fn note(id: DynoId, file: &Path, noted_ns: &mut i128, read_ns: i128) {
    if read_ns == *noted_ns {
        return;
    }
    *noted_ns = read_ns;
    if let Err(error) = fs::write(file, read_ns.to_string()) {
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
}
