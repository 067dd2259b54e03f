//! One question to a dyno: does it answer its health path?

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connecting and the first line of the answer together.
const PATIENCE: Duration = Duration::from_secs(5);

/// `HTTP/1.1 200`: more of the answer is not read.
const STATUS_BYTES: usize = 12;

/// Whether the dyno at `door` answers `path` with 2xx or 3xx. `path` is a path without blanks.
pub(crate) async fn answers(door: SocketAddrV4, path: &str) -> bool {
    matches!(timeout(PATIENCE, status_line(door, path)).await, Ok(Ok(line)) if is_well(&line))
}

async fn status_line(door: SocketAddrV4, path: &str) -> io::Result<[u8; STATUS_BYTES]> {
    let mut stream = TcpStream::connect(door).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {door}\r\nUser-Agent: lathe-health\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; STATUS_BYTES];
    stream.read_exact(&mut line).await?;
    Ok(line)
}

fn is_well(line: &[u8; STATUS_BYTES]) -> bool {
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..));
    matches!(status, Some([b' ', b'2' | b'3', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_are_well() {
        for (line, well) in [
            (b"HTTP/1.1 200", true),
            (b"HTTP/1.0 302", true),
            (b"HTTP/1.1 503", false),
            (b"HTTP/1.1 100", false),
            (b"HTTP/2.0 200", false),
            (b"SSH-2.0-Open", false),
        ] {
            assert_eq!(is_well(line), well);
        }
    }
}
