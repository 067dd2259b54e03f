//! The addresses that this machine answers to, as the kernel's routing tables list them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of every interface, loopback included. proc(5), `/proc/net/fib_trie` and `/proc/net/if_inet6`.
pub fn of_this_machine() -> io::Result<Vec<IpAddr>> {
    let v4 = local_v4(&fs::read_to_string("/proc/net/fib_trie")?);
    // Without IPv6 the file is not there.
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let v6 = v6.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
    let v6 = v6.map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
    Ok(v4.into_iter().map(IpAddr::from).chain(v6).collect())
}

/// An address stands on the line before the one that calls it local.
fn local_v4(table: &str) -> Vec<Ipv4Addr> {
    let lines = table.lines().zip(table.lines().skip(1));
    let local = lines.filter(|(_, route)| route.contains("/32 host LOCAL"));
    let mut found: Vec<Ipv4Addr> =
        local.filter_map(|(leaf, _)| leaf.trim().strip_prefix("|-- ")?.parse().ok()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_and_no_others() {
        let table = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 192.0.2.7
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 192.0.2.7
        /32 host LOCAL
";
        assert_eq!(local_v4(table), [Ipv4Addr::new(192, 0, 2, 7)]);
        assert!(of_this_machine().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
