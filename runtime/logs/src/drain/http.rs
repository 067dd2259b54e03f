//! Frames over HTTP, as heroku/logplex posts them.

use super::Target;
use super::connect::{ConnectError, Connector};
use super::outbox::{Frame, Outcome};
use ::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use ::http::{HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// An answer's head must fit in this.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// An answer with a longer body costs its connection.
const BODY_BYTES_MAX: usize = 64 << 10;

const MESSAGES: HeaderName = HeaderName::from_static("logplex-msg-count");
const FRAME_ID: HeaderName = HeaderName::from_static("logplex-frame-id");
const TOKEN: HeaderName = HeaderName::from_static("logplex-drain-token");
const AGENT: &str = concat!("Logplex/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("no connection to the drain")]
    Connect(#[source] ConnectError),
    #[error("the drain's URL or token does not fit a request")]
    Request(#[source] ::http::Error),
    #[error("no answer within the time limit")]
    Timeout,
    #[error("the request failed")]
    Exchange(#[source] hyper::Error),
    #[error("the drain answered {0}")]
    Status(StatusCode),
}

#[derive(Debug)]
pub(super) struct Client {
    target: Target,
    token: String,
    connector: Arc<Connector>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    opened: Instant,
    /// Drives the connection; dropped with it.
    _driver: JoinSet<()>,
}

impl Client {
    pub(super) fn new(target: Target, token: String, connector: Arc<Connector>) -> Self {
        Self { target, token, connector, connection: None }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    pub(super) async fn send(&mut self, frame: &Frame) -> (Outcome, Option<PostError>) {
        match self.post(frame).await {
            Ok(status) => {
                let outcome = verdict(status);
                let wrong = (outcome != Outcome::Delivered).then_some(PostError::Status(status));
                (outcome, wrong)
            }
            Err(error) => (Outcome::Failed, Some(error)),
        }
    }

    async fn post(&mut self, frame: &Frame) -> Result<StatusCode, PostError> {
        let request = self.request(frame).map_err(PostError::Request)?;
        let limit = self.connector.policy().request_timeout;
        // Taken out, so that whatever goes wrong the connection is not used again.
        let mut connection = self.connection().await?;
        let answered = timeout(limit, exchange(&mut connection.requests, request)).await;
        let (status, reusable) = answered.unwrap_or(Err(PostError::Timeout))?;
        if reusable {
            self.connection = Some(connection);
        }
        Ok(status)
    }

    async fn connection(&mut self) -> Result<Connection, PostError> {
        let age = self.connector.policy().age;
        if let Some(connection) = self.connection.take()
            && !connection.requests.is_closed()
            && connection.opened.elapsed() < age
        {
            return Ok(connection);
        }
        let stream = self.connector.connect(&self.target).await.map_err(PostError::Connect)?;
        let (requests, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(PostError::Exchange)?;
        let mut drivers = JoinSet::new();
        // A connection's end is seen by the request that needed it.
        drivers.spawn(async move { drop(driver.await) });
        Ok(Connection { requests, opened: Instant::now(), _driver: drivers })
    }

    fn request(&self, frame: &Frame) -> Result<Request<Full<Bytes>>, ::http::Error> {
        let mut request = Request::post(&self.target.path)
            .header(HOST, self.target.authority())
            .header(CONTENT_TYPE, "application/logplex-1")
            .header(CONTENT_LENGTH, frame.body.len())
            .header(USER_AGENT, AGENT)
            .header(MESSAGES, frame.messages)
            .header(FRAME_ID, &frame.id)
            .header(TOKEN, HeaderValue::from_str(&self.token)?);
        if let Some(authorization) = &self.target.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(frame.body.clone()))
    }
}

/// The status, and whether the connection can carry another request.
async fn exchange(
    requests: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, bool), PostError> {
    requests.ready().await.map_err(PostError::Exchange)?;
    let response = requests.send_request(request).await.map_err(PostError::Exchange)?;
    Ok((response.status(), finish(response).await))
}

/// Reads the body to its end, for the connection's sake; what it says does not matter.
async fn finish(response: Response<Incoming>) -> bool {
    Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.is_ok()
}

/// heroku/logplex: 2xx is delivered; 4xx would be refused again, except 429; everything else,
/// a redirect too, may work the next time. Redirects are never followed.
fn verdict(status: StatusCode) -> Outcome {
    match status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Failed,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        use Outcome::{Delivered, Failed, Refused};
        for (status, want) in [
            (200, Delivered),
            (204, Delivered),
            (299, Delivered),
            (301, Failed),
            (302, Failed),
            (400, Refused),
            (401, Refused),
            (404, Refused),
            (410, Refused),
            (413, Refused),
            (429, Failed),
            (500, Failed),
            (503, Failed),
            (700, Failed),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(status).unwrap()), want, "{status}");
        }
    }
}
