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

pub(crate) use repo::quarantines;
pub use repo::{RepoError, path_of};

use crate::build::Builder;
use crate::services::Services;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pushes::Pushes;
use std::io;
use std::path::PathBuf;
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
    #[error("the builder could not be opened")]
    Builder(#[source] crate::build::OpenError),
    #[error("this program's own file could not be found")]
    Executable(#[source] io::Error),
}

/// The endpoint: its routes, its builder, and the desk at which its hooks ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Git {
    services: Services,
    builder: Builder,
    repos: repo::Repos,
    pushes: Pushes,
    hooks: PathBuf,
    socket: PathBuf,
    receiving: Arc<Semaphore>,
    sending: Arc<Semaphore>,
    closing: CancellationToken,
}

/// Opens the endpoint and answers hooks from now on. To be called once, before anybody can push:
/// it ends what interrupted pushes and builds have left.
pub async fn open(services: Services) -> Result<Git, GitError> {
    let lathe = std::env::current_exe().map_err(GitError::Executable)?;
    let builder = Builder::open(services.clone(), &lathe).await.map_err(GitError::Builder)?;
    let config = Arc::clone(&services.config);
    let hooks = config.data.join("hooks");
    desk::install_hooks(&hooks, &lathe)?;
    let repos = repo::Repos::open(&config.data).map_err(GitError::Repos)?;
    let pushes = Pushes::default();
    let socket = config.run_dir().join("hooks.sock");
    let closing = CancellationToken::new();
    let desk = desk::Desk::open(&socket, pushes.clone(), builder.clone())?;
    tokio::spawn(desk.run(closing.clone()));
    Ok(Git {
        services,
        builder,
        repos,
        pushes,
        hooks,
        socket,
        receiving: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        sending: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        closing,
    })
}

impl Git {
    pub fn builder(&self) -> Builder {
        self.builder.clone()
    }

    /// Paths `/APP.git/…`, for the API's server.
    pub fn router(&self) -> Router {
        router(self.clone())
    }

    /// Cancels builds, and fails the pushes that wait for them.
    pub async fn close(&self) {
        self.builder.close().await;
        self.closing.cancel();
    }
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
            Self::Inflow(error @ inflow::InflowError::Idle { .. }) => {
                tracing::info!(error = error as &dyn std::error::Error, "a git client was cut off");
                (StatusCode::REQUEST_TIMEOUT, "Nothing came for too long. Try again.\n")
            }
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
