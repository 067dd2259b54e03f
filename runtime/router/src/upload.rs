//! A request body on its way to a dyno, and how far it has come.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What hyper sends to the dyno. Trailers are dropped: they may carry framing the head did not
/// announce.
#[derive(Debug)]
pub(crate) enum Upload {
    Empty,
    Streaming { body: Incoming, progress: Arc<Progress> },
}

/// Read by the request while hyper's connection task moves the body.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    last_byte_ms: AtomicU64,
    done: AtomicBool,
    /// Whether the next move is the client's: it has not sent what the dyno would take.
    client_next: AtomicBool,
    bad_chunk: AtomicBool,
    broken: AtomicBool,
}

impl Progress {
    pub(crate) fn start(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            start: now,
            last_byte_ms: AtomicU64::new(0),
            done: AtomicBool::new(false),
            client_next: AtomicBool::new(false),
            bad_chunk: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    /// When the last byte of the body moved.
    pub(crate) fn last_byte(&self) -> Instant {
        self.start + Duration::from_millis(self.last_byte_ms.load(Ordering::Acquire))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn waits_for_client(&self) -> bool {
        self.client_next.load(Ordering::Acquire)
    }

    pub(crate) fn had_bad_chunk(&self) -> bool {
        self.bad_chunk.load(Ordering::Acquire)
    }

    /// Whether the client's side of the body failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    fn moved(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_byte_ms.store(elapsed, Ordering::Release);
    }

    fn finish(&self) {
        self.moved();
        self.done.store(true, Ordering::Release);
    }

    fn fail(&self, error: &hyper::Error) {
        self.bad_chunk.store(is_malformed(error), Ordering::Release);
        self.broken.store(true, Ordering::Release);
    }
}

/// hyper reports a bad chunk header as an I/O error of these kinds; an early end is another.
fn is_malformed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData
            );
        }
        source = error.source();
    }
    false
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Streaming { body, progress } = self.get_mut() else {
            return Poll::Ready(None);
        };
        loop {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            progress.client_next.store(polled.is_pending(), Ordering::Release);
            match ready!(polled) {
                Some(Ok(frame)) if frame.is_data() => {
                    if body.is_end_stream() {
                        progress.finish();
                    } else {
                        progress.moved();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    progress.fail(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    progress.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { body, .. } => body.size_hint(),
        }
    }
}
