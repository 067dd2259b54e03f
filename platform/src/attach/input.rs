//! Bytes from a client to its dyno's standard input.

use super::traffic::Traffic;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Sender;
use tokio::time::timeout;

const BUFFER_BYTES: usize = 16 * 1024;
/// The Heroku CLI sends this byte, alone and last, when its own input has ended.
const END: u8 = 0x04;
/// How long nothing must follow that byte: in the middle of binary input it is a byte like others.
const END_QUIET: Duration = Duration::from_millis(100);

/// A dyno's standard input. A terminal knows by itself what END means; a pipe is closed.
#[derive(Debug)]
pub(super) struct Input {
    /// None when it is closed.
    wire: Option<Sender>,
    terminal: bool,
    /// What the client sent before the dyno was there.
    early: Vec<u8>,
}

impl Input {
    pub(super) fn new(wire: Sender, terminal: bool, early: Vec<u8>) -> Self {
        Self { wire: Some(wire), terminal, early }
    }

    /// Passes on what the client sends; returns when the client has closed its side.
    /// What the dyno does not want any more is read all the same: only reading shows the end.
    pub(super) async fn feed(mut self, client: &mut (impl AsyncRead + Unpin), traffic: &Traffic) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let early = std::mem::take(&mut self.early);
        let mut held = self.take(&early, false, traffic).await;
        loop {
            let read = if held {
                match timeout(END_QUIET, client.read(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_quiet) => {
                        self.wire = None;
                        held = false;
                        continue;
                    }
                }
            } else {
                client.read(&mut buffer).await
            };
            match read {
                Ok(0) | Err(_) => return,
                Ok(bytes) => held = self.take(&buffer[..bytes], held, traffic).await,
            }
        }
    }

    /// Whether an END is held back now; `held` says whether one was before.
    async fn take(&mut self, bytes: &[u8], held: bool, traffic: &Traffic) -> bool {
        if bytes.is_empty() {
            return held;
        }
        traffic.heard_client();
        if held {
            self.write(&[END]).await;
        }
        let (now, holds) = portion(bytes, self.terminal);
        self.write(now).await;
        traffic.moved();
        holds
    }

    async fn write(&mut self, bytes: &[u8]) {
        if let Some(wire) = &mut self.wire
            && wire.write_all(bytes).await.is_err()
        {
            self.wire = None;
        }
    }
}

/// What of `bytes` goes to the dyno at once, and whether the END behind it is held back.
fn portion(bytes: &[u8], terminal: bool) -> (&[u8], bool) {
    match bytes {
        [first @ .., END] if !terminal => (first, true),
        _ => (bytes, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::net::unix::pipe;
    use tokio::time::sleep;

    #[test]
    fn the_last_byte_may_be_the_end_of_a_pipe_but_not_of_a_terminal() {
        for (bytes, terminal, now, held) in [
            (&b"a\x04"[..], false, &b"a"[..], true),
            (b"a\x04", true, b"a\x04", false),
            (b"\x04", false, b"", true),
            (b"\x04b", false, b"\x04b", false),
            (b"", false, b"", false),
        ] {
            assert_eq!(portion(bytes, terminal), (now, held), "{bytes:?}");
        }
    }

    /// What the client sends, what the dyno reads, and whether it sees an end.
    type Case<'a> = (&'a [&'a [u8]], &'a [u8], bool);

    /// What a dyno reads from its pipe, of what a client sends in these portions: with the end of
    /// its input when it sees one before the client leaves.
    async fn dyno_reads(portions: &[&[u8]], pause: Duration) -> (Vec<u8>, bool) {
        let (sender, mut receiver) = pipe::pipe().unwrap();
        let (mut ours, mut theirs) = duplex(1024);
        let feed = tokio::spawn(async move {
            let input = Input::new(sender, false, b"early ".to_vec());
            input.feed(&mut theirs, &Traffic::new()).await;
        });
        for portion in portions {
            ours.write_all(portion).await.unwrap();
            sleep(pause).await;
        }
        let mut read = Vec::new();
        let ended = timeout(END_QUIET * 3, receiver.read_to_end(&mut read)).await.is_ok();
        drop(ours);
        feed.await.unwrap();
        receiver.read_to_end(&mut read).await.unwrap();
        (read, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_input_is_an_end_only_when_nothing_follows() {
        let short = Duration::from_millis(1);
        let cases: [Case; 4] = [
            (&[b"a\nb\n"], b"early a\nb\n", false),
            (&[b"a\nb\n", b"\x04"], b"early a\nb\n", true),
            (&[b"a\nb\n\x04"], b"early a\nb\n", true),
            (&[b"bin\x04", b"ary\x04\x04", b"\x04"], b"early bin\x04ary\x04\x04", true),
        ];
        for (portions, read, ended) in cases {
            let seen = dyno_reads(portions, short).await;
            assert_eq!(seen, (read.to_vec(), ended), "{portions:?}");
        }
    }
}
