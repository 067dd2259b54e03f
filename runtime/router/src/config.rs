//! The router's limits and time-outs; the defaults are Heroku's published figures.

use crate::demand::Demand;
use crate::in_flight::InFlight;
use crate::in_force::InForce;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a router behaves. Figures: Heroku Dev Center, "HTTP Routing", "Router 2.0" and "Limits".
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Told to apps as `X-Forwarded-Port`, of those who came by HTTP and by HTTPS.
    pub public_port: u16,
    pub public_tls_port: u16,
    /// Where the last route table and the last keyring are kept, so that a router can start alone.
    pub last_table: Option<LastFile>,
    pub last_keyring: Option<LastFile>,
    /// Where it is said which table is in force; keep a clone to read it.
    pub in_force: InForce,
    /// Where the requests in flight are counted; keep a clone to read it.
    pub in_flight: InFlight,
    /// Where it is noted who is asked for; keep a clone to read it.
    pub demand: Demand,
    /// Open client connections; beyond it new ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Requests in flight or waiting, per dyno of an app (H11).
    pub backlog_per_dyno: usize,
    pub max_request_line_bytes: usize,
    pub max_header_value_bytes: usize,
    pub max_headers: usize,
    /// Idle connections kept to one dyno.
    pub max_idle_per_dyno: usize,
    /// From a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// A fresh connection that sends nothing.
    pub silent_timeout: Duration,
    /// A client whom the end finds silent has this long, from its arrival, to say what it wants: it was
    /// let in, and a door that closes on it would lose its request.
    pub first_word_timeout: Duration,
    /// Between two requests of one connection.
    pub keep_alive_timeout: Duration,
    /// For one connection attempt to a dyno (H19).
    pub connect_timeout: Duration,
    /// For all connection attempts of one request (H99).
    pub connect_budget: Duration,
    pub connect_attempts: u32,
    /// How long a dyno that could not be reached is not tried again.
    pub quarantine: Duration,
    /// How long a request waits for a starting app (H20).
    pub boot_timeout: Duration,
    /// From the end of the request to the head of the response (H12).
    pub first_byte_timeout: Duration,
    /// Between two bytes of a body or a tunnel (H15, H28).
    pub idle_timeout: Duration,
    /// How long an idle connection to a dyno is worth keeping.
    pub dyno_keep_alive: Duration,
    /// After shutdown begins: how long requests in flight may take (then H24).
    pub shutdown_grace: Duration,
    /// Who comes after it.
    pub successor: Successor,
}

/// A file from which a router starts, and who writes it.
#[derive(Clone, Debug)]
pub enum LastFile {
    /// The router, whenever it has applied what it was sent.
    Kept(PathBuf),
    /// Somebody else, with [`crate::save_routes`] or [`crate::save_keyring`].
    Given(PathBuf),
}

impl LastFile {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Given(path) => path,
        }
    }
}

/// Who accepts connections once a router was told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Successor {
    /// Perhaps somebody, later: until the requests in flight are through it goes on accepting.
    ToCome,
    /// Another router, from the same socket: it accepts nothing more, at once.
    Present,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            public_port: 80,
            public_tls_port: 443,
            last_table: None,
            last_keyring: None,
            in_force: InForce::default(),
            in_flight: InFlight::default(),
            demand: Demand::default(),
            max_connections: 10_000,
            backlog_per_dyno: 200,
            max_request_line_bytes: 8192,
            max_header_value_bytes: 8192,
            // Heroku takes 1000; beyond 100 hyper allocates two arrays for every request.
            max_headers: 100,
            max_idle_per_dyno: 64,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            silent_timeout: Duration::from_mins(1),
            first_word_timeout: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(5),
            connect_budget: Duration::from_secs(75),
            connect_attempts: 10,
            quarantine: Duration::from_secs(5),
            boot_timeout: Duration::from_secs(75),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(55),
            dyno_keep_alive: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
            successor: Successor::ToCome,
        }
    }
}
