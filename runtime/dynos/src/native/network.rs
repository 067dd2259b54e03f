//! A dyno's network: one cable to the host, one routed address, no bridge and no neighbours.

use super::netlink::{self, End, Mac, Netlink};
use super::wire::Failure;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

/// Every host end answers to the same hardware address: each is alone on its cable.
const HOST_MAC: Mac = [0x02, 0, 0, 0, 0, 1];

/// The interface inside.
const INSIDE: &str = "eth0";

/// A cable to be laid: `link` names the host's end.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) link: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
}

/// Lays the cable from within the new network namespace. `host` was opened in the host's; the
/// cable goes with the namespace, so that nothing has to be taken down.
pub(super) fn connect(plan: &Plan<'_>, host: &Netlink) -> Result<(), Failure> {
    let namespace = File::open("/proc/self/ns/net").map_err(Failure::at("open network"))?;
    let [a, b, c, d] = plan.address.octets();
    let mac = [0x02, 1, a, b, c, d];
    host.add_cable(
        End { name: plan.link, mac: HOST_MAC },
        End { name: INSIDE, mac },
        namespace.as_fd(),
    )
    .map_err(Failure::at("create network link"))?;
    let outside = host.index(plan.link).map_err(Failure::at("find network link"))?;
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
    .map_err(Failure::at("set up eth0"))
}
