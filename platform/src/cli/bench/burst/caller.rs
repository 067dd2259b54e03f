//! A caller of the API who keeps his connection, as programs with thousands of requests do.

use crate::cli::bench::BenchError;
use crate::cli::client::ClientError;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Speaks plain HTTP on loopback: the encryption is not what is measured.
pub(in crate::cli::bench) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    token: String,
}

impl Caller {
    pub(in crate::cli::bench) async fn connect(
        address: SocketAddr,
        token: &str,
    ) -> Result<Self, BenchError> {
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(BenchError::at("connect to the API"))?;
        stream.set_nodelay(true).map_err(BenchError::at("set up a connection"))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| BenchError::at("talk to the API")(std::io::Error::other(error)))?;
        tokio::spawn(connection);
        Ok(Self { sender, token: token.to_owned() })
    }

    /// The answer, and how long it took.
    pub(in crate::cli::bench) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(Value, Duration), BenchError> {
        let what = format!("{method} {path}");
        let exchange = |source: hyper::Error| {
            BenchError::Client(ClientError::Exchange { what: what.clone(), source: source.into() })
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "application/vnd.heroku+json; version=3")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|source| ClientError::Request { what: what.clone(), source })?;
        let asked = Instant::now();
        self.sender.ready().await.map_err(exchange)?;
        let answer = self.sender.send_request(request).await.map_err(exchange)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(exchange)?.to_bytes();
        let took = asked.elapsed();
        if !(200..300).contains(&status) {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(ClientError::Refused { what, status, body }.into());
        }
        let value = serde_json::from_slice(&body);
        Ok((value.map_err(|source| ClientError::Json { what, source })?, took))
    }
}
