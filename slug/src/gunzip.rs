//! Decodes gzip on the calling thread while another thread uses what comes out.

use crate::Limit;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

const PIECE_BYTES: usize = 256 << 10;
/// Pieces in flight: enough to ride out a slow write, 1 MiB in all.
const PIECES: usize = 4;

/// Gives `consume` the decoded stream of all members, and returns what it returns. A fault of the
/// stream reaches `consume` as a read error; when `consume` returns early, decoding stops.
pub(crate) fn gunzip<T: Send>(
    gz: impl Read,
    compressed_bytes_max: u64,
    consume: impl FnOnce(Decoded) -> T + Send,
) -> T {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(PIECES);
        let consumer =
            scope.spawn(|| consume(Decoded { pieces: receiver, piece: Vec::new(), at: 0 }));
        decode(Capped { inner: gz, bytes: 0, max: compressed_bytes_max }, &sender);
        drop(sender);
        consumer.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Sends until the stream ends or fails, or nobody listens any more.
fn decode(gz: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(128 << 10, gz));
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let result = decoder.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let last = piece.is_empty() || result.is_err();
        if !piece.is_empty() && sender.send(Ok(piece)).is_err() {
            return;
        }
        if let Err(error) = result {
            // Nobody to tell is no matter: the consumer has its verdict already.
            drop(sender.send(Err(error)));
        }
        if last {
            return;
        }
    }
}

/// The decoded stream.
pub(crate) struct Decoded {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl BufRead for Decoded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len()
            && let Ok(next) = self.pieces.recv()
        {
            self.piece = next?;
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

/// Fails, rather than ends, when more than allowed comes in.
struct Capped<R> {
    inner: R,
    bytes: u64,
    max: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.bytes += n as u64;
        Limit::Compressed.check(self.bytes, self.max).map_err(io::Error::other)?;
        Ok(n)
    }
}
