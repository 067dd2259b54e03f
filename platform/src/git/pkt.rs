//! Git's pkt-lines and side-band packets. Git documentation, gitprotocol-common(5).

/// Length field included.
const LINE_BYTES_MAX: usize = 65_520;
const HEADER_BYTES: usize = 4;

/// What git prints after `remote: `.
pub(super) const BAND_PROGRESS: u8 = 2;
/// What git itself reads.
pub(super) const BAND_DATA: u8 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packet<'a> {
    Flush,
    Data(&'a [u8]),
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?} is not the length of a pkt-line")]
pub(super) struct PacketError {
    found: String,
}

/// The first packet of `bytes` and how many bytes it takes; none while it is not complete.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, PacketError> {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
    let wrong = || PacketError { found: header.escape_ascii().to_string() };
    if !header.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let text = std::str::from_utf8(header).map_err(|_| wrong())?;
    let length = usize::from_str_radix(text, 16).map_err(|_| wrong())?;
    match length {
        0 => Ok(Some((Packet::Flush, HEADER_BYTES))),
        HEADER_BYTES..=LINE_BYTES_MAX => {
            Ok(bytes.get(HEADER_BYTES..length).map(|data| (Packet::Data(data), length)))
        }
        _ => Err(wrong()),
    }
}

pub(super) const FLUSH: &[u8] = b"0000";

/// Appends one packet; longer data is cut, because whoever builds a packet knows its bound.
pub(super) fn push(out: &mut Vec<u8>, data: &[u8]) {
    let data = data.get(..LINE_BYTES_MAX - HEADER_BYTES).unwrap_or(data);
    out.extend_from_slice(format!("{:04x}", data.len() + HEADER_BYTES).as_bytes());
    out.extend_from_slice(data);
}

/// Appends `data` on a side-band channel, in as many packets as it takes.
pub(super) fn push_band(out: &mut Vec<u8>, band: u8, data: &[u8]) {
    for piece in data.chunks(LINE_BYTES_MAX - HEADER_BYTES - 1) {
        out.extend_from_slice(format!("{:04x}", piece.len() + HEADER_BYTES + 1).as_bytes());
        out.push(band);
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_git_sends() {
        type Case<'a> = (&'a [u8], Option<(Packet<'a>, usize)>);
        let cases: &[Case<'_>] = &[
            (b"", None),
            (b"000", None),
            (b"0000", Some((Packet::Flush, 4))),
            (b"0004", Some((Packet::Data(b""), 4))),
            (b"0006a\nrest", Some((Packet::Data(b"a\n"), 6))),
            (b"0006a", None),
            (b"000Aabcdef", Some((Packet::Data(b"abcdef"), 10))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(first(bytes).as_ref(), Ok(expected), "{}", bytes.escape_ascii());
        }
        for bytes in
            [&b"0001"[..], b"0003", b"+004", b"zzzz", b"fff1", b"GET /", b"\xff\xff\xff\xff"]
        {
            assert!(first(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((_, taken))) = first(&bytes) {
                prop_assert!((4..=bytes.len()).contains(&taken));
            }
        }
    }

    proptest! {
        // Each case is larger than a packet.
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn what_is_written_is_read(data in prop::collection::vec(any::<u8>(), 0..200_000)) {
            let mut banded = Vec::new();
            push_band(&mut banded, BAND_PROGRESS, &data);
            let (mut at, mut read) = (0, Vec::new());
            while let Some((Packet::Data(packet), taken)) = first(&banded[at..]).unwrap() {
                prop_assert_eq!(packet[0], BAND_PROGRESS);
                read.extend_from_slice(&packet[1..]);
                at += taken;
            }
            prop_assert_eq!(read, data);
        }
    }
}
