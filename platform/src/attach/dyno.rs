//! The dyno's end of an attached session: its terminal, or its pipes.

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// A descriptor that is read and written without blocking a thread.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<AsyncFd<OwnedFd>>);

/// Our ends of a dyno's streams.
#[derive(Debug)]
pub(super) struct Streams {
    /// What the dyno reads; dropping the last copy of it is its end of input.
    pub(super) input: Wire,
    /// What it writes, stdout and stderr in one.
    pub(super) output: Wire,
}

impl Streams {
    pub(super) fn of_terminal(master: OwnedFd) -> io::Result<Self> {
        let wire = Wire::new(master)?;
        Ok(Self { input: wire.clone(), output: wire })
    }

    /// Pipes, and the dyno's three ends of them: stdin, stdout, stderr.
    pub(super) fn pipes() -> io::Result<(Self, [OwnedFd; 3])> {
        let (stdin, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let stderr = stdout.try_clone()?;
        let ours = Self { input: Wire::new(input)?, output: Wire::new(output)? };
        Ok((ours, [stdin, stdout, stderr]))
    }
}

impl Wire {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(Arc::new(AsyncFd::new(fd)?)))
    }

    /// 0 at the end. A terminal that no process has open any more answers EIO: that is its end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                Ok(Err(error)) if Errno::from_io_error(&error) == Some(Errno::IO) => return Ok(0),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(answer) => return answer,
                Err(_would_block) => {}
            }
        }
    }

    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(Ok(written)) => bytes = &bytes[written..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}
