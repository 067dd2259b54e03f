//! What the engine, the spawner and a starting container say to each other, descriptors included.

use super::berths::BerthId;
use super::cgroup::Membership;
use super::record::Streams;
use crate::spec::DynoId;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Raised when a message changes its meaning: an engine replaces a spawner of another version,
/// and the new one adopts what runs.
pub(super) const VERSION: u32 = 5;

/// From this version on a spawner keeps sockets. `Hello`, `Kept`, `Retire` and their answers never
/// change their form again: by them every later engine takes over from every earlier spawner.
pub(super) const KEEPS_SOCKETS: u32 = 2;

/// The most descriptors one message carries.
pub(super) const FDS_MAX: usize = 32;

const PACKET_BYTES_MAX: usize = 16 * 1024;

/// The engine asks; answered by `Message::Reply` with the same number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) order: Order,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Puts a first process into a berth, which waits there for a dyno until the engine is gone.
    /// Descriptor: its network.
    Prepare(BerthId, Membership),
    /// Starts what the dyno's record says; `Unknown` when no first process waits in the berth.
    /// Descriptors: the three of `Stdio::Given`, then the extra ones, then the network it is granted.
    Start(Boarding),
    /// Hands out the read ends of the output pipes; from now on the engine reads them.
    Output(DynoId),
    /// Sends a signal to the container's first process, which passes it on to all others.
    Signal(DynoId, i32),
    Forget(DynoId),
    /// Keeps sockets for the next engine, by these names; descriptors: one each. They replace
    /// whatever was kept, and are closed when the engine is gone and none comes for so long.
    Keep(Vec<String>, Duration),
    /// Hands out what is kept.
    Kept,
    /// The spawner ends. What runs keeps running.
    Retire,
}

/// Which dyno comes to be in which berth, and what the spawner has to know of its record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Boarding {
    pub(super) dyno: DynoId,
    pub(super) berth: BerthId,
    pub(super) streams: Streams,
    pub(super) uid: u32,
}

/// The spawner answers and tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// First on a new connection.
    Hello {
        version: u32,
        pid: u32,
    },
    /// Then one for each container it holds, before anything else; `status` when it has ended.
    Held {
        dyno: DynoId,
        pid: u32,
        status: Option<u8>,
    },
    /// All held ones have been told.
    Ready,
    Reply {
        number: u64,
        answer: Answer,
    },
    Exited {
        dyno: DynoId,
        status: u8,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The first process executes its program. Descriptor: the terminal's master, if any.
    Started {
        pid: u32,
    },
    Failed(Failure),
    /// Descriptors: stdout, stderr.
    Output {
        dropped_bytes: u64,
    },
    /// Descriptors: one each.
    Kept(Vec<String>),
    Done,
    Unknown,
}

/// The spawner tells the first process that waits in a berth. Descriptors: so many for the app
/// (none for a terminal, which is made inside), then the read ends of its output to be kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Boarded {
    pub(super) dyno: DynoId,
    pub(super) for_app: usize,
}

/// A starting container tells the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Descriptor: the master.
    Terminal,
    Failed(Failure),
}

/// A step that failed, and the kernel's error number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) step: String,
    pub(super) errno: i32,
}

impl Failure {
    /// Names the step for whatever error it ended with.
    pub(super) fn at<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| Self { step, errno: error.into().raw_os_error().unwrap_or(libc::EIO) }
    }

    pub(super) fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// Sends one message and its descriptors as one packet.
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message and its descriptors; none when the other side is gone, `WouldBlock` when
/// there is none yet.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let message = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some((message, fds)))
}
