//! A request's body as it comes in: decompressed, counted, and cut when nothing comes.

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::StreamExt;
use std::io::Write;
use std::time::Duration;
use tokio::time::timeout;

#[derive(Debug)]
pub(super) struct Inflow {
    body: BodyDataStream,
    gzip: Option<GzDecoder<Vec<u8>>>,
    bytes: u64,
    idle: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum InflowError {
    #[error("nothing came for {} s", idle.as_secs())]
    Idle { idle: Duration },
    #[error("the connection broke")]
    Broken(#[source] axum::Error),
    #[error("the body is not gzip")]
    Gzip(#[source] std::io::Error),
}

impl Inflow {
    /// Git compresses small requests of its own accord. A client that sends nothing for `idle` has
    /// gone.
    pub(super) fn new(headers: &HeaderMap, body: Body, idle: Duration) -> Self {
        let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let gzipped = matches!(encoding, Some(b"gzip" | b"x-gzip"));
        let gzip = gzipped.then(|| GzDecoder::new(Vec::new()));
        Self { body: body.into_data_stream(), gzip, bytes: 0, idle }
    }

    /// The next piece, decompressed; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, InflowError> {
        loop {
            let piece = match timeout(self.idle, self.body.next()).await {
                Err(_) => return Err(InflowError::Idle { idle: self.idle }),
                Ok(None) => return self.finish(),
                Ok(Some(piece)) => piece.map_err(InflowError::Broken)?,
            };
            let plain = match &mut self.gzip {
                None => piece,
                Some(decoder) => {
                    decoder.write_all(&piece).map_err(InflowError::Gzip)?;
                    Bytes::from(std::mem::take(decoder.get_mut()))
                }
            };
            if !plain.is_empty() {
                self.bytes += plain.len() as u64;
                return Ok(Some(plain));
            }
        }
    }

    /// What the decoder still holds, and its verdict on the checksum.
    fn finish(&mut self) -> Result<Option<Bytes>, InflowError> {
        let Some(decoder) = self.gzip.take() else { return Ok(None) };
        let rest = decoder.finish().map_err(InflowError::Gzip)?;
        self.bytes += rest.len() as u64;
        Ok((!rest.is_empty()).then(|| Bytes::from(rest)))
    }

    /// Decompressed bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads on without keeping anything: git reads our answer only once it has sent all it has.
    /// Gives up after `limit` more bytes.
    pub(super) async fn discard(&mut self, limit: u64) -> Result<(), InflowError> {
        let end = self.bytes.saturating_add(limit);
        while self.bytes <= end && self.next().await?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    const IDLE: Duration = Duration::from_secs(5);

    async fn all(inflow: &mut Inflow) -> Result<Vec<u8>, InflowError> {
        let mut bytes = Vec::new();
        while let Some(piece) = inflow.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn plain_and_gzip_bodies_read_the_same() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&vec![b'x'; 100_000]).unwrap();
        let gzip = encoder.finish().unwrap();
        let mut headers = HeaderMap::new();
        let mut plain = Inflow::new(&headers, Body::from(vec![b'x'; 100_000]), IDLE);
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        let mut packed = Inflow::new(&headers, Body::from(gzip.clone()), IDLE);
        assert_eq!(all(&mut plain).await.unwrap(), all(&mut packed).await.unwrap());
        assert_eq!((plain.bytes(), packed.bytes()), (100_000, 100_000));

        for broken in [&gzip[..gzip.len() - 4], b"not gzip at all", b""] {
            let mut inflow = Inflow::new(&headers, Body::from(broken.to_vec()), IDLE);
            assert!(matches!(all(&mut inflow).await, Err(InflowError::Gzip(_))), "{broken:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_client_is_cut() {
        let silent =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>());
        let mut inflow = Inflow::new(&HeaderMap::new(), silent, Duration::from_millis(20));
        assert!(matches!(inflow.next().await, Err(InflowError::Idle { .. })));
    }
}
