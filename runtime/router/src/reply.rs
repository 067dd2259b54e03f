//! A response body on its way to a client: a page of the router's, or what a dyno streams.

use crate::dial::Lease;
use crate::exchange::Exchange;
use crate::fault::Fault;
use crate::session::Session;
use crate::upload::Progress;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

#[derive(Debug)]
pub(crate) struct Reply {
    content: Content,
    _turn: Turn,
}

#[derive(Debug)]
enum Content {
    Page(Option<Bytes>),
    Stream(Box<Download>),
}

/// The connection's turn to be busy: from a request's head to the end of its response.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Session>);

/// The response of a dyno, streamed as fast as the client takes it.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) body: Incoming,
    pub(crate) exchange: Exchange,
    pub(crate) lease: Option<Lease>,
    pub(crate) upload: Option<Arc<Progress>>,
    pub(crate) silence: Silence,
    /// The dyno has broken off, and the client is still to be told.
    pub(crate) is_broken: bool,
}

/// How long the dyno has had nothing to give.
#[derive(Debug)]
pub(crate) struct Silence {
    limit: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The response cannot be completed; hyper closes the connection so that the client sees it.
#[derive(Debug, thiserror::Error)]
#[error("response cut off")]
pub(crate) struct CutOff;

impl Reply {
    pub(crate) fn page(page: Bytes, turn: Turn) -> Self {
        Self { content: Content::Page(Some(page).filter(|page| !page.is_empty())), _turn: turn }
    }

    pub(crate) fn stream(mut download: Download, turn: Turn) -> Self {
        if download.body.is_end_stream() {
            download.complete();
        }
        Self { content: Content::Stream(Box::new(download)), _turn: turn }
    }
}

impl Turn {
    pub(crate) fn begin(session: &Arc<Session>) -> Self {
        session.request_began();
        Self(Arc::clone(session))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.request_ended(Instant::now());
    }
}

impl Silence {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    fn broken(&mut self) {
        self.since = None;
    }

    /// Ready when neither the dyno nor the client has sent a byte for the limit. The timer is
    /// armed when first needed and re-armed only when it fires: most responses never wait.
    fn poll_over(&mut self, last_upload: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let end = last_upload.map_or(since, |upload| since.max(upload)) + self.limit;
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end.into())));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end.into());
        }
        Poll::Pending
    }
}

impl Download {
    fn complete(&mut self) {
        self.exchange.finish();
        let uploaded = self.upload.as_ref().is_none_or(|upload| upload.is_done());
        if let Some(lease) = self.lease.take().filter(|_| uploaded) {
            lease.give_back();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        while !self.is_broken {
            let body = &mut self.body;
            let mut frame = |cx: &mut Context<'_>| Pin::new(&mut *body).poll_frame(cx);
            let polled = match &mut self.lease {
                Some(lease) => lease.connection.poll_carry(cx, frame),
                None => frame(cx),
            };
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers stop here: the head that would announce them was hop-by-hop.
                    let Ok(data) = frame.into_data() else { continue };
                    self.silence.broken();
                    self.exchange.sent(data.len());
                    if self.body.is_end_stream() {
                        self.complete();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(None) => {
                    self.complete();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "dyno broke off");
                    self.exchange.fail(Fault::ResponseInterrupted);
                    self.is_broken = true;
                    // Told at once, hyper would send nothing of what it has been given before.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => {
                    let last_upload = self.upload.as_ref().map(|upload| upload.last_byte());
                    std::task::ready!(self.silence.poll_over(last_upload, cx));
                    self.exchange.fail(Fault::DynoIdle);
                    return Poll::Ready(Some(Err(CutOff)));
                }
            }
        }
        Poll::Ready(Some(Err(CutOff)))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut self.get_mut().content {
            Content::Page(page) => Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Content::Stream(download) => download.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Page(page) => page.is_none(),
            Content::Stream(download) => download.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Page(page) => {
                SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64))
            }
            Content::Stream(download) => download.body.size_hint(),
        }
    }
}
