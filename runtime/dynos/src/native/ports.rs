//! The TCP ports on which a dyno listens, and whether its program takes what comes there, as the
//! kernel lists it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";

/// `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";

/// Between two looks at a connection that nobody has accepted: at first, and at most.
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(250);

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

/// Whether a program in the network namespace of `pid` accepts a connection to `door` in time. The
/// kernel completes connections for it as long as there is room in its queue; until it has taken one
/// over, that one belongs to no inode.
pub(crate) async fn accepts(pid: u32, door: SocketAddrV4, at_most: Duration) -> bool {
    let accepted = async {
        let Ok(stream) = TcpStream::connect(door).await else { return false };
        let Ok(here) = stream.local_addr() else { return false };
        let mut pause = LOOK_MIN;
        while in_queue(pid, door.port(), here.port()) {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
        true
    };
    timeout(at_most, accepted).await.unwrap_or(false)
}

/// Whether the connection between the two ports waits to be accepted. One that is not listed was
/// taken and closed again, or waits for its first byte as its program wants it (`TCP_DEFER_ACCEPT`).
fn in_queue(pid: u32, own: u16, peer: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|family| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{family}")).unwrap_or_default();
        table.lines().any(|line| waits(line, own, peer))
    })
}

/// `  1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000 0 0 0 …`: the inode is
/// the tenth field.
fn waits(line: &str, own: u16, peer: u16) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let &[_, local, remote, state, .., inode] = fields.as_slice() else { return false };
    let is = |address: &str, port: u16| {
        address.rsplit_once(':').is_some_and(|(_, text)| text == format!("{port:04X}"))
    };
    fields.len() == 10 && state == ESTABLISHED && inode == "0" && is(local, own) && is(remote, peer)
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

    #[test]
    fn a_connection_waits_as_long_as_it_has_no_inode() {
        let line = |state: &str, inode: &str| {
            format!("  1: 0100007F:1F90 0100007F:D431 {state} 0:0 00:0 0 0 0 {inode} 1 0")
        };
        for (line, expected) in [
            (line("01", "0"), true),
            (line("01", "118"), false),
            (line("04", "0"), false),
            (line("03", "0"), false),
            ("  1: 0100007F:1F90 0100007F:D431 01".to_owned(), false),
        ] {
            assert_eq!(waits(&line, 8080, 0xd431), expected, "{line}");
        }
        assert!(!waits(&line("01", "0"), 8081, 0xd431));
        assert!(!waits(&line("01", "0"), 8080, 0xd432));
    }

    /// fault R6
    #[tokio::test]
    async fn who_only_listens_accepts_nothing() {
        // Where nothing else listens, also when this one is gone.
        let listener = tokio::net::TcpListener::bind("127.0.6.1:0").await.unwrap();
        let std::net::SocketAddr::V4(door) = listener.local_addr().unwrap() else { panic!() };
        let pid = std::process::id();
        assert!(!accepts(pid, door, Duration::from_millis(50)).await);
        let asked = accepts(pid, door, Duration::from_secs(20));
        let (accepted, _) = tokio::join!(asked, async {
            // The one that was given up is the first.
            (listener.accept().await, listener.accept().await)
        });
        assert!(accepted);
        drop(listener);
        assert!(!accepts(pid, door, Duration::from_secs(20)).await);
    }
}
