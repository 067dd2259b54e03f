//! What passes between a hook and the platform: one call in, text and an exit code back.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The environment in which a hook finds its platform.
pub(super) const SOCKET_VARIABLE: &str = "LATHE_HOOKS";
pub(super) const PUSH_VARIABLE: &str = "LATHE_PUSH";

pub(super) const PRE_RECEIVE: &str = "pre-receive";
pub(super) const REFERENCE_TRANSACTION: &str = "reference-transaction";

/// The hooks there are. githooks(5).
pub const NAMES: [&str; 2] = [PRE_RECEIVE, REFERENCE_TRANSACTION];

/// A call is one line of JSON.
pub(super) const CALL_BYTES_MAX: u64 = 256 * 1024;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) push: String,
    pub(super) hook: String,
    pub(super) args: Vec<String>,
    /// The hook's stdin: a line `<old> <new> <ref>` for each ref.
    pub(super) input: String,
    /// Where the objects of this push are until it is accepted.
    pub(super) quarantine: Option<PathBuf>,
}

/// A frame back: its kind, the length of its data (4 bytes, big-endian), the data.
pub(super) const FRAME_HEADER_BYTES: usize = 5;
/// Text for the pusher.
pub(super) const TEXT: u8 = b't';
/// One byte: the hook's exit code. The last frame.
pub(super) const EXIT: u8 = b'x';
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;

pub(super) fn frame(kind: u8, data: &[u8]) -> Vec<u8> {
    let data = data.get(..FRAME_BYTES_MAX).unwrap_or(data);
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    [&[kind], &length.to_be_bytes()[..], data].concat()
}

/// Kind and length of the frame that follows.
pub(super) fn frame_header(header: [u8; FRAME_HEADER_BYTES]) -> (u8, usize) {
    let [kind, a, b, c, d] = header;
    (kind, u32::from_be_bytes([a, b, c, d]) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        let bytes = frame(TEXT, b"hello");
        let header = bytes[..FRAME_HEADER_BYTES].try_into().unwrap();
        assert_eq!(frame_header(header), (TEXT, 5));
        assert_eq!(&bytes[FRAME_HEADER_BYTES..], b"hello");
    }
}
