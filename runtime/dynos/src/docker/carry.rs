//! Bytes between a caller's descriptors and an attached container.

use crate::containers::Stdio;
use bollard::container::{AttachContainerResults, LogOutput};
use futures_util::StreamExt;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

const CHUNK: usize = 16 * 1024;

/// Our side of what was given or made for a dyno. A terminal is read and written as if it were two
/// pipes.
pub(super) struct Ends {
    stdin: Receiver,
    stdout: Sender,
    stderr: Option<Sender>,
}

/// The ends for a start, and the master of the terminal when it wants one.
pub(super) fn ends(stdio: Stdio) -> io::Result<Option<(Ends, Option<OwnedFd>)>> {
    match stdio {
        Stdio::Logged => Ok(None),
        Stdio::Given { stdin, stdout, stderr } => {
            let ends = Ends {
                stdin: reader(stdin)?,
                stdout: writer(stdout)?,
                stderr: Some(writer(stderr)?),
            };
            Ok(Some((ends, None)))
        }
        Stdio::Terminal { .. } => {
            let (master, slave) = pair()?;
            let ends =
                Ends { stdin: reader(slave.try_clone()?)?, stdout: writer(slave)?, stderr: None };
            Ok(Some((ends, Some(master))))
        }
    }
}

// tokio's way around its check that this is a pipe leaves the blocking mode alone.

fn reader(fd: OwnedFd) -> io::Result<Receiver> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Receiver::from_owned_fd_unchecked(fd)
}

fn writer(fd: OwnedFd) -> io::Result<Sender> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Sender::from_owned_fd_unchecked(fd)
}

/// A terminal that changes nothing: the dyno's own, in its container, does all that.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
    let mut settings = tcgetattr(&slave)?;
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    Ok((master, slave))
}

/// Carries until the container ends or the caller is gone; then the caller's ends close.
pub(super) async fn carry(ends: Ends, attached: AttachContainerResults) {
    let AttachContainerResults { mut output, input } = attached;
    let Ends { stdin, mut stdout, mut stderr } = ends;
    let feeding = tokio::spawn(feed(stdin, input));
    while let Some(Ok(piece)) = output.next().await {
        let to = match &piece {
            LogOutput::StdErr { .. } => stderr.as_mut().unwrap_or(&mut stdout),
            _ => &mut stdout,
        };
        if to.write_all(&piece.into_bytes()).await.is_err() {
            break;
        }
    }
    feeding.abort();
    // The task may hold an end that shall close now.
    drop(feeding.await);
}

async fn feed(mut stdin: Receiver, mut input: std::pin::Pin<Box<dyn AsyncWrite + Send>>) {
    let mut chunk = vec![0; CHUNK];
    // At its end the container's input ends, and its output goes on.
    while let Ok(bytes @ 1..) = stdin.read(&mut chunk).await {
        if input.write_all(&chunk[..bytes]).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    drop(input.shutdown().await);
    // The other half of the connection must not close before all is said.
    std::future::pending::<()>().await;
}
