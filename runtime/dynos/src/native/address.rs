//! Addresses of dynos: handed out in a circle, so that none is used again soon.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A block of private addresses: `10.213.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    base: u32,
    /// 8..=24: at least 253 dynos, and names short enough for an interface.
    prefix: u8,
}

#[derive(Debug, thiserror::Error)]
#[error("a network is written like 10.213.0.0/16, with a prefix between /8 and /24")]
pub struct ParseNetworkError;

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or(ParseNetworkError)?;
        let address: Ipv4Addr = address.parse().map_err(|_| ParseNetworkError)?;
        let prefix = prefix.parse().map_err(|_| ParseNetworkError)?;
        let network = Self { base: address.to_bits(), prefix };
        if !(8..=24).contains(&prefix) || network.base & (network.size() - 1) != 0 {
            return Err(ParseNetworkError);
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

impl Network {
    /// Where nothing else is said.
    pub const DEFAULT: Self = Self { base: Ipv4Addr::new(10, 213, 0, 0).to_bits(), prefix: 16 };

    /// The same for dynos that a Docker daemon runs.
    pub const DOCKER: Self = Self { base: Ipv4Addr::new(10, 215, 0, 0).to_bits(), prefix: 16 };

    /// Whether it belongs to nobody on the Internet (RFC 1918).
    pub fn is_private(self) -> bool {
        self.gateway().is_private() && Ipv4Addr::from_bits(self.base + self.size() - 1).is_private()
    }

    /// Whether it has addresses in common with `address`/`prefix`.
    pub fn overlaps(self, address: Ipv4Addr, prefix: u32) -> bool {
        let common = prefix.min(u32::from(self.prefix));
        let mask = u32::MAX.checked_shl(32 - common).unwrap_or(0);
        self.base & mask == address.to_bits() & mask
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The host's address on every cable; the first of the block.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    /// The place of `address` in the block.
    pub(super) fn offset(self, address: Ipv4Addr) -> u32 {
        address.to_bits().wrapping_sub(self.base)
    }

    /// The first free address after `last`, around the circle; none when all are taken.
    pub(super) fn next(self, last: Ipv4Addr, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        // Offsets 0 and 1 are the block and the gateway, the last one is its broadcast address.
        let count = self.size() - 3;
        let start = self.offset(last).wrapping_sub(1).min(count);
        (0..count)
            .map(|step| Ipv4Addr::from_bits(self.base + 2 + (start + step) % count))
            .find(|address| !taken(*address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn networks_are_parsed_or_refused() {
        for good in ["10.213.0.0/16", "10.0.0.0/8", "192.168.7.0/24"] {
            assert_eq!(good.parse::<Network>().unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0.0", "10.0.0.1/16", "10.0.0.0/25", "10.0.0.0/7", "x/16", "10.0.0.0/x"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn private_are_the_three_blocks_and_nothing_that_reaches_beyond_them() {
        let is_private = |text: &str| text.parse::<Network>().unwrap().is_private();
        for inside in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "10.213.0.0/16"] {
            assert!(is_private(inside), "{inside}");
        }
        for outside in ["8.8.0.0/16", "172.16.0.0/11", "192.168.0.0/15", "172.32.0.0/16"] {
            assert!(outside.parse::<Network>().is_err() || !is_private(outside), "{outside}");
        }
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        let network: Network = "10.213.0.0/16".parse().unwrap();
        for (address, prefix, expected) in [
            ([10, 213, 7, 0], 24, true),
            ([10, 0, 0, 0], 8, true),
            ([0, 0, 0, 0], 0, true),
            ([10, 214, 0, 0], 16, false),
        ] {
            assert_eq!(network.overlaps(address.into(), prefix), expected, "{address:?}");
        }
    }

    #[test]
    fn every_address_is_used_once_before_one_is_used_again() {
        let network: Network = "10.1.2.0/24".parse().unwrap();
        let mut last = network.gateway();
        let mut seen = BTreeSet::new();
        for _ in 0..253 {
            last = network.next(last, |_| false).unwrap();
            assert!(seen.insert(last), "{last} twice");
        }
        assert!(!seen.contains(&network.gateway()));
        assert_eq!(network.next(last, |_| false), seen.first().copied());
        assert_eq!(network.next(last, |address| seen.contains(&address)), None);
    }

    proptest! {
        #[test]
        fn a_taken_or_foreign_address_is_never_given(last: u32, taken in proptest::collection::btree_set(2u32..255, 0..253)) {
            let network: Network = "10.1.2.0/24".parse().unwrap();
            let taken: BTreeSet<_> = taken.iter().map(|n| Ipv4Addr::from_bits(network.base + n)).collect();
            if let Some(address) = network.next(Ipv4Addr::from_bits(last), |it| taken.contains(&it)) {
                prop_assert!(!taken.contains(&address));
                prop_assert!((2..255).contains(&network.offset(address)));
            }
        }
    }
}
