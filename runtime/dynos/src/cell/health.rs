//! One question to a dyno: is it well, is it ready? Asked of its port, by HTTP, or by a command in it.

use crate::checks::{Check, Outcome};
use crate::containers::{Containers, Ran};
use crate::spec::DynoId;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `HTTP/1.1 200`: more of the answer is not read.
const STATUS_BYTES: usize = 12;

/// Asks the dyno at `door`. Whoever does not answer within `at_most` has failed.
pub(crate) async fn ask<C: Containers>(
    engine: &C,
    id: DynoId,
    door: SocketAddrV4,
    check: &Check,
    at_most: Duration,
) -> Outcome {
    match check {
        Check::Port => match engine.accepts(id, *door.ip(), door.port(), at_most).await {
            Ok(true) => Outcome::Well,
            Ok(false) => Outcome::Failed(format!(
                "no connection to port {} was accepted within {}",
                door.port(),
                seconds(at_most)
            )),
            Err(_) => Outcome::Unknown,
        },
        Check::Path(path) => match tokio::time::timeout(at_most, status(door, path)).await {
            Ok(answer) => judge(path, answer),
            Err(_) => Outcome::Failed(format!("no answer from {path} within {}", seconds(at_most))),
        },
        Check::Command(command) => match engine.run(id, command, at_most).await {
            Ok(Ran { status: Some(0), .. }) => Outcome::Well,
            Ok(ran) => Outcome::Failed(failed(&ran, at_most)),
            Err(_) => Outcome::Unknown,
        },
    }
}

async fn status(door: SocketAddrV4, path: &str) -> io::Result<[u8; STATUS_BYTES]> {
    let mut stream = TcpStream::connect(door).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {door}\r\nUser-Agent: lathe-health\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; STATUS_BYTES];
    stream.read_exact(&mut line).await?;
    Ok(line)
}

fn judge(path: &str, answer: io::Result<[u8; STATUS_BYTES]>) -> Outcome {
    let line = match answer {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Outcome::Failed("the connection was refused".to_owned());
        }
        Err(_) => return Outcome::Failed(format!("{path} was not answered")),
    };
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..)).unwrap_or_default();
    match *status {
        [b' ', b'2' | b'3', b'0'..=b'9', b'0'..=b'9'] => Outcome::Well,
        [b' ', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let status: String = [a, b, c].into_iter().map(char::from).collect();
            Outcome::Failed(format!("{path} was answered with {status}"))
        }
        _ => Outcome::Failed(format!("{path} was not answered by HTTP/1")),
    }
}

fn failed(ran: &Ran, at_most: Duration) -> String {
    let mut why = match ran.status {
        Some(status) => format!("the command exited with status {status}"),
        None => format!("the command did not end within {}", seconds(at_most)),
    };
    if !ran.last_line.is_empty() {
        why = format!("{why}, {}", ran.last_line);
    }
    why
}

fn seconds(duration: Duration) -> String {
    let plural = if duration == Duration::from_secs(1) { "" } else { "s" };
    format!("{} second{plural}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_are_well_and_what_is_said_of_others() {
        for (line, why) in [
            (b"HTTP/1.1 200", None),
            (b"HTTP/1.0 302", None),
            (b"HTTP/1.1 503", Some("/up was answered with 503")),
            (b"HTTP/1.1 100", Some("/up was answered with 100")),
            (b"HTTP/1.1 2\n\n", Some("/up was not answered by HTTP/1")),
            (b"HTTP/2.0 200", Some("/up was not answered by HTTP/1")),
            (b"SSH-2.0-Open", Some("/up was not answered by HTTP/1")),
        ] {
            let expected = why.map_or(Outcome::Well, |why| Outcome::Failed(why.to_owned()));
            assert_eq!(judge("/up", Ok(*line)), expected, "{line:?}");
        }
        let refused = judge("/up", Err(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(refused, Outcome::Failed("the connection was refused".into()));
    }

    #[test]
    fn a_command_that_failed_is_quoted_with_its_last_word() {
        let ran = |status, line: &str| Ran { status, last_line: line.to_owned() };
        let five = Duration::from_secs(5);
        assert_eq!(failed(&ran(Some(2), ""), five), "the command exited with status 2");
        assert_eq!(
            failed(&ran(None, "no database"), Duration::from_secs(1)),
            "the command did not end within 1 second, no database"
        );
    }
}
