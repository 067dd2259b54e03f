//! A push: its refs are judged, its pack goes to git, git's words go back.

use super::commands::{self, CommandList};
use super::inflow::{Inflow, InflowError};
use super::outflow::Outflow;
use super::policy::{self, Refused};
use super::pushes::Underway;
use super::wire::{PUSH_VARIABLE, SOCKET_VARIABLE};
use super::{Git, Trouble, access, answer, child, refusal};
use crate::host::disk::{Floor, Full};
use crate::{plumbing, steps};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};

const RESULT: &str = "application/x-git-receive-pack-result";

/// Of a refused push at least this much is read to its end, so that git reads our answer.
const DISCARD_BYTES_MIN: u64 = 1 << 30;

/// Of what git says while it reads: a warning has some hundred bytes, an old repository some thousand
/// of them.
const EARLY_BYTES_MAX: usize = 4 << 20;

pub(super) async fn receive_pack(
    State(git): State<Git>,
    Path(repo): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let access = match access::check(&git.services, &headers, &repo).await {
        Ok(access) => access,
        Err(denied) => return denied.into_response(),
    };
    let inflow = Inflow::new(&headers, request.into_body(), git.services.config.push.idle);
    match receive(&git, access, inflow).await {
        Ok(body) => answer(RESULT, body),
        Err(trouble) => trouble.into_response(),
    }
}

async fn receive(git: &Git, access: access::Access, mut inflow: Inflow) -> Result<Body, Trouble> {
    steps::passed("push asked for");
    let permit = Arc::clone(&git.receiving).try_acquire_owned().map_err(|_| Trouble::Busy)?;
    let (list, head) = read_list(&mut inflow).await?;
    if list.updates.is_empty() {
        // The probe before a large push: only its authorisation matters.
        return Ok(Body::empty());
    }
    let mut floor = Floor::of(&git.services.config);
    let room = || floor.check().map_err(|full| no_room(&list, full));
    if let Err(refused) = policy::check(&list).and_then(|()| room()) {
        return refuse(git, &mut inflow, &list, &refused).await;
    }
    let repo = git.repos.ensure(&access.app).map_err(Trouble::Repo)?;
    let push = git.pushes.begin(access, repo);
    let mut command = receive_command(git, &push);
    let (process, stdin, mut stdout) =
        child::Git::spawn_for(Some(push), &mut command).map_err(Trouble::Run)?;
    let memory_bytes = plumbing::memory_bytes(&git.services.config.push);
    process.bound_memory(memory_bytes).map_err(Trouble::Run)?;
    let mut early = BytesMut::new();
    let fed = tokio::select! {
        fed = feed(git, &mut floor, stdin, head, &mut inflow) => fed.map_err(Trouble::Inflow)?,
        () = listen(&mut stdout, &mut early) => {
            return Err(Trouble::Request("Git has too much to say of this push.\n"));
        }
    };
    if let Fed::All = fed {
        steps::passed("pack received");
        return Ok(Outflow { git: process, early: early.freeze(), stdout, permit }.into_body());
    }
    drop((process, stdout));
    inflow.discard(discard_limit(git)).await.map_err(Trouble::Inflow)?;
    let refused = match fed {
        Fed::NoRoom(full) => no_room(&list, full),
        // How large it is is known now.
        _ => too_large(&list, inflow.bytes(), git.services.config.push.max_bytes),
    };
    Ok(Body::from(refusal::answer(&list, &refused)))
}

/// Reads through the end of the command list. The second value is all that was read.
async fn read_list(inflow: &mut Inflow) -> Result<(CommandList, Vec<u8>), Trouble> {
    let mut head = Vec::new();
    while let Some(piece) = inflow.next().await.map_err(Trouble::Inflow)? {
        head.extend_from_slice(&piece);
        match commands::parse(&head) {
            Ok(Some(list)) => return Ok((list, head)),
            Ok(None) => {}
            Err(error) => {
                tracing::info!(error = &error as &dyn std::error::Error, "a push was refused");
                return Err(Trouble::Request("The list of refs to push cannot be read.\n"));
            }
        }
    }
    Err(Trouble::Request("The list of refs to push is not complete.\n"))
}

fn receive_command(git: &Git, underway: &Underway) -> tokio::process::Command {
    let settings = [
        ("core.hooksPath", git.hooks.display().to_string()),
        // A second line of defence: we count, too, and say it better.
        ("receive.maxInputSize", git.services.config.push.max_bytes.to_string()),
    ];
    let repo = &underway.push.repo;
    let mut command = child::command(repo, &settings, &["receive-pack", "--stateless-rpc"]);
    command.env(SOCKET_VARIABLE, &git.socket).env(PUSH_VARIABLE, &underway.push.id);
    command
}

enum Fed {
    /// Git has all of it, or has stopped reading and says why in its answer.
    All,
    TooLarge,
    NoRoom(Full),
}

/// Passes the request on to git.
async fn feed(
    git: &Git,
    floor: &mut Floor,
    mut stdin: ChildStdin,
    head: Vec<u8>,
    inflow: &mut Inflow,
) -> Result<Fed, InflowError> {
    let max = git.services.config.push.max_bytes;
    let mut listening = stdin.write_all(&head).await.is_ok();
    drop(head);
    while let Some(piece) = inflow.next().await? {
        if inflow.bytes() > max {
            return Ok(Fed::TooLarge);
        }
        if let Err(full) = floor.watch(inflow.bytes()) {
            return Ok(Fed::NoRoom(full));
        }
        // When git has ended the rest is still read: the client listens only once it has sent it.
        listening = listening && stdin.write_all(&piece).await.is_ok();
    }
    Ok(Fed::All)
}

/// Takes in what git says before it has been given everything: one that cannot go on speaking does not
/// go on reading. Ends only when that is too much.
async fn listen(stdout: &mut ChildStdout, early: &mut BytesMut) {
    while early.len() < EARLY_BYTES_MAX {
        if !stdout.read_buf(early).await.is_ok_and(|bytes| bytes > 0) {
            // It has ended, or cannot be heard: whoever feeds it finds out.
            return std::future::pending().await;
        }
    }
}

async fn refuse(
    git: &Git,
    inflow: &mut Inflow,
    list: &CommandList,
    refused: &Refused,
) -> Result<Body, Trouble> {
    inflow.discard(discard_limit(git)).await.map_err(Trouble::Inflow)?;
    Ok(Body::from(refusal::answer(list, refused)))
}

fn discard_limit(git: &Git) -> u64 {
    git.services.config.push.max_bytes.saturating_mul(2).max(DISCARD_BYTES_MIN)
}

fn too_large(list: &CommandList, bytes: u64, max: u64) -> Refused {
    let text = vec![
        format!("push is {}, limit {} (push.max).", megabytes(bytes), megabytes(max)),
        "Take large files out of the repository and its history, or raise push.max.".into(),
    ];
    Refused::all(list, "push too large", text)
}

fn no_room(list: &CommandList, full: Full) -> Refused {
    let (free, floor) = (megabytes(full.free_bytes), megabytes(full.floor_bytes));
    let text = vec![
        format!("The platform's disk is nearly full: {free} free, floor {floor}."),
        "Its operator has to make room in the data directory or lower free_disk_floor.".into(),
    ];
    Refused::all(list, "disk full", text)
}

/// Decimal, as the setting is written.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
