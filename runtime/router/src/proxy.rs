//! One request: judged, routed, handed to a dyno, answered.

use crate::board::Board;
use crate::dial::{Lease, dial};
use crate::exchange::Exchange;
use crate::fault::{Fault, Risk};
use crate::headers::{self, Provenance};
use crate::pick::Dice;
use crate::policy::{self, Refusal};
use crate::reply::{Download, Reply, Silence, Turn};
use crate::session::Session;
use crate::tunnel::Tunnel;
use crate::upload::{Progress, Upload};
use crate::{RouterConfig, page};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use lathe_logs::{AppId, Sender};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

/// Limits of Heroku's vegur on what is passed to clients.
const MAX_COOKIE_BYTES: usize = 8192;
const MAX_REASON_BYTES: usize = 8192;

/// What all requests of a router share.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) config: Arc<RouterConfig>,
    pub(crate) board: Arc<Board>,
    pub(crate) dice: Dice,
    pub(crate) logs: Sender,
}

/// There is nobody left to answer; hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("request abandoned")]
pub(crate) struct Abandoned;

/// A request taken apart.
#[derive(Debug)]
struct Asked {
    head: Parts,
    body: Incoming,
    /// Present when the client asks to leave HTTP.
    upgrade: Option<OnUpgrade>,
}

/// A dyno's answer, and the connection it came on.
#[derive(Debug)]
struct Answer {
    response: Response<Incoming>,
    lease: Lease,
    upload: Option<Arc<Progress>>,
}

/// Answers one request: with a dyno's response, with a page, or by closing the connection.
pub(crate) async fn serve(
    router: Arc<Router>,
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Abandoned> {
    let turn = Turn::begin(&session);
    let asked = Asked::new(request);
    let host = policy::host(&asked.head);
    let verdict = policy::check(&asked.head, &router.config);
    let close = !asked.body.is_end_stream();
    let (host, app) = match host.map(|host| (router.board.app_of(&host), host)) {
        Ok((Some(app), host)) => (host, app),
        Ok((None, _)) => {
            let page = verdict.map_or_else(refuse, |()| page::no_such_app());
            return Ok(send_page(page, close, turn));
        }
        Err(refusal) => return Ok(send_page(refuse(refusal), true, turn)),
    };
    let (config, logs) = (&router.config, &router.logs);
    let mut exchange = Exchange::begin(&asked.head, &host, app.id.clone(), &session, logs, config);
    drop(host);
    let answered = match (verdict, app.take_place(config.backlog_per_dyno)) {
        (Err(refusal), _) => Err(Fault::BadRequest(refusal)),
        (Ok(()), None) => Err(Fault::BacklogTooDeep),
        (Ok(()), Some(place)) => {
            exchange.hold(place);
            relay(&router, &app.id, asked, &mut exchange).await
        }
    };
    match answered {
        Ok(Relayed::Stream(answer)) => Ok(stream(*answer, exchange, &router, turn)),
        Ok(Relayed::Switch(response, client, dyno)) => {
            let idle_timeout = router.config.idle_timeout;
            session.keep_tunnel(Tunnel { client, dyno, exchange, idle_timeout });
            Ok(response.map(|()| Reply::page(Bytes::new(), turn)))
        }
        Err(fault) => {
            exchange.fail(fault);
            match fault {
                Fault::ClientInterrupted | Fault::ClientIdle => Err(Abandoned),
                _ => Ok(send_page(page::fault(fault), close, turn)),
            }
        }
    }
}

/// What came of handing a request over.
#[derive(Debug)]
enum Relayed {
    Stream(Box<Answer>),
    Switch(Response<()>, OnUpgrade, OnUpgrade),
}

impl Asked {
    fn new(mut request: Request<Incoming>) -> Self {
        let upgrade = request.version() == Version::HTTP_11
            && request.body().is_end_stream()
            && headers::wants_upgrade(request.headers());
        let upgrade = upgrade.then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        Self { head, body, upgrade }
    }
}

fn refuse(refusal: Refusal) -> Response<Bytes> {
    tracing::debug!(cause = refusal.cause(), "refuse a request for no known app");
    page::fault(Fault::BadRequest(refusal))
}

/// `close`: the rest of the request is not worth reading.
fn send_page(page: Response<Bytes>, close: bool, turn: Turn) -> Response<Reply> {
    let mut response = page.map(|page| Reply::page(page, turn));
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn stream(answer: Answer, exchange: Exchange, router: &Router, turn: Turn) -> Response<Reply> {
    let Answer { response, lease, upload } = answer;
    let silence = Silence::new(router.config.idle_timeout);
    response.map(|body| {
        let download = Download { body, exchange, lease: Some(lease), upload, silence };
        Reply::stream(download, turn)
    })
}

/// Hands the request to a dyno and waits for the head of the answer.
async fn relay(
    router: &Router,
    app: &AppId,
    asked: Asked,
    exchange: &mut Exchange,
) -> Result<Relayed, Fault> {
    let Asked { mut head, body, upgrade } = asked;
    let has_body = !body.is_end_stream();
    // A connection that served before may be closing just now. Only a request that may be sent
    // twice is risked on it (RFC 9110, 9.2.2), and its head kept for the second time.
    let repeatable = !has_body && upgrade.is_none() && head.method.is_idempotent();
    let provenance = Provenance {
        forwarded_for: exchange.forwarded_for.clone(),
        request_id: exchange.request_id.clone(),
        scheme: router.config.scheme,
        port: router.config.public_port,
        start_ms: jiff::Timestamp::now().as_millisecond(),
    };
    headers::to_dyno(&mut head.headers, &provenance, upgrade.is_some());
    let lease = dial(router, app, exchange, repeatable).await?;
    exchange.handed_over(Instant::now());
    let upload = has_body.then(|| Progress::start(Instant::now()));
    let outgoing = match &upload {
        Some(progress) => Upload::Streaming { body, progress: Arc::clone(progress) },
        None => Upload::Empty,
    };
    let reused = lease.reused;
    let answer = match ask(router, lease, request_for_dyno(&head, outgoing), upload).await {
        Err(Fault::ClosedWithoutResponse) if reused => {
            let lease = dial(router, app, exchange, false).await?;
            exchange.handed_over(Instant::now());
            ask(router, lease, request_for_dyno(&head, Upload::Empty), None).await?
        }
        answer => answer?,
    };
    judge(answer, upgrade, exchange)
}

/// In origin form, whatever form the client used.
fn request_for_dyno(head: &Parts, body: Upload) -> Request<Upload> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = match head.uri.path_and_query() {
        Some(path) if head.uri.scheme().is_some() => Uri::from(path.clone()),
        _ => head.uri.clone(),
    };
    *request.headers_mut() = head.headers.clone();
    request
}

async fn ask(
    router: &Router,
    mut lease: Lease,
    request: Request<Upload>,
    upload: Option<Arc<Progress>>,
) -> Result<Answer, Fault> {
    let response = {
        let mut response = pin!(lease.sender.send_request(request));
        loop {
            let end = patience_end(router, upload.as_deref());
            match tokio::time::timeout_at(end.into(), response.as_mut()).await {
                Ok(response) => break response,
                Err(_) => out_of_patience(router, upload.as_deref())?,
            }
        }
    };
    match response {
        Ok(response) => Ok(Answer { response, lease, upload }),
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "no response from a dyno");
            Err(blame(&error, upload.as_deref()))
        }
    }
}

/// While a body is under way its last byte counts, afterwards the dyno has its time to answer.
fn patience_end(router: &Router, upload: Option<&Progress>) -> Instant {
    match upload {
        Some(upload) if !upload.is_done() => upload.last_byte() + router.config.idle_timeout,
        Some(upload) => upload.last_byte() + router.config.first_byte_timeout,
        None => Instant::now() + router.config.first_byte_timeout,
    }
}

/// `Ok` when bytes have moved since the wait began.
fn out_of_patience(router: &Router, upload: Option<&Progress>) -> Result<(), Fault> {
    match upload {
        None => Err(Fault::RequestTimeout),
        Some(_) if Instant::now() < patience_end(router, upload) => Ok(()),
        Some(upload) if upload.is_done() => Err(Fault::RequestTimeout),
        Some(upload) if upload.waits_for_client() => Err(Fault::ClientIdle),
        Some(_) => Err(Fault::DynoIdle),
    }
}

/// Which fault a connection that gave no response amounts to.
fn blame(error: &hyper::Error, upload: Option<&Progress>) -> Fault {
    match upload {
        Some(upload) if upload.had_bad_chunk() => Fault::BadRequest(Refusal::BadChunk),
        Some(upload) if upload.is_broken() => Fault::ClientInterrupted,
        _ if error.is_parse_too_large() => Fault::RiskyResponse(Risk::Header),
        _ if error.is_parse() => Fault::BadResponse,
        Some(upload) if !upload.is_done() => Fault::ResponseInterrupted,
        _ => Fault::ClosedWithoutResponse,
    }
}

/// Refuses responses that must not reach a client, and readies the others.
fn judge(
    mut answer: Answer,
    upgrade: Option<OnUpgrade>,
    exchange: &mut Exchange,
) -> Result<Relayed, Fault> {
    let response = &mut answer.response;
    let cookies = response.headers().get_all(header::SET_COOKIE);
    if cookies.iter().any(|cookie| cookie.len() > MAX_COOKIE_BYTES) {
        return Err(Fault::RiskyResponse(Risk::Cookie));
    }
    let reason = response.extensions().get::<ReasonPhrase>();
    if reason.is_some_and(|reason| reason.as_bytes().len() > MAX_REASON_BYTES) {
        return Err(Fault::RiskyResponse(Risk::StatusLine));
    }
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    exchange.answered(response.status().as_u16());
    headers::to_client(response.headers_mut(), switching);
    match (switching, upgrade) {
        (false, _) => Ok(Relayed::Stream(Box::new(answer))),
        (true, None) => Err(Fault::BadResponse),
        (true, Some(client)) => {
            let dyno = hyper::upgrade::on(response);
            Ok(Relayed::Switch(answer.response.map(drop), client, dyno))
        }
    }
}
