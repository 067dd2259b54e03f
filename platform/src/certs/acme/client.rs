//! Requests to a certificate authority: each on a connection of its own, bounded in time and size.

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// From the look-up of the name to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A chain or a directory is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("cannot read the certificate authorities in {}", path.display())]
    Roots {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("{uri} is no https URL")]
    Url { uri: Uri },
    #[error("cannot connect to {host}")]
    Connect {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{host} does not answer as it should")]
    Http {
        host: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {host} breaks off or is too large")]
    Answer {
        host: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("no answer within {} seconds", TIMEOUT.as_secs())]
    Timeout,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
}

impl Client {
    /// `authorities`: whose word counts for who the authority is, in PEM.
    pub(super) fn new(authorities: &Path) -> Result<Self, ClientError> {
        let path = authorities.to_owned();
        let read = |source| ClientError::Roots { path: path.clone(), source };
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(authorities).map_err(read)?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(read)?;
        // Of a bundle some are of kinds that nobody uses for TLS.
        roots.add_parsable_certificates(certificates);
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    async fn ask(
        self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, ClientError> {
        let uri = request.uri().clone();
        let place = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        let (Some(place), Some(path)) = (place, uri.path_and_query()) else {
            return Err(ClientError::Url { uri });
        };
        let host = place.host().to_owned();
        let port = place.port_u16().unwrap_or(443);
        let connect = |source| ClientError::Connect { host: host.clone(), source };
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| ClientError::Url { uri: uri.clone() })?;
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(connect)?;
        let stream = TlsConnector::from(self.tls).connect(name, stream).await.map_err(connect)?;

        let header = HeaderValue::from_str(place.as_str());
        request
            .headers_mut()
            .insert(HOST, header.map_err(|_| ClientError::Url { uri: uri.clone() })?);
        *request.uri_mut() = Uri::from(path.clone());
        let http = |source| ClientError::Http { host: host.clone(), source };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let answer = async {
            let (head, body) = sender.send_request(request).await.map_err(http)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|source| ClientError::Answer { host: host.clone(), source })?;
            Ok(Response::from_parts(head, Full::new(body.to_bytes())))
        };
        // Whoever answers may keep the connection open, and whoever closes it may have answered.
        let driven = async {
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => answer,
            () = driven => Err(ClientError::Timeout),
        }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let asked = self.clone().ask(request);
        Box::pin(async move {
            let answer = timeout(TIMEOUT, asked).await.unwrap_or(Err(ClientError::Timeout));
            answer
                .map(BytesResponse::from)
                .map_err(|error| instant_acme::Error::Other(error.into()))
        })
    }
}
