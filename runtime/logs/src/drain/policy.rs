//! The limits of a drain.

use super::Reach;
use jiff::SignedDuration;
use std::path::PathBuf;
use std::time::Duration;

/// Every bound of a drain; the defaults are those of heroku/logplex where it has one.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Lines waiting for a drain that does not keep up.
    pub lines: usize,
    /// Lines waiting for one that does: a burst comes faster than any answer.
    pub burst: usize,
    /// A drain that has a frame for longer does not keep up.
    pub late: SignedDuration,
    /// Bytes of lines waiting for a drain.
    pub bytes: usize,
    /// Lines waiting for a drain that has failed for `failing`.
    pub lines_failing: usize,
    pub failing: SignedDuration,
    /// How often a frame is sent before it is dropped.
    pub tries: u32,
    /// Name, connection and TLS together.
    pub connect_timeout: Duration,
    /// An HTTP request with its response.
    pub request_timeout: Duration,
    /// A write to a syslog server.
    pub write_timeout: Duration,
    /// The shortest and longest pause before a syslog server is connected again.
    pub reconnect: (Duration, Duration),
    /// An unused connection is closed after this.
    pub idle: Duration,
    /// A used connection is replaced after this.
    pub age: Duration,
    /// What a stopping hub waits for drains that are not failing.
    pub grace: Duration,
    /// Which addresses a drain may be at.
    pub reach: Reach,
    /// The certificate authorities trusted, in PEM.
    pub roots: PathBuf,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            lines: 1024,
            burst: 16_384,
            late: SignedDuration::from_secs(1),
            bytes: 1 << 20,
            lines_failing: 10,
            failing: SignedDuration::from_secs(300),
            tries: 3,
            connect_timeout: seconds(3),
            request_timeout: seconds(5),
            write_timeout: seconds(4),
            reconnect: (seconds(30), seconds(300)),
            idle: seconds(240),
            age: seconds(5 * 3600),
            grace: seconds(5),
            reach: Reach::default(),
            roots: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        }
    }
}
