//! A client of one dyno, and what a request to it took.

use crate::cli::bench::BenchError;
use crate::cli::bench::work::{PORT, Run};
use crate::cli::bench::yard::Worker;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A dyno of a small class on a busy machine reads its document slowly.
const BOOT: Duration = Duration::from_mins(5);
const RETRY_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Caller {
    sender: SendRequest<Empty<Bytes>>,
}

impl Caller {
    /// Waits until the dyno listens.
    pub(super) async fn connect(worker: &Worker) -> Result<Self, BenchError> {
        let begin = Instant::now();
        let stream = loop {
            match TcpStream::connect((worker.address, PORT)).await {
                Err(_) if begin.elapsed() < BOOT => tokio::time::sleep(RETRY_EVERY).await,
                connected => break connected.map_err(BenchError::at("connect to a dyno"))?,
            }
        };
        let talk = |error: hyper::Error| BenchError::at("talk to a dyno")(io::Error::other(error));
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(talk)?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// One request: so many times the same work.
    pub(super) async fn call(&mut self, work: &str, times: u32) -> Result<Run, BenchError> {
        let talk = |error: hyper::Error| BenchError::at("talk to a dyno")(io::Error::other(error));
        let request = Request::builder()
            .uri(format!("/{work}?{times}"))
            .header(header::HOST, "bench")
            .body(Empty::new())
            .map_err(|error| BenchError::at("make a request")(io::Error::other(error)))?;
        self.sender.ready().await.map_err(talk)?;
        let answer = self.sender.send_request(request).await.map_err(talk)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(talk)?.to_bytes();
        if status != StatusCode::OK {
            let said = String::from_utf8_lossy(&body).into_owned();
            return Err(BenchError::at("get an answer of a dyno")(io::Error::other(said)));
        }
        let run = serde_json::from_slice(&body).map_err(io::Error::from);
        run.map_err(BenchError::at("read a dyno's answer"))
    }
}
