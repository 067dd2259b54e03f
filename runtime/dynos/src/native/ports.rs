//! The TCP ports on which a dyno listens, as the kernel lists them.

use std::collections::BTreeSet;
use std::fs;

/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";

/// 127.0.0.11, where a Docker daemon answers names in each container: no port of the dyno's.
const RESOLVER: &str = "0B00007F";

/// Reads both address families in the network namespace of process `pid`.
pub(crate) fn listening(pid: u32) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for family in ["tcp", "tcp6"] {
        if let Ok(table) = fs::read_to_string(format!("/proc/{pid}/net/{family}")) {
            ports.extend(table.lines().skip(1).filter_map(port));
        }
    }
    ports.into_iter().collect()
}

/// `  0: 00000000:1F90 00000000:0000 0A …`: the local port of a listening line.
fn port(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let (address, port) = local.rsplit_once(':')?;
    if state == LISTEN && address != RESOLVER { u16::from_str_radix(port, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_lines_have_a_port() {
        let cases = [
            ("   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000", Some(8080)),
            (
                "   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A",
                Some(80),
            ),
            ("   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000", None),
            ("   3: 0B00007F:A0B1 00000000:0000 0A", None),
            ("garbage", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(port(line), expected, "{line}");
        }
    }
}
