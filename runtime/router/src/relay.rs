//! A request at a dyno: handed over, waited for, and its answer judged.

use crate::dial::{Lease, dial};
use crate::exchange::Exchange;
use crate::fault::{Fault, Risk};
use crate::headers::{self, Provenance};
use crate::policy::Refusal;
use crate::proxy::{Asked, Router};
use crate::tunnel::Ends;
use crate::upload::{Progress, Upload};
use http::header;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use lathe_logs::AppId;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

/// Limits of Heroku's vegur on what is passed to clients.
const MAX_COOKIE_BYTES: usize = 8192;
const MAX_REASON_BYTES: usize = 8192;

/// A dyno's answer, and the connection it came on.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) upload: Option<Arc<Progress>>,
}

/// What came of handing a request over.
#[derive(Debug)]
pub(crate) enum Relayed {
    Stream(Box<Answer>),
    Switch(Response<()>, Ends),
}

/// Hands the request to a dyno and waits for the head of the answer.
pub(crate) async fn relay(
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
        scheme: exchange.entrance().scheme(),
        port: exchange.entrance().port(&router.config),
        start_ms: jiff::Timestamp::now().as_millisecond(),
    };
    rewrite(&mut head, &provenance, upgrade.is_some());
    if has_body && !head.headers.contains_key(header::CONTENT_LENGTH) {
        // Of a GET whose length is not known no body would be sent otherwise.
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let lease = dial(router, app, exchange, repeatable).await?;
    exchange.handed_over(Instant::now());
    let upload = has_body.then(|| Progress::start(Instant::now()));
    let outgoing = match &upload {
        Some(progress) => Upload::Streaming { body, progress: Arc::clone(progress) },
        None => Upload::Empty,
    };
    let spare = lease.reused.then(|| head.clone());
    let request = Request::from_parts(head, outgoing);
    let answer = match (ask(router, lease, request, upload, exchange).await, spare) {
        (Err(Fault::ClosedWithoutResponse), Some(head)) => {
            let lease = dial(router, app, exchange, false).await?;
            exchange.handed_over(Instant::now());
            let request = Request::from_parts(head, Upload::Empty);
            ask(router, lease, request, None, exchange).await?
        }
        (answer, _) => answer?,
    };
    judge(answer, upgrade, exchange)
}

/// Turns the client's head into the dyno's: HTTP/1.1 in origin form, whatever the client spoke.
fn rewrite(head: &mut Parts, provenance: &Provenance, upgrade: bool) {
    headers::to_dyno(&mut head.headers, provenance, upgrade);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    if head.uri.scheme().is_some()
        && let Some(path) = head.uri.path_and_query()
    {
        head.uri = Uri::from(path.clone());
    }
}

async fn ask(
    router: &Router,
    mut lease: Lease,
    request: Request<Upload>,
    upload: Option<Arc<Progress>>,
    exchange: &Exchange,
) -> Result<Answer, Fault> {
    let response = {
        let mut response = pin!(lease.connection.ask(request));
        loop {
            let end = patience_end(router, upload.as_deref());
            match exchange.wait(end, response.as_mut()).await {
                Some(response) => break response,
                None => out_of_patience(router, upload.as_deref())?,
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
        _ if error.is_parse() && says_content_length(error) => {
            Fault::RiskyResponse(Risk::ContentLength)
        }
        _ if error.is_parse() => Fault::BadResponse,
        Some(upload) if !upload.is_done() => Fault::ResponseInterrupted,
        _ => Fault::ClosedWithoutResponse,
    }
}

/// hyper has no other name for several lengths that differ, or one that is no number.
fn says_content_length(error: &hyper::Error) -> bool {
    error.to_string().contains("content-length")
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
    // An HTTP/1.0 dyno says nothing about how the client is spoken to.
    *response.version_mut() = Version::HTTP_11;
    headers::to_client(response.headers_mut(), switching);
    match (switching, upgrade) {
        (false, _) => Ok(Relayed::Stream(Box::new(answer))),
        (true, None) => Err(Fault::BadResponse),
        (true, Some(client)) => {
            let dyno = hyper::upgrade::on(response);
            let ends = Ends { client, dyno, connection: answer.lease.connection };
            Ok(Relayed::Switch(answer.response.map(drop), ends))
        }
    }
}
