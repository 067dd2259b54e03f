//! What a part of the platform gets beyond what every dyno has; an app that asks is refused.

use super::wire::Failure;
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Beside these, a system dyno is given sockets as descriptors and directories to read as mounts,
/// which any start may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Grants {
    /// It connects to dynos, and from the host's addresses: its network is the host's.
    pub host_network: bool,
}

impl Grants {
    pub const NONE: Self = Self { host_network: false };

    /// The network that goes with the other descriptors of a start, as the last one.
    pub(super) fn network(self) -> io::Result<Option<OwnedFd>> {
        self.host_network
            .then(|| File::open("/proc/thread-self/ns/net").map(OwnedFd::from))
            .transpose()
    }

    /// Takes it from the end of `files` and moves this process there.
    pub(super) fn take_up(self, files: &mut Vec<OwnedFd>) -> Result<(), Failure> {
        if !self.host_network {
            return Ok(());
        }
        let missing = || Failure { step: "take the host's network".to_owned(), errno: libc::EBADF };
        let network = files.pop().ok_or_else(missing)?;
        setns(network, CloneFlags::CLONE_NEWNET).map_err(Failure::at("enter the host's network"))
    }
}
