//! The few rtnetlink messages a dyno's network link needs, sent and acknowledged synchronously.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

// From linux/netlink.h, in the width they have in a message.
const REQUEST: u16 = 1;
const ACK: u16 = REQUEST | 4;
/// New, and refused when it is there already.
const CREATE: u16 = ACK | 0x400 | 0x200;
const ERROR: u16 = 2;

/// `AF_INET`.
const IPV4: u8 = 2;

// From linux/rtnetlink.h and linux/if_addr.h.
/// The entry of the table is asked for, not where a packet would go by it.
const FIB_MATCH: u32 = 0x2000;
/// An address that brings no route along.
const NO_PREFIX_ROUTE: u32 = 0x200;

const VETH_INFO_PEER: u16 = 1;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// A route socket of the network namespace it was opened in, whoever uses it later.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// One end of a virtual cable.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) mac: Mac,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0 of this family is NETLINK_ROUTE.
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        Ok(Self(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?))
    }

    /// Makes a cable with one end here and the other in `there`; both still down.
    pub(super) fn add_cable(
        &self,
        here: End<'_>,
        peer: End<'_>,
        there: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut message = Draft::new(libc::RTM_NEWLINK, CREATE);
        message.link(0, false);
        message.end(here);
        message.nested(libc::IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |other| {
                    other.link(0, false);
                    other.end(peer);
                    other.attribute(libc::IFLA_NET_NS_FD, &there.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.send(&[message])
    }

    /// The number of the interface `name`.
    pub(super) fn index(&self, name: &str) -> io::Result<i32> {
        let mut message = Draft::new(libc::RTM_GETLINK, REQUEST);
        message.link(0, false);
        message.text(libc::IFLA_IFNAME, name);
        message.finish();
        rustix::net::send(&self.0, &message.0, SendFlags::empty())?;
        let mut answer = [0; 8192];
        let (bytes, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty())?;
        match kind(&answer[..bytes]) {
            Some(libc::RTM_NEWLINK) => integer(&answer[..bytes], 20).ok_or_else(garbled),
            Some(_) => Err(io::Error::from_raw_os_error(error_number(&answer[..bytes]))),
            None => Err(garbled()),
        }
    }

    /// Whether there is a route to this address alone, as there is to every dyno's.
    pub(super) fn leads_to(&self, address: Ipv4Addr) -> io::Result<bool> {
        let mut message = Draft::new(libc::RTM_GETROUTE, REQUEST);
        message.0.extend_from_slice(&[IPV4, 32, 0, 0, 0, 0, 0, 0]);
        message.0.extend_from_slice(&FIB_MATCH.to_ne_bytes());
        message.attribute(libc::RTA_DST, &address.octets());
        message.finish();
        rustix::net::send(&self.0, &message.0, SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (bytes, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty())?;
        match kind(&answer[..bytes]) {
            // `rtm_dst_len` of `struct rtmsg`.
            Some(libc::RTM_NEWROUTE) => Ok(answer[17] == 32),
            _ => match error_number(&answer[..bytes]) {
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ESRCH => Ok(false),
                number => Err(io::Error::from_raw_os_error(number)),
            },
        }
    }

    /// Sends the messages together and waits for the kernel's word on each.
    pub(super) fn send(&self, messages: &[Draft]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(512);
        for message in messages {
            let start = bytes.len();
            bytes.extend_from_slice(&message.0);
            let length = u32::try_from(message.0.len()).unwrap_or(u32::MAX);
            bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut answer = [0; 4096];
        for _ in messages {
            let (bytes, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty())?;
            match error_number(&answer[..bytes]) {
                0 => {}
                number => return Err(io::Error::from_raw_os_error(number)),
            }
        }
        Ok(())
    }
}

/// Switches interface `index` on.
pub(super) fn up(index: i32) -> Draft {
    let mut message = Draft::new(libc::RTM_NEWLINK, ACK);
    message.link(index, true);
    message
}

/// Takes the cable at whose end interface `index` is away, with both its ends.
pub(super) fn delete(index: i32) -> Draft {
    let mut message = Draft::new(libc::RTM_DELLINK, ACK);
    message.link(index, false);
    message
}

/// Gives interface `index` the address `own`, with the one address `peer` behind it; the route there
/// is for [`route`] to make.
pub(super) fn address(index: i32, own: Ipv4Addr, peer: Ipv4Addr) -> Draft {
    let mut message = Draft::new(libc::RTM_NEWADDR, CREATE);
    message.0.extend_from_slice(&[IPV4, 32, 0, 0]);
    message.0.extend_from_slice(&index.to_ne_bytes());
    message.attribute(libc::IFA_LOCAL, &own.octets());
    message.attribute(libc::IFA_ADDRESS, &peer.octets());
    message.attribute(libc::IFA_FLAGS, &NO_PREFIX_ROUTE.to_ne_bytes());
    message
}

/// Leads to `peer` by interface `index`, from `own`. Refused where something leads there already,
/// which the route that comes with an address would only have stood behind.
pub(super) fn route(index: i32, own: Ipv4Addr, peer: Ipv4Addr) -> Draft {
    let mut message = Draft::new(libc::RTM_NEWROUTE, CREATE);
    let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_KERNEL);
    let (scope, kind) = (libc::RT_SCOPE_LINK, libc::RTN_UNICAST);
    message.0.extend_from_slice(&[IPV4, 32, 0, 0, table, protocol, scope, kind]);
    message.0.extend_from_slice(&[0; 4]);
    message.attribute(libc::RTA_DST, &peer.octets());
    message.attribute(libc::RTA_PREFSRC, &own.octets());
    message.attribute(libc::RTA_OIF, &index.to_ne_bytes());
    message
}

/// Says once and for all where `address` is, so that nobody asks and no table overflows.
pub(super) fn neighbour(index: i32, address: Ipv4Addr, mac: Mac) -> Draft {
    let mut message = Draft::new(libc::RTM_NEWNEIGH, CREATE);
    message.0.extend_from_slice(&[IPV4, 0, 0, 0]);
    message.0.extend_from_slice(&index.to_ne_bytes());
    message.0.extend_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    message.0.extend_from_slice(&[0, 0]);
    message.attribute(libc::NDA_DST, &address.octets());
    message.attribute(libc::NDA_LLADDR, &mac);
    message
}

/// Sends everything without a closer route to `gateway`.
pub(super) fn default_route(index: i32, gateway: Ipv4Addr) -> Draft {
    let mut message = Draft::new(libc::RTM_NEWROUTE, CREATE);
    let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
    let (scope, kind) = (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    message.0.extend_from_slice(&[IPV4, 0, 0, 0, table, protocol, scope, kind]);
    message.0.extend_from_slice(&[0; 4]);
    message.attribute(libc::RTA_GATEWAY, &gateway.octets());
    message.attribute(libc::RTA_OIF, &index.to_ne_bytes());
    message
}

/// A message being written: netlink header (RFC 3549), body, attributes.
#[derive(Debug)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    /// `struct ifinfomsg`.
    fn link(&mut self, index: i32, up: bool) {
        let flags = if up { libc::IFF_UP.cast_unsigned() } else { 0 };
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&index.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
    }

    fn end(&mut self, end: End<'_>) {
        self.text(libc::IFLA_IFNAME, end.name);
        self.attribute(libc::IFLA_ADDRESS, &end.mac);
        // Else there is one for each CPU that the machine could have.
        for queues in [libc::IFLA_NUM_TX_QUEUES, libc::IFLA_NUM_RX_QUEUES] {
            self.attribute(queues, &1_u32.to_ne_bytes());
        }
    }

    fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |body| body.0.extend_from_slice(value));
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn finish(&mut self) {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
    }
}

fn kind(message: &[u8]) -> Option<u16> {
    message.get(4..6)?.try_into().ok().map(u16::from_ne_bytes)
}

fn integer(message: &[u8], offset: usize) -> Option<i32> {
    message.get(offset..offset + 4)?.try_into().ok().map(i32::from_ne_bytes)
}

/// The positive error number of an acknowledgement; 0 is success.
fn error_number(message: &[u8]) -> i32 {
    match kind(message) {
        Some(ERROR) => integer(message, 16).map_or(libc::EPROTO, |number| -number),
        _ => libc::EPROTO,
    }
}

fn garbled() -> io::Error {
    io::Error::from_raw_os_error(libc::EPROTO)
}
