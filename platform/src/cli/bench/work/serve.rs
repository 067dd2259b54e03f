//! A web app that answers `GET /parse?n` and `GET /decrypt?n` with what so many of them took.

use super::BenchError;
use super::document::Document;
use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Every dyno has a network of its own.
pub(in crate::cli::bench) const PORT: u16 = 5000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Serve {
    /// Records of the document that is parsed
    #[arg(long)]
    records: u32,
}

/// What one request took; nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "units are last, and in the report")]
pub(in crate::cli::bench) struct Run {
    /// From first to last.
    pub(in crate::cli::bench) duration_ns: u64,
    /// Processor time, of the app alone.
    pub(in crate::cli::bench) cpu_ns: u64,
    /// Of each time that it was done, in order.
    pub(in crate::cli::bench) each_ns: Vec<u64>,
}

/// One request after the other, in one thread, as the original experiment's app did.
pub(super) fn serve(how: &Serve) -> Result<(), BenchError> {
    let document = Arc::new(Document::new(how.records)?);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(BenchError::at("make a runtime"))?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await;
        let listener = listener.map_err(BenchError::at("listen"))?;
        loop {
            let (stream, _) = listener.accept().await.map_err(BenchError::at("accept"))?;
            let answer = service_fn(|request| {
                let document = Arc::clone(&document);
                async move { Ok::<_, Infallible>(answer(&document, &request)) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // A client that breaks off is no reason to end.
            drop(connection.await);
        }
    })
}

fn answer(document: &Document, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let count = request.uri().query().and_then(|query| query.parse().ok());
    let run = match (request.uri().path(), count) {
        ("/parse", Some(count)) => measure(count, || document.parse()),
        ("/decrypt", Some(count)) => measure(count, || document.decrypt()),
        _ => return say(StatusCode::NOT_FOUND, String::new()),
    };
    match run {
        Ok(run) => say(StatusCode::OK, serde_json::to_string(&run).unwrap_or_default()),
        Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn say(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

fn measure(count: u32, work: impl Fn() -> Result<usize, BenchError>) -> Result<Run, BenchError> {
    let (begin, spent) = (Instant::now(), spent());
    let mut each_ns = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        work()?;
        each_ns.push(nanos(begin.elapsed()));
    }
    let cpu_ns = nanos(self::spent().saturating_sub(spent));
    Ok(Run { duration_ns: nanos(begin.elapsed()), cpu_ns, each_ns })
}

fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
