//! One frame: the length of its body (4 bytes, little endian), its kind (1 byte), its body.

use super::error::LinkError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

/// The next frame, of at most `max` bytes; none when the other side has closed the link. Memory is
/// taken for what has come, not for what was announced.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<Option<Frame>, LinkError> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let [a, b, c, d, kind] = head;
    let bytes = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if bytes > max {
        return Err(LinkError::TooLarge { bytes, max });
    }
    let mut body = Vec::new();
    from.take(bytes as u64).read_to_end(&mut body).await?;
    if body.len() < bytes {
        return Err(LinkError::Malformed { what: "cut frame" });
    }
    Ok(Some(Frame { kind, body }))
}

/// Sends a frame; one above `max` would only be refused.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &Frame,
    max: usize,
) -> Result<(), LinkError> {
    let bytes = frame.body.len();
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= max);
    let length = length.ok_or(LinkError::TooLarge { bytes, max })?;
    let [a, b, c, d] = length.to_le_bytes();
    // One call to the kernel, and one wake-up of the other side.
    to.write_all(&[&[a, b, c, d, frame.kind], &*frame.body].concat()).await?;
    Ok(to.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_is_announced_too_large_or_cut_is_refused() {
        let huge = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        assert!(matches!(now(read(&mut &huge[..], 100)), Err(LinkError::TooLarge { .. })));
        for cut in [&[1][..], &[3, 0, 0, 0], &[3, 0, 0, 0, 1, 9, 9]] {
            assert!(now(read(&mut &*cut, 100)).is_err(), "{cut:?}");
        }
        assert_eq!(now(read(&mut &[][..], 100)).unwrap(), None);
        let frame = Frame { kind: 1, body: vec![0; 101] };
        assert!(now(write(&mut Vec::new(), &frame, 100)).is_err());
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let frames: Vec<Frame> =
                bodies.into_iter().zip(0..).map(|(body, kind)| Frame { kind, body }).collect();
            let mut wire = Vec::new();
            for frame in &frames {
                now(write(&mut wire, frame, 300)).unwrap();
            }
            let mut wire = &wire[..];
            for frame in frames {
                prop_assert_eq!(now(read(&mut wire, 300)).unwrap(), Some(frame));
            }
            prop_assert_eq!(now(read(&mut wire, 300)).unwrap(), None);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut wire = &noise[..];
            while let Ok(Some(frame)) = now(read(&mut wire, 50)) {
                prop_assert!(frame.body.len() <= 50);
            }
        }
    }
}
