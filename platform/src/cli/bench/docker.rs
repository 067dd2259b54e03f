//! `docker run` by its API, where a daemon answers: create, attach, start.
//!
//! The image is the program alone; network, filter and logging are the daemon's defaults. Only a
//! daemon that already runs is asked (`DOCKER_HOST`, else the usual socket).

use super::figures::{Memory, Sample};
use super::{BenchError, groups, probe};
use bollard::Docker as Client;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptionsBuilder,
};
use futures_util::StreamExt;
use std::io;
use std::time::Duration;

const PING_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Docker {
    client: Client,
    image: String,
    pub(super) version: String,
}

/// A container that has told its time.
struct Launched {
    id: String,
    exec: Duration,
}

impl Docker {
    /// Absent with the reason why, when no daemon answers.
    pub(super) async fn open() -> Result<Result<Self, String>, BenchError> {
        let client = match Client::connect_with_defaults() {
            Ok(client) => client,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match tokio::time::timeout(PING_TIMEOUT, client.ping()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Ok(Err("no daemon answers".into())),
        }
        let version = client.version().await.map_err(at("say its version"))?;
        let version = version.version.unwrap_or_default();
        let image = format!("lathe-bench-{}", std::process::id());
        let docker = Self { client, image, version };
        docker.import().await?;
        Ok(Ok(docker))
    }

    /// The program as an image of one layer.
    async fn import(&self) -> Result<(), BenchError> {
        let program = probe::program()?;
        let mut header = tar::Header::new_ustar();
        header.set_size(program.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive
            .append_data(&mut header, probe::NAME, program.as_slice())
            .map_err(BenchError::at("make an image"))?;
        let archive = archive.into_inner().map_err(BenchError::at("make an image"))?;
        let options =
            CreateImageOptionsBuilder::default().from_src("-").repo(&self.image).tag("latest");
        let body = bollard::body_full(archive.into());
        let mut progress = self.client.create_image(Some(options.build()), Some(body), None);
        while let Some(piece) = progress.next().await {
            piece.map_err(at("import an image"))?;
        }
        Ok(())
    }

    pub(super) async fn start(&mut self) -> Result<Sample, BenchError> {
        let launched = self.launch(false).await?;
        self.remove(&launched.id).await?;
        // What a daemon and its helpers use is theirs to tell.
        Ok(Sample { exec: launched.exec, cpu: None })
    }

    /// What each of so many idle containers takes: its program and the shim that holds it.
    pub(super) async fn idle(&self, count: u32) -> Result<Memory, BenchError> {
        let mut ids = Vec::new();
        let mut memory = Memory { processes_bytes: 0, group_bytes: 0 };
        for _ in 0..count {
            ids.push(self.launch(true).await?.id);
        }
        for id in &ids {
            let container = self.client.inspect_container(id, None).await.map_err(at("inspect"))?;
            let pid = container.state.and_then(|state| state.pid).unwrap_or_default();
            let pid = u32::try_from(pid).unwrap_or_default();
            let processes = [Some(pid), groups::parent(pid)];
            memory.processes_bytes +=
                processes.into_iter().flatten().filter_map(groups::proportional_set).sum::<u64>();
            memory.group_bytes += groups::memory(pid).unwrap_or_default();
        }
        for id in &ids {
            self.remove(id).await?;
        }
        let count = u64::from(count.max(1));
        memory.processes_bytes /= count;
        memory.group_bytes /= count;
        Ok(memory)
    }

    pub(super) async fn close(self) -> Result<(), BenchError> {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        let removed = self.client.remove_image(&self.image, Some(options), None).await;
        removed.map(drop).map_err(at("remove the image"))
    }

    async fn launch(&self, stay: bool) -> Result<Launched, BenchError> {
        let mut command = vec![format!("/{}", probe::NAME)];
        command.extend(stay.then(|| probe::STAY.to_owned()));
        let container = ContainerCreateBody {
            image: Some(self.image.clone()),
            cmd: Some(command),
            attach_stdout: Some(true),
            host_config: Some(HostConfig {
                memory: Some(512 << 20),
                pids_limit: Some(256),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let begin = probe::now();
        let created = self.client.create_container(None, container).await;
        let id = created.map_err(at("create a container"))?.id;
        let attach = AttachContainerOptionsBuilder::default().stream(true).stdout(true).build();
        let attached = self.client.attach_container(&id, Some(attach)).await;
        let mut output = attached.map_err(at("attach to a container"))?.output;
        self.client.start_container(&id, None).await.map_err(at("start a container"))?;
        let mut told = Vec::new();
        while told.len() < 16 {
            let Some(piece) = output.next().await else { break };
            told.extend(piece.map_err(at("read from a container"))?.into_bytes());
        }
        let told = <[u8; 16]>::try_from(told.as_slice())
            .map_err(|_| BenchError::at("hear a container")(io::ErrorKind::UnexpectedEof))?;
        Ok(Launched { id, exec: probe::read(told).saturating_sub(begin) })
    }

    async fn remove(&self, id: &str) -> Result<(), BenchError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        let removed = self.client.remove_container(id, Some(options)).await;
        removed.map_err(at("remove a container"))
    }
}

fn at(step: &'static str) -> impl FnOnce(Error) -> BenchError {
    move |source| BenchError::Docker { step, source }
}
