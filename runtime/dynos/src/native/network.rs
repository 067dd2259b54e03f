//! A dyno's network: a namespace of its own, one cable to the host, one routed address, no bridge
//! and no neighbours.

use super::netlink::{self, End, Mac, Netlink};
use super::wire::Failure;
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
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

/// Makes a network as planned. It lasts as long as the descriptor, or a process in it; its cable
/// goes with it, so that nothing has to be taken down, whoever dies.
pub(super) fn make(plan: &Plan) -> Result<OwnedFd, Failure> {
    // In a thread that ends there: one that did not find its way back would take whatever it does
    // next along.
    let made = std::thread::scope(|scope| {
        let lay = std::thread::Builder::new().spawn_scoped(scope, || enter_and_lay(plan));
        let lay = lay.map_err(Failure::at("start a thread"))?;
        lay.join().map_err(|_| Failure { step: "lay a cable".to_owned(), errno: libc::EIO })
    });
    made.and_then(|made| made)
}

fn enter_and_lay(plan: &Plan) -> Result<OwnedFd, Failure> {
    let host = Netlink::open().map_err(Failure::at("open route socket"))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(Failure::at("make network"))?;
    let namespace = File::open("/proc/thread-self/ns/net").map_err(Failure::at("open network"))?;
    let [a, b, c, d] = plan.address.octets();
    let mac = [0x02, 1, a, b, c, d];
    host.add_cable(
        End { name: &plan.link, mac: HOST_MAC },
        End { name: INSIDE, mac },
        namespace.as_fd(),
    )
    .map_err(Failure::at("create network link"))?;
    let outside = host.index(&plan.link).map_err(Failure::at("find network link"))?;
    // The route to the dyno comes with the address: `gateway` here, `address` behind it.
    host.send(&[
        netlink::up(outside),
        netlink::address(outside, plan.gateway, plan.address),
        netlink::neighbour(outside, plan.address, mac),
    ])
    .map_err(Failure::at("set up host's end of network link"))?;

    let own = Netlink::open().map_err(Failure::at("open route socket"))?;
    let loopback = own.index("lo").map_err(Failure::at("find loopback"))?;
    let inside = own.index(INSIDE).map_err(Failure::at("find eth0"))?;
    own.send(&[
        netlink::up(loopback),
        netlink::up(inside),
        netlink::address(inside, plan.address, plan.gateway),
        netlink::neighbour(inside, plan.gateway, HOST_MAC),
        netlink::default_route(inside, plan.gateway),
    ])
    .map_err(Failure::at("set up eth0"))?;
    Ok(namespace.into())
}
