//! Which addresses a drain may connect to: nothing inside, unless the operator allows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, written `10.0.0.0/8`, `fd00::/8`, or as one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network: {0:?} (use the form 10.0.0.0/8)")]
pub struct ParseNetworkError(String);

/// What the operator says about addresses; `refused` wins over `allowed`.
///
/// Without either, every public address can be reached and no other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    /// Reachable although not public.
    pub allowed: Vec<Network>,
    /// Not reachable although public: the platform's own addresses.
    pub refused: Vec<Network>,
}

impl Reach {
    /// Why a drain may not connect to `address`, in words that fit "is …"; `None` if it may.
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if self.refused.iter().any(|network| network.contains(address)) {
            return Some("the platform's own");
        }
        if self.allowed.iter().any(|network| network.contains(address)) {
            return None;
        }
        match address {
            IpAddr::V4(address) => special_v4(address),
            IpAddr::V6(address) => special_v6(address),
        }
    }
}

/// IANA IPv4 Special-Purpose Address Registry (RFC 6890), and multicast.
fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] => Some("a link-local address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [100, 64..=127, ..] => Some("a shared address of a provider's network"),
        [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Some("reserved"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("for documentation only"),
        [224..=239, ..] => Some("a multicast address"),
        _ => None,
    }
}

/// IANA IPv6 Special-Purpose Address Registry. Only `2000::/3` is handed out to the public; what
/// carries an IPv4 address inside leads where that one leads.
fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let v4 =
        |high: u16, low: u16| special_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0..=0x1ff, ..] => Some("reserved"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("for documentation only"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

impl Network {
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseNetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let whole = Self::from(address.parse::<IpAddr>().map_err(|_| wrong())?);
        let Some(prefix) = prefix else { return Ok(whole) };
        let prefix = prefix.parse().map_err(|_| wrong())?;
        if prefix > whole.prefix { Err(wrong()) } else { Ok(Self { prefix, ..whole }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        let inside = [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.19.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "4000::1",
        ];
        for address in inside {
            assert!(Reach::default().refusal(address.parse().unwrap()).is_some(), "{address}");
        }
        let outside = [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2001:4860::8888",
            "2002:101:101::",
        ];
        for address in outside {
            assert_eq!(Reach::default().refusal(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let reach = Reach {
            allowed: networks(&["127.0.0.0/8", "10.1.0.0/16", "fd00::/8"]),
            refused: networks(&["127.0.0.9", "203.0.114.0/24"]),
        };
        let refused = |address: &str| reach.refusal(address.parse().unwrap()).is_some();
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "10.1.255.1", "fd12::1", "8.8.8.8"] {
            assert!(!refused(address), "{address}");
        }
        for address in
            ["127.0.0.9", "::ffff:127.0.0.9", "10.2.0.1", "203.0.114.1", "fe80::1", "::1"]
        {
            assert!(refused(address), "{address}");
        }
    }

    #[test]
    fn networks_are_parsed() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "fd00::/129", "host/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
