//! One request from its head to its answer: judged, given to its app, relayed or refused.

use crate::board::Board;
use crate::exchange::Exchange;
use crate::fault::Fault;
use crate::headers;
use crate::keys::Keys;
use crate::pick::Dice;
use crate::policy::{self, Refusal};
use crate::relay::{Answer, Relayed, relay};
use crate::reply::{Download, Reply, Silence, Turn};
use crate::session::Session;
use crate::tunnel::Tunnel;
use crate::{CHALLENGE_PATH, RouterConfig, page};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use lathe_logs::Sender;
use lathe_logs::clock::steady_ms;
use rustls::ServerConfig;
use std::sync::Arc;

/// What all requests of a router share.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) config: Arc<RouterConfig>,
    pub(crate) board: Arc<Board>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) dice: Dice,
    pub(crate) logs: Sender,
}

/// There is nobody left to answer; hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("request abandoned")]
pub(crate) struct Abandoned;

/// A request taken apart.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    /// Present when the client asks to leave HTTP.
    pub(crate) upgrade: Option<OnUpgrade>,
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
    if let Some(answer) = answer(&router.keys, host.as_deref().ok(), &asked.head) {
        return Ok(send_page(page::plain(answer), close, turn));
    }
    let (host, app) = match host.map(|host| (router.board.app_of(&host), host)) {
        Ok((Some(app), host)) => (host, app),
        Ok((None, _)) => {
            let page = verdict.map_or_else(refuse, |()| page::no_such_app());
            return Ok(send_page(page, close, turn));
        }
        Err(refusal) => return Ok(send_page(refuse(refusal), true, turn)),
    };
    let config = &router.config;
    config.demand.note(&app.id, steady_ms());
    let mut exchange = Exchange::begin(&asked.head, &host, app.id.clone(), &session, &router);
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
        Ok(Relayed::Switch(response, ends)) => {
            let idle_timeout = router.config.idle_timeout;
            session.keep_tunnel(Tunnel { ends, exchange, idle_timeout });
            Ok(response.map(|()| Reply::page(Bytes::new(), turn)))
        }
        Err(fault) => {
            exchange.fail(fault);
            match fault {
                Fault::ClientInterrupted | Fault::ClientIdle => Err(Abandoned),
                Fault::BadRequest(_) => Ok(send_page(page::fault(fault), true, turn)),
                _ => Ok(send_page(page::fault(fault), close, turn)),
            }
        }
    }
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

/// What an authority is answered that asks whether this name is served here: by us, whatever the
/// app does. Of anything else below that path the app is asked, which may have an authority of its own.
fn answer(keys: &Keys, host: Option<&str>, head: &Parts) -> Option<String> {
    let path = head.uri.path();
    if head.method != Method::GET || !path.starts_with(CHALLENGE_PATH) {
        return None;
    }
    keys.answer(host?, path)
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
        let (lease, is_broken) = (Some(lease), false);
        let download = Download { body, exchange, lease, upload, silence, is_broken };
        Reply::stream(download, turn)
    })
}
