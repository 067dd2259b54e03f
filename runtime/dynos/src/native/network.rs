//! A dyno's network: a namespace of its own, one cable to the host, one routed address, no bridge
//! and no neighbours.

use super::netlink::{self, End, Mac, Netlink};
use super::wire::Failure;
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

/// Every host end answers to the same hardware address: each is alone on its cable.
const HOST_MAC: Mac = [0x02, 0, 0, 0, 0, 1];

/// The interface inside.
const INSIDE: &str = "eth0";

/// A cable to be laid: `link` names the host's end.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) link: String,
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
}

impl Plan {
    /// Of the dyno's end.
    fn mac(&self) -> Mac {
        let [a, b, c, d] = self.address.octets();
        [0x02, 1, a, b, c, d]
    }
}

/// Makes a network as planned. It lasts as long as the descriptor, or a process in it; its cable
/// goes with it, so that nothing has to be taken down, whoever dies.
pub(super) fn make(plan: &Plan) -> Result<OwnedFd, Failure> {
    let host = Netlink::open().map_err(Failure::at("open route socket"))?;
    // In a thread that ends there: one that did not find its way back would take whatever it does
    // next along.
    let made = std::thread::scope(|scope| {
        let lay = std::thread::Builder::new().spawn_scoped(scope, || enter_and_lay(plan, &host));
        let lay = lay.map_err(Failure::at("start a thread"))?;
        lay.join().map_err(|_| Failure { step: "lay a cable".to_owned(), errno: libc::EIO })
    });
    let namespace = made.and_then(|made| made)?;
    let outside = host.index(&plan.link).map_err(Failure::at("find network link"))?;
    // A kernel without IPv6 has no such file.
    drop(fs::write(format!("/proc/sys/{}", ipv6_off(&plan.link)), "1"));
    host.send(&[
        netlink::up(outside),
        netlink::address(outside, plan.gateway, plan.address),
        netlink::route(outside, plan.gateway, plan.address),
        netlink::neighbour(outside, plan.address, plan.mac()),
    ])
    .map_err(Failure::at("set up host's end of network link"))?;
    Ok(namespace)
}

/// Whether somebody of this machine has the address: an engine of another platform with the same
/// block, or a dyno that ended a moment ago. Who cannot find out says no: a route that stands in the way
/// keeps the cable from being laid.
pub(super) fn is_taken(address: Ipv4Addr) -> bool {
    Netlink::open().is_ok_and(|host| host.leads_to(address).unwrap_or(false))
}

/// The switch below `/proc/sys` that has the interface `name`, or each that comes to be (`default`),
/// stay without IPv6, which dynos are not reached by. The kernel would look for neighbours and
/// routers at each end of each cable, and among thousands for the right one.
fn ipv6_off(name: &str) -> String {
    format!("net/ipv6/conf/{name}/disable_ipv6")
}

/// Has the interfaces that come to be in the network of the thread that calls stay without IPv6.
///
/// It does so by a `/proc` that is there for this alone: in the host's the kernel would remember
/// the `net/ipv6` of each network under the same name, and look through those of all others.
fn speak_ipv4_only() -> io::Result<()> {
    let proc = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&proc)?;
    let root = fsmount(&proc, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let path = format!("sys/{}", ipv6_off("default"));
    match openat(&root, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        // A kernel without IPv6 has no such file.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        switch => File::from(switch?).write_all(b"1"),
    }
}

fn enter_and_lay(plan: &Plan, host: &Netlink) -> Result<OwnedFd, Failure> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(Failure::at("make network"))?;
    let namespace = File::open("/proc/thread-self/ns/net").map_err(Failure::at("open network"))?;
    // What is there already, the loopback, has it.
    speak_ipv4_only().map_err(Failure::at("switch IPv6 off"))?;
    host.add_cable(
        End { name: &plan.link, mac: HOST_MAC },
        End { name: INSIDE, mac: plan.mac() },
        namespace.as_fd(),
    )
    .map_err(Failure::at("create network link"))?;
    let own = Netlink::open().map_err(Failure::at("open route socket"))?;
    let loopback = own.index("lo").map_err(Failure::at("find loopback"))?;
    let inside = own.index(INSIDE).map_err(Failure::at("find eth0"))?;
    own.send(&[
        netlink::up(loopback),
        netlink::up(inside),
        netlink::address(inside, plan.address, plan.gateway),
        netlink::route(inside, plan.address, plan.gateway),
        netlink::neighbour(inside, plan.gateway, HOST_MAC),
        netlink::default_route(inside, plan.gateway),
    ])
    .map_err(Failure::at("set up eth0"))?;
    Ok(namespace.into())
}
