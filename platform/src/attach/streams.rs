//! The dyno's end of an attached session: its terminal, or its pipes.

use rustix::pipe::PipeFlags;
use std::io;
use std::os::fd::OwnedFd;
use tokio::net::unix::pipe::{Receiver, Sender};

/// Our ends of a dyno's streams. A terminal is read and written as if it were two pipes.
#[derive(Debug)]
pub(super) struct Streams {
    /// What the dyno reads. Of a pipe, dropping it is the dyno's end of input.
    pub(super) input: Sender,
    /// What it writes, stdout and stderr in one. A terminal that no process has open any more
    /// answers EIO, which is its end.
    pub(super) output: Receiver,
}

impl Streams {
    pub(super) fn of_terminal(master: OwnedFd) -> io::Result<Self> {
        // tokio's way around its check that this is a pipe leaves the blocking mode alone.
        rustix::io::ioctl_fionbio(&master, true)?;
        let input = Sender::from_owned_fd_unchecked(master.try_clone()?)?;
        Ok(Self { input, output: Receiver::from_owned_fd_unchecked(master)? })
    }

    /// Pipes, and the dyno's three ends of them: stdin, stdout, stderr.
    pub(super) fn pipes() -> io::Result<(Self, [OwnedFd; 3])> {
        let (stdin, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let stderr = stdout.try_clone()?;
        let (input, output) = (Sender::from_owned_fd(input)?, Receiver::from_owned_fd(output)?);
        Ok((Self { input, output }, [stdin, stdout, stderr]))
    }
}
