//! Why a build did not become a running release, and what its pusher reads about it.

use super::export::ExportError;
use crate::state::StateError;
use lathe_compiler::wire::WireError;
use lathe_dynos::containers::{EngineError, StartError};
use lathe_slug::StoreError;
use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Not begun at all: another build runs, most likely.
    #[error("the build could not be begun")]
    Begin(#[source] StateError),
    #[error("the builder is shutting down")]
    Closed,
    #[error("the source could not be read")]
    Export(#[from] ExportError),
    #[error("the source archive could not be read")]
    Archive(#[source] io::Error),
    #[error("the job could not be handed over")]
    Job(#[source] WireError),
    #[error("the build's pipes could not be made")]
    Pipe(#[source] io::Error),
    #[error("there is no dyno class {0} for builds")]
    Class(String),
    #[error("the build dyno could not be started")]
    Start(#[source] StartError),
    #[error("the build dyno could not be watched")]
    Engine(#[source] EngineError),
    #[error("cancelled")]
    Cancelled,
    #[error("not finished after {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    /// The compiler refused; it has told the pusher itself.
    #[error("{step}: {reason}")]
    Rejected { step: String, reason: String },
    #[error("out of memory")]
    OutOfMemory { limit_bytes: u64 },
    #[error("no more processes than {limit}")]
    OutOfProcesses { limit: u32 },
    #[error("the compiler ended with status {status} and said nothing")]
    Silent { status: u8 },
    #[error("the compiler's answer could not be understood")]
    Answer(#[source] serde_json::Error),
    #[error("the compiler's answer is not acceptable: {what}")]
    Unfit { what: String },
    #[error("the slug could not be stored")]
    Slug(#[source] StoreError),
    #[error("the slug that came is not the one that was announced")]
    Damaged,
    #[error("the build's records could not be written")]
    State(#[source] StateError),
    #[error("release v{version} does not serve")]
    NotLive { version: u32, reason: String },
    #[error("it cannot be built again: {what}")]
    NotAgain { what: String },
    #[error("another release is being rebuilt")]
    Rebuilding,
    #[error("a task of the build has failed")]
    Task(#[from] tokio::task::JoinError),
}

impl BuildError {
    /// For the pusher: what happened and what to do, a line each.
    pub fn explain(&self) -> Vec<String> {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        match self {
            Self::Begin(StateError::Refused(text)) => vec![sentence(text)],
            Self::Closed => lines(&["The platform is stopping. Push again in a moment."]),
            Self::Export(error) => error.explain(),
            Self::Archive(_) => lines(&[
                "The source archive cannot be read: it has to be a gzip tar.",
                "Make it with `tar czf` and try again.",
            ]),
            Self::Start(StartError::NoRoom(shortage)) => vec![
                format!("The build cannot start: {shortage}."),
                "Scale something down, or push again when less is running.".into(),
            ],
            Self::Cancelled => lines(&["The build was cancelled, nothing of it was released."]),
            Self::TimedOut { limit } => vec![
                format!("Compile exceeded {} (build.timeout).", span(*limit)),
                "Let the build do less, or keep more of it in the build cache.".into(),
            ],
            Self::Rejected { .. } => Vec::new(),
            Self::OutOfMemory { limit_bytes } => vec![
                format!(
                    "Build used more memory than the build class has ({}).",
                    gigabytes(*limit_bytes)
                ),
                "Let it do less at once (fewer parallel jobs), or raise build.memory.".into(),
            ],
            Self::OutOfProcesses { limit } => vec![
                format!("Build reached the process limit of the build class ({limit})."),
                "Let it do less at once (fewer parallel jobs), or raise build.pids.".into(),
            ],
            Self::Silent { status } => vec![
                format!("The compiler was ended from outside (status {status}).",),
                "Push again. When it happens again, tell whoever runs the platform.".into(),
            ],
            Self::Slug(error) => not_stored(error),
            Self::NotAgain { what } => vec![format!("This release cannot be built again: {what}.")],
            Self::Rebuilding => {
                lines(&["Another release is being rebuilt. Try again when that has ended."])
            }
            Self::Unfit { what } => vec![format!("The build's result was refused: {what}.")],
            Self::NotLive { version, reason } => {
                let mut text = vec![format!(
                    "Release v{version} does not serve; what served before still does."
                )];
                text.extend(reason.lines().map(str::to_owned));
                text
            }
            Self::Begin(_)
            | Self::Class(_)
            | Self::Job(_)
            | Self::Pipe(_)
            | Self::Start(_)
            | Self::Engine(_)
            | Self::Answer(_)
            | Self::Damaged
            | Self::State(_)
            | Self::Task(_) => internal(self),
        }
    }
}

fn not_stored(error: &StoreError) -> Vec<String> {
    match error {
        StoreError::DiskFull { free, floor } => vec![
            format!(
                "The platform's disk is nearly full: {} free, {} must stay.",
                gigabytes(*free),
                gigabytes(*floor)
            ),
            "Its operator has to make room in the data directory or lower free_disk_floor.".into(),
        ],
        StoreError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => vec![
            "The platform's disk is full: the slug could not be stored.".into(),
            "Push again when its operator has made room in the data directory.".into(),
        ],
        other => internal(other),
    }
}

fn internal(error: &impl std::fmt::Display) -> Vec<String> {
    vec![
        format!("Internal error: {error}."),
        "Push again. When it happens again, look into the platform's log.".into(),
    ]
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// Binary, with one decimal; less than one in megabytes.
fn gigabytes(bytes: u64) -> String {
    if bytes < 1 << 30 {
        return format!("{} MB", bytes >> 20);
    }
    let tenths = (u128::from(bytes) * 10) >> 30;
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        secs if secs >= 60 && secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_and_what_to_do() {
        for (error, first) in [
            (
                BuildError::Begin(StateError::Refused("a build of this app is in progress".into())),
                "A build of this app is in progress.",
            ),
            (
                BuildError::OutOfMemory { limit_bytes: 4 << 30 },
                "Build used more memory than the build class has (4.0 GB).",
            ),
            (
                BuildError::TimedOut { limit: Duration::from_mins(15) },
                "Compile exceeded 15 min (build.timeout).",
            ),
            (
                BuildError::TimedOut { limit: Duration::from_secs(5) },
                "Compile exceeded 5 s (build.timeout).",
            ),
            (
                BuildError::Damaged,
                "Internal error: the slug that came is not the one that was announced.",
            ),
        ] {
            assert_eq!(error.explain()[0], first);
        }
    }
}
