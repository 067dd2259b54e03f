//! The daemon's API, as far as dynos need it: every call answers in time, or says that nobody does.

use super::image::Image;
use crate::containers::EngineError;
use crate::spec::DynoId;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, EventMessage,
    ExecInspectResponse, NetworkCreateRequest, SystemInfo,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    EventsOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, ResizeContainerTTYOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// A daemon that takes longer has hung or is gone.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// At the start: it may just have begun, and a platform on trial that is kept waiting is taken back.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// One that answers may still be slow to do what means disks and processes.
const WORK_TIMEOUT: Duration = Duration::from_secs(30);
/// An image comes over the network; the caller has a bound of its own.
const PULL_TIMEOUT: Duration = Duration::from_mins(4);
/// Of the client library; ours are shorter.
const CLIENT_TIMEOUT_S: u64 = 600;

/// The label of the engine's name on all that is ours.
pub(super) const INSTANCE: &str = "lathe.instance";

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the Docker daemon does not answer")]
    Gone,
    #[error("the Docker daemon does not know it")]
    Missing,
    #[error("the Docker daemon has it already, or it is busy")]
    Conflict,
    #[error("the Docker daemon refuses: {0}")]
    Refused(String),
}

impl Trouble {
    pub(super) fn of(self, id: DynoId, step: &str) -> EngineError {
        match self {
            Self::Gone => EngineError::Gone,
            Self::Missing => EngineError::Unknown(id),
            other => {
                EngineError::Failed { id, step: step.to_owned(), source: io::Error::other(other) }
            }
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code: 404, .. } => Self::Missing,
            Error::DockerResponseServerError { status_code: 409, .. } => Self::Conflict,
            Error::DockerResponseServerError { message, .. }
            | Error::JsonDataError { message, .. }
            | Error::DockerStreamError { error: message } => Self::Refused(message),
            _ => Self::Gone,
        }
    }
}

/// One daemon, by its socket.
#[derive(Debug)]
pub(super) struct Daemon {
    client: Docker,
    instance: String,
}

async fn within<T>(
    at_most: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    timeout(at_most, call).await.map_err(|_| Trouble::Gone)?.map_err(Trouble::from)
}

impl Daemon {
    pub(super) fn new(socket: &Path, instance: &str) -> Result<Self, Trouble> {
        let path = socket.to_str().ok_or(Trouble::Missing)?;
        let version = bollard::API_DEFAULT_VERSION;
        let client = Docker::connect_with_unix(path, CLIENT_TIMEOUT_S, version)?;
        Ok(Self { client, instance: instance.to_owned() })
    }

    pub(super) async fn info(&self) -> Result<SystemInfo, Trouble> {
        within(OPEN_TIMEOUT, self.client.info()).await
    }

    /// Ours, running and ended.
    pub(super) async fn list(&self) -> Result<Vec<ContainerSummary>, Trouble> {
        let ours = self.ours();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&ours).build();
        within(CALL_TIMEOUT, self.client.list_containers(Some(options))).await
    }

    pub(super) async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse, Trouble> {
        within(WORK_TIMEOUT, self.client.inspect_container(name, None)).await
    }

    /// Gives back the daemon's own name of it.
    pub(super) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, Trouble> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.client.create_container(Some(options), body);
        Ok(within(WORK_TIMEOUT, created).await?.id)
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), Trouble> {
        within(WORK_TIMEOUT, self.client.start_container(name, None)).await
    }

    pub(super) async fn remove(&self, name: &str, force: bool) -> Result<(), Trouble> {
        let options = RemoveContainerOptionsBuilder::new().force(force).v(true).build();
        within(WORK_TIMEOUT, self.client.remove_container(name, Some(options))).await
    }

    pub(super) async fn resize(&self, name: &str, rows: u16, columns: u16) -> Result<(), Trouble> {
        let size = ResizeContainerTTYOptionsBuilder::new().h(rows.into()).w(columns.into());
        within(WORK_TIMEOUT, self.client.resize_container_tty(name, size.build())).await
    }

    pub(super) async fn attach(&self, name: &str) -> Result<AttachContainerResults, Trouble> {
        let options = AttachContainerOptionsBuilder::new();
        let options = options.stream(true).stdin(true).stdout(true).stderr(true).build();
        within(WORK_TIMEOUT, self.client.attach_container(name, Some(options))).await
    }

    /// Begins a command in the container: the daemon's name of it, and what it says.
    pub(super) async fn exec(
        &self,
        name: &str,
        argv: Vec<String>,
    ) -> Result<(String, StartExecResults), Trouble> {
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv),
            working_dir: Some("/app".to_owned()),
            ..CreateExecOptions::default()
        };
        let id = within(CALL_TIMEOUT, self.client.create_exec(name, options)).await?.id;
        let output = within(CALL_TIMEOUT, self.client.start_exec(&id, None)).await?;
        Ok((id, output))
    }

    pub(super) async fn inspect_exec(&self, id: &str) -> Result<ExecInspectResponse, Trouble> {
        within(CALL_TIMEOUT, self.client.inspect_exec(id)).await
    }

    /// What it has said since that second, with the time of each line, until it ends.
    pub(super) fn logs(
        &self,
        name: &str,
        since_s: i32,
    ) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true);
        self.client.logs(name, Some(options.timestamps(true).since(since_s).build()))
    }

    /// Ends of our containers from now on.
    pub(super) fn ends(&self) -> impl Stream<Item = Result<EventMessage, Error>> + use<> {
        let mut ours = self.ours();
        ours.insert("event".to_owned(), vec!["die".to_owned()]);
        self.client.events(Some(EventsOptionsBuilder::new().filters(&ours).build()))
    }

    pub(super) async fn has_image(&self, reference: &str) -> Result<bool, Trouble> {
        match within(WORK_TIMEOUT, self.client.inspect_image(reference)).await {
            Ok(_) => Ok(true),
            Err(Trouble::Missing) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) async fn pull(&self, image: &Image) -> Result<(), Trouble> {
        let options = CreateImageOptionsBuilder::new().from_image(&image.reference).build();
        let credentials = image.credentials.as_ref().map(|credentials| DockerCredentials {
            username: Some(credentials.user.clone()),
            password: Some(credentials.password.clone()),
            ..DockerCredentials::default()
        });
        let mut progress = self.client.create_image(Some(options), None, credentials);
        let pulled = async {
            while let Some(piece) = progress.next().await {
                piece?;
            }
            Ok(())
        };
        within(PULL_TIMEOUT, pulled).await
    }

    /// The names of all images there are.
    pub(super) async fn images(&self) -> Result<Vec<String>, Trouble> {
        let listed =
            within(WORK_TIMEOUT, self.client.list_images(None::<ListImagesOptions>)).await?;
        Ok(listed.into_iter().flat_map(|image| image.repo_tags).collect())
    }

    pub(super) async fn remove_image(&self, reference: &str) -> Result<(), Trouble> {
        let removed = self.client.remove_image(reference, None::<RemoveImageOptions>, None);
        within(WORK_TIMEOUT, removed).await.map(drop)
    }

    pub(super) async fn ensure_network(&self, wanted: NetworkCreateRequest) -> Result<(), Trouble> {
        match within(OPEN_TIMEOUT, self.client.inspect_network(&wanted.name, None)).await {
            Ok(_) => Ok(()),
            Err(Trouble::Missing) => {
                within(WORK_TIMEOUT, self.client.create_network(wanted)).await.map(drop)
            }
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), Trouble> {
        within(WORK_TIMEOUT, self.client.remove_network(name)).await
    }

    fn ours(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{INSTANCE}={}", self.instance)])])
    }
}
