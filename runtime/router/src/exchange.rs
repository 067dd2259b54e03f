//! What is known of one request from arrival to end; says it in one log line when it is dropped.

use crate::access::{self, Access};
use crate::backend::Backend;
use crate::doors::Entrance;
use crate::fault::Fault;
use crate::headers;
use crate::in_flight::Visit;
use crate::index::Place;
use crate::proxy::Router;
use crate::session::Session;
use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use lathe_logs::{AppId, Line, Source};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Who says the lines: the same for all, and made once.
static PROCESS: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("router"));

#[derive(Debug)]
pub(crate) struct Exchange {
    router: Arc<Router>,
    session: Arc<Session>,
    app: AppId,
    method: Method,
    uri: Uri,
    host: Box<str>,
    pub(crate) request_id: HeaderValue,
    pub(crate) forwarded_for: HeaderValue,
    /// The last one that was tried.
    dyno: Option<Arc<Backend>>,
    connect: Option<Duration>,
    /// When a dyno got the request.
    handed: Option<Instant>,
    status: Option<u16>,
    bytes: u64,
    end: End,
    place: Option<Place>,
    visit: Option<Visit>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Dropped in this state, the client or the router has cut it off.
    Open,
    Done,
    Failed(Fault),
}

impl Exchange {
    pub(crate) fn begin(
        head: &Parts,
        host: &str,
        app: AppId,
        session: &Arc<Session>,
        router: &Arc<Router>,
    ) -> Self {
        Self {
            router: Arc::clone(router),
            session: Arc::clone(session),
            app,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: host.into(),
            request_id: headers::request_id(&head.headers),
            forwarded_for: headers::forwarded_for(&head.headers, &session.client),
            dyno: None,
            connect: None,
            handed: None,
            status: None,
            bytes: 0,
            end: End::Open,
            place: None,
            visit: None,
        }
    }

    /// Holds a place in the app's backlog until the end.
    pub(crate) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    pub(crate) fn tried(&mut self, dyno: &Arc<Backend>, connect: Duration) {
        self.dyno = Some(Arc::clone(dyno));
        self.connect = Some(connect);
    }

    /// A dyno is to have the request; it is busy with it until the end, or until it is left.
    pub(crate) fn enter(&mut self, visit: Visit) {
        self.visit = Some(visit);
    }

    /// The dyno cannot be reached.
    pub(crate) fn leave(&mut self) {
        self.visit = None;
    }

    pub(crate) fn handed_over(&mut self, now: Instant) {
        self.handed = Some(now);
    }

    pub(crate) fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(crate) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Done;
        }
    }

    /// The first fault stands: what follows is its consequence.
    pub(crate) fn fail(&mut self, fault: Fault) {
        if self.end == End::Open {
            self.end = End::Failed(fault);
        }
    }

    pub(crate) fn entrance(&self) -> Entrance {
        self.session.entrance
    }

    /// Waits for something, but not longer than `until`; `None` when it has not come by then.
    pub(crate) async fn wait<T>(
        &self,
        until: Instant,
        mut awaited: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        self.session.wake_at(Some(until));
        let came = poll_fn(|cx| match awaited.as_mut().poll(cx) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending if Instant::now() >= until => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let came = came.await;
        self.session.wake_at(None);
        came
    }

    fn fault(&self) -> Option<Fault> {
        match self.end {
            End::Done => None,
            End::Failed(fault) => Some(fault),
            End::Open if self.session.is_forced() => Some(Fault::ForcedClose),
            End::Open if self.session.is_stalled() => Some(Fault::ClientIdle),
            End::Open => Some(Fault::ClientInterrupted),
        }
    }

    fn line(&self, now: Instant) -> Line {
        let fault = self.fault();
        let text = access::line(&Access {
            fault,
            method: self.method.as_str(),
            path: self.uri.path_and_query().map_or("", |path| path.as_str()),
            host: &self.host,
            request_id: self.request_id.as_bytes(),
            forwarded_for: self.forwarded_for.as_bytes(),
            dyno: self.dyno.as_ref().map(|dyno| dyno.target.name.as_str()),
            connect: self.connect,
            service: self.handed.map(|handed| now.duration_since(handed)),
            status: fault.map_or(self.status, |fault| fault.row().status),
            bytes: self.handed.map(|_| self.bytes),
            entrance: self.session.entrance,
        });
        Line {
            app: self.app.clone(),
            time: jiff::Timestamp::now(),
            source: Source::Heroku,
            process: Arc::clone(&PROCESS),
            text,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Who reads the line finds the dyno and the backlog free of it.
        drop((self.place.take(), self.visit.take()));
        self.router.logs.send(self.line(Instant::now()));
    }
}
