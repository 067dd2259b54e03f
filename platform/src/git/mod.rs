//! The git endpoint: smart HTTP, in which the git program does the protocol and we decide.
//!
//! A push is read in this order: who ([`access`]), which refs ([`commands`], [`policy`]), then git
//! takes the pack into quarantine and checks it, then its hooks ask us ([`desk`]) for the build.
//! Git documentation: gitprotocol-http(5), gitprotocol-pack(5), githooks(5).

mod access;
mod child;
mod commands;
mod desk;
mod durable;
pub mod hook;
mod inflow;
mod outflow;
mod pkt;
mod policy;
mod pushes;
mod receive;
mod refusal;
mod repo;
mod upload;
mod wire;

pub use repo::{RepoError, path_of};

use crate::build::Builder;
use crate::services::Services;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pushes::Pushes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Pushes and clones at once, each; every one is a git process that may use a CPU.
const AT_ONCE_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("the hooks in {} could not be made", path.display())]
    Hooks {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the socket {} for hooks could not be opened", path.display())]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the repositories could not be opened")]
    Repos(#[source] RepoError),
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Git {
    services: Services,
    repos: repo::Repos,
    pushes: Pushes,
    hooks: PathBuf,
    socket: PathBuf,
    receiving: Arc<Semaphore>,
    sending: Arc<Semaphore>,
}

/// Opens the git endpoint: its routes, and the loop that answers hooks until `shutdown`.
///
/// `lathe` is this program's executable. Call it once, before anybody can push: it removes what
/// interrupted pushes have left.
pub fn open(
    services: &Services,
    builder: Builder,
    lathe: &Path,
    shutdown: CancellationToken,
) -> Result<(Router, impl Future<Output = ()> + Send + 'static), GitError> {
    let config = &services.config;
    let hooks = config.data.join("hooks");
    desk::install_hooks(&hooks, lathe)?;
    let repos = repo::Repos::open(&config.data).map_err(GitError::Repos)?;
    let pushes = Pushes::default();
    let socket = config.run_dir().join("hooks.sock");
    let desk = desk::Desk::open(&socket, pushes.clone(), builder)?;
    let git = Git {
        services: services.clone(),
        repos,
        pushes,
        hooks,
        socket,
        receiving: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        sending: Arc::new(Semaphore::new(AT_ONCE_MAX)),
    };
    Ok((router(git), desk.run(shutdown)))
}

fn router(git: Git) -> Router {
    Router::new()
        .route("/{repo}/info/refs", get(upload::info_refs))
        .route("/{repo}/git-upload-pack", post(upload::upload_pack))
        .route("/{repo}/git-receive-pack", post(receive::receive_pack))
        .with_state(git)
}

/// What a handler cannot do, as git shows it.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("too many at once")]
    Busy,
    #[error("not a git request")]
    Request(&'static str),
    #[error("the request broke off")]
    Inflow(#[source] inflow::InflowError),
    #[error("the repository")]
    Repo(#[source] RepoError),
    #[error("git could not be run")]
    Run(#[source] io::Error),
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, text) = match &self {
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many pushes and clones at once. Try again in a moment.\n",
            ),
            Self::Request(text) => (StatusCode::BAD_REQUEST, *text),
            Self::Inflow(error) => {
                tracing::info!(error = error as &dyn std::error::Error, "a git request broke off");
                (StatusCode::BAD_REQUEST, "The request broke off.\n")
            }
            Self::Repo(_) | Self::Run(_) => {
                tracing::error!(error = &self as &dyn std::error::Error, "git");
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal error. Try again.\n")
            }
        };
        let mut response = (status, text).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        response
    }
}

/// Git refuses to take an answer that a cache may have kept.
fn answer(kind: &'static str, body: axum::body::Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache, max-age=0, must-revalidate"),
    ];
    (headers, body).into_response()
}
