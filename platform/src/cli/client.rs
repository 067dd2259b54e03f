//! A client of the Platform API on this machine, as small as our own verbs need it.

use super::env::Access;
use crate::endpoints::Endpoints;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

const TIMEOUT: Duration = Duration::from_mins(1);
const BODY_BYTES_MAX: usize = 4 << 20;

/// Why a request brought no answer, or another than hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the authority's certificate cannot be used")]
    Authority(#[source] rustls::Error),
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot make the request {what}")]
    Request {
        what: String,
        #[source]
        source: http::Error,
    },
    #[error("no answer to {what}")]
    Exchange {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("no answer to {what} within {} seconds", TIMEOUT.as_secs())]
    Slow { what: String },
    #[error("{what} answers {status}: {body}")]
    Refused { what: String, status: u16, body: String },
    #[error("{what} answers something else than JSON")]
    Json {
        what: String,
        #[source]
        source: serde_json::Error,
    },
}

/// The API of a running platform, over TLS and with the owner's token.
pub(super) struct Client {
    endpoints: Endpoints,
    token: String,
    tls: TlsConnector,
}

impl Client {
    pub(super) fn of(access: &Access) -> Result<Self, ClientError> {
        Self::new(&access.endpoints, &access.token, &access.authority)
    }

    pub(super) fn new(
        endpoints: &Endpoints,
        token: &str,
        authority: &str,
    ) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()).flatten() {
            roots.add(certificate).map_err(ClientError::Authority)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Authority)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { endpoints: endpoints.clone(), token: token.to_owned(), tls })
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, body).await
    }

    /// Sends JSON, expects JSON and success.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, ClientError> {
        let what = format!("{method} {path}");
        let request = self.request(&what, method, path, body)?;
        let stream = self.connect(self.endpoints.api_tls).await?;
        let (status, body) = exchange(&what, stream, request).await?;
        if !(200..300).contains(&status) {
            return Err(ClientError::Refused { what, status, body });
        }
        serde_json::from_str(&body).map_err(|source| ClientError::Json { what, source })
    }

    /// Sends a POST and hears each line of the answer as it comes, for as long as it takes.
    pub(super) async fn lines(
        &self,
        path: &str,
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), ClientError> {
        let what = format!("POST {path}");
        let request = self.request(&what, Method::POST, path, &Value::Null)?;
        let stream = self.connect(self.endpoints.api_tls).await?;
        let failed = failed(&what);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.into()))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        if status != 200 {
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(&failed)?;
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            return Err(ClientError::Refused { what, status, body });
        }
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(error.into()))?;
            text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                heard(&String::from_utf8_lossy(&text[..end]));
                text.drain(..=end);
            }
            if text.len() > BODY_BYTES_MAX {
                return Err(failed("a line is too long".into()));
            }
        }
        drop(connection);
        Ok(())
    }

    /// Fetches one of the platform's own URLs, which carry their secret themselves.
    pub(super) async fn get_text(&self, url: &str) -> Result<String, ClientError> {
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let what = "GET of a log session".to_owned();
        let request = Request::builder()
            .uri(format!("/{path}"))
            .header(header::HOST, self.host())
            .body(Full::default())
            .map_err(|source| ClientError::Request { what: what.clone(), source })?;
        let stream = self.connect(self.endpoints.api_tls).await?;
        match exchange(&what, stream, request).await? {
            (200, body) => Ok(body),
            (status, body) => Err(ClientError::Refused { what, status, body }),
        }
    }

    /// A connection over TLS to one of the platform's ports.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<TlsStream<TcpStream>, ClientError> {
        let failed = |source| ClientError::Connect { address, source };
        let name = ServerName::try_from("localhost").map_err(|e| failed(io::Error::other(e)))?;
        let tcp = TcpStream::connect(loopback(address)).await.map_err(failed)?;
        self.tls.connect(name, tcp).await.map_err(failed)
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn request(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host())
            .header(header::ACCEPT, "application/vnd.heroku+json; version=3")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|source| ClientError::Request { what: what.to_owned(), source })
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.endpoints.api_tls.port())
    }
}

/// Where this machine reaches an address that may be listened on everywhere.
pub(super) fn loopback(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    }
}

/// Requests an app's root page from the router.
pub(super) async fn get_app(
    router: SocketAddr,
    app: &str,
    domain: &str,
) -> Result<(u16, String), ClientError> {
    let what = format!("GET of {app}");
    let request = Request::builder()
        .uri("/")
        .header(header::HOST, format!("{app}.{domain}:{}", router.port()))
        .body(Full::default())
        .map_err(|source| ClientError::Request { what: what.clone(), source })?;
    let stream = TcpStream::connect(router)
        .await
        .map_err(|source| ClientError::Connect { address: router, source })?;
    exchange(&what, stream, request).await
}

fn failed(what: &str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> ClientError + use<> {
    let what = what.to_owned();
    move |source| ClientError::Exchange { what: what.clone(), source }
}

/// One request and its whole answer, on a connection of their own.
async fn exchange(
    what: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, String), ClientError> {
    let failed = failed(what);
    let talk = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.into()))?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX);
        let body = body.collect().await.map_err(&failed)?.to_bytes();
        connection.abort();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let answered = tokio::time::timeout(TIMEOUT, talk).await;
    answered.map_err(|_| ClientError::Slow { what: what.to_owned() })?
}
