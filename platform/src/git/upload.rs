//! What clients read: which refs there are, and the objects of a clone.

use super::outflow::Outflow;
use super::{Git, Trouble, access, answer, child, inflow::Inflow, pkt};
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

/// A list of refs; policy keeps real ones far below.
const REFS_BYTES_MAX: u64 = 16 << 20;
/// What a client says it wants and has.
const WANTS_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
pub(super) struct Service {
    service: Option<String>,
}

pub(super) async fn info_refs(
    State(git): State<Git>,
    Path(repo): Path<String>,
    Query(service): Query<Service>,
    headers: HeaderMap,
) -> Response {
    let access = match access::check(&git.services, &headers, &repo).await {
        Ok(access) => access,
        Err(denied) => return denied.into_response(),
    };
    match refs(&git, &access, service.service.as_deref(), &headers).await {
        Ok(response) => response,
        Err(trouble) => trouble.into_response(),
    }
}

async fn refs(
    git: &Git,
    access: &access::Access,
    service: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Trouble> {
    let (name, command, kind) = match service {
        Some("git-receive-pack") => {
            ("receive-pack", "git-receive-pack", "application/x-git-receive-pack-advertisement")
        }
        Some("git-upload-pack") => {
            ("upload-pack", "git-upload-pack", "application/x-git-upload-pack-advertisement")
        }
        _ => {
            return Err(Trouble::Request(
                "This is a git repository for smart HTTP clients only.\n",
            ));
        }
    };
    let repo = git.repos.ensure(&access.app).map_err(Trouble::Repo)?;
    let mut git_command =
        child::command(&repo, &[], &[name, "--stateless-rpc", "--advertise-refs"]);
    let version = if name == "upload-pack" { protocol(headers) } else { None };
    git_command.envs(version.map(|version| ("GIT_PROTOCOL", version)));
    let (mut process, stdin, stdout) = child::Git::spawn(&mut git_command).map_err(Trouble::Run)?;
    drop(stdin);
    let mut body = Vec::new();
    // Version 2 lists no refs here and so announces no service. gitprotocol-http(5).
    if version != Some("version=2") {
        pkt::push(&mut body, format!("# service={command}\n").as_bytes());
        body.extend_from_slice(pkt::FLUSH);
    }
    stdout.take(REFS_BYTES_MAX).read_to_end(&mut body).await.map_err(Trouble::Run)?;
    let status = process.wait().await.map_err(Trouble::Run)?;
    if !status.success() {
        return Err(Trouble::Run(std::io::Error::other(format!("git {name}: {status}"))));
    }
    Ok(answer(kind, Body::from(body)))
}

pub(super) async fn upload_pack(
    State(git): State<Git>,
    Path(repo): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let access = match access::check(&git.services, &headers, &repo).await {
        Ok(access) => access,
        Err(denied) => return denied.into_response(),
    };
    match send(&git, &access, &headers, request.into_body()).await {
        Ok(response) => response,
        Err(trouble) => trouble.into_response(),
    }
}

async fn send(
    git: &Git,
    access: &access::Access,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Trouble> {
    let permit = Arc::clone(&git.sending).try_acquire_owned().map_err(|_| Trouble::Busy)?;
    let mut inflow = Inflow::new(headers, body, git.services.config.push.idle);
    let mut wants = Vec::new();
    while let Some(piece) = inflow.next().await.map_err(Trouble::Inflow)? {
        if inflow.bytes() > WANTS_BYTES_MAX {
            return Err(Trouble::Request("The request is too long.\n"));
        }
        wants.extend_from_slice(&piece);
    }
    let repo = git.repos.ensure(&access.app).map_err(Trouble::Repo)?;
    let mut command = child::command(&repo, &[], &["upload-pack", "--stateless-rpc"]);
    command.envs(protocol(headers).map(|version| ("GIT_PROTOCOL", version)));
    let (process, mut stdin, stdout) = child::Git::spawn(&mut command).map_err(Trouble::Run)?;
    // In a task of its own: git may answer before it has read everything. When it ends early its
    // answer says why, so a broken pipe here is no news.
    tokio::spawn(async move { drop(stdin.write_all(&wants).await) });
    let outflow = Outflow { git: process, early: Bytes::new(), stdout, permit };
    Ok(answer("application/x-git-upload-pack-result", outflow.into_body()))
}

/// The protocol version a client asks for; anything else it says is not passed on.
fn protocol(headers: &HeaderMap) -> Option<&'static str> {
    let asked = headers.get("git-protocol")?.to_str().ok()?;
    ["version=2", "version=1"].into_iter().find(|version| asked.split(':').any(|v| v == *version))
}
