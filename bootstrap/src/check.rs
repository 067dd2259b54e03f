//! The self-rebuild check: stages one after the other, each built by the slug before, and compared.

use crate::bare::{self, BareError};
use crate::builder::{Builder, BuilderError};
use crate::compiling::Total;
use crate::downloads::{Downloads, DownloadsError};
use crate::judge::judge;
use crate::progress::{Progress, Step};
use crate::report::{Comparison, Report, Stage};
use crate::source::{Origin, Source, SourceError};
use crate::stage::{Order, StageError, milliseconds};
use crate::{Stop, Surroundings};
use lathe_slug::{DiffError, Layout, Limits, Store, StoreError, UnpackError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Differences named of each pair of slugs.
const DIFFERENCES_MAX: usize = 20;
/// A slow machine is no reason to fail: this is for hangs.
const BUILD_SECONDS_MAX: &str = "14400";
/// Another than the buildpack's own; cargo's path is written into what it compiles.
const PLANTED: (&str, &str) = ("build.env.CARGO_HOME", "/tmp/codon/tmp/cache/elsewhere");

/// What shall be checked, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Stage 0: the `lathe` that builds the first slug.
    pub executable: PathBuf,
    pub origin: Origin,
    pub stages: u32,
    /// Change between stages everything that must not matter.
    pub perturb: bool,
    /// Change in the last stage something that does matter and has to be found.
    pub plant: bool,
    /// Compile it with cargo alone as well, to know what the platform adds.
    pub bare: bool,
    /// An operator's `key=value` pairs, for every stage's platform.
    pub settings: Vec<(String, String)>,
    /// An empty or absent directory for everything: slugs, logs, transcripts.
    pub room: PathBuf,
}

/// Why a check has no result.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("cannot make a room for it at {}", path.display())]
    Room {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no source")]
    Source(#[from] SourceError),
    #[error("its crates cannot be downloaded")]
    Downloads(#[from] DownloadsError),
    #[error("there is nothing to hold the stages against")]
    Bare(#[from] BareError),
    #[error("stage {stage} failed")]
    Stage {
        stage: u32,
        #[source]
        source: StageError,
    },
    #[error("slug {stage} cannot build the next stage")]
    Builder {
        stage: u32,
        #[source]
        source: BuilderError,
    },
    #[error("slug {stage} cannot be unpacked")]
    Unpack {
        stage: u32,
        #[source]
        source: UnpackError,
    },
    #[error("slugs cannot be kept")]
    Store(#[from] StoreError),
    #[error("slugs cannot be compared")]
    Diff(#[from] DiffError),
}

/// Builds every stage and compares each with the one before. Whatever it starts is gone when it
/// returns; what it writes stays in [`Plan::room`].
pub fn check(
    plan: &Plan,
    stop: &Stop,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, CheckError> {
    let begun = Instant::now();
    let tell_of = |tell: &mut dyn FnMut(Progress), step| {
        tell(Progress { stage: None, elapsed: begun.elapsed(), step });
    };
    let room = plan.room.as_path();
    fs::create_dir_all(room)
        .map_err(|source| CheckError::Room { path: room.to_owned(), source })?;
    let slugs = Store::open(room.join("slugs"), 0)?;
    let source = Source::get(&plan.origin, &room.join("source"), stop)?;
    let (commit, uncommitted) = (source.commit.clone(), source.uncommitted);
    tell_of(tell, Step::Source { commit, uncommitted });
    tell_of(tell, Step::Downloads);
    let downloads = Downloads::fetch(&source, &room.join("downloads"), stop)?;
    let bare_ms = if plan.bare {
        let target = room.join("bare");
        let took = bare::build(&source, downloads.as_ref(), &target, stop, &mut |crates| {
            tell_of(tell, Step::Bare(crates));
        })?;
        Some(milliseconds(took))
    } else {
        None
    };

    let stages = Stages { plan, source: &source, downloads: downloads.as_ref(), slugs: &slugs };
    let stages = stages.build(stop, tell)?;
    tell_of(tell, Step::Comparing);
    let comparisons = compare(&stages, &slugs)?;
    let verdict = judge(&stages, &comparisons, source.packages.is_some());
    let (commit, planted) = (source.commit, plan.plant);
    Ok(Report { commit, verdict, stages, comparisons, planted, bare_ms })
}

/// What all stages have in common.
struct Stages<'a> {
    plan: &'a Plan,
    source: &'a Source,
    downloads: Option<&'a Downloads>,
    slugs: &'a Store,
}

impl Stages<'_> {
    fn build(&self, stop: &Stop, tell: &mut dyn FnMut(Progress)) -> Result<Vec<Stage>, CheckError> {
        let mut builder = Builder::at(&self.plan.executable)
            .map_err(|source| CheckError::Builder { stage: 0, source })?;
        let mut stages: Vec<Stage> = Vec::new();
        for number in 1..=self.plan.stages {
            if let Some(before) = stages.last() {
                builder = self.unpack(before)?;
            }
            let settings = self.settings(number);
            let order = Order {
                number,
                builder: &builder,
                settings: &settings,
                surroundings: if self.plan.perturb {
                    Surroundings::perturbed(number)
                } else {
                    Surroundings::default()
                },
                source: self.source,
                crates: match (stages.first(), self.source.packages) {
                    (Some(first), _) => Total::Exactly(first.crates_compiled),
                    (None, Some(packages)) => Total::AtMost(packages),
                    (None, None) => Total::Unknown,
                },
                dir: &self.dir(number),
                slugs: self.slugs,
            };
            let stage = order.carry_out(stop, tell);
            stages.push(stage.map_err(|source| CheckError::Stage { stage: number, source })?);
        }
        Ok(stages)
    }

    /// The executable in a stage's slug.
    fn unpack(&self, stage: &Stage) -> Result<Builder, CheckError> {
        let number = stage.number;
        let dest = self.dir(number).join("slug");
        let slug = self.slugs.open_slug(&stage.slug.id)?;
        lathe_slug::unpack(slug, &dest, Layout::Slug, &Limits::default(), None)
            .map_err(|source| CheckError::Unpack { stage: number, source })?;
        Builder::in_slug(&dest).map_err(|source| CheckError::Builder { stage: number, source })
    }

    fn dir(&self, stage: u32) -> PathBuf {
        self.plan.room.join(format!("stage-{stage}"))
    }

    /// The operator's own, and over them what a scratch platform cannot do without: the last wins.
    fn settings(&self, stage: u32) -> Vec<(String, String)> {
        let own = |key: &str, value: String| (key.to_owned(), value);
        // Beside whatever platform runs on this machine.
        let network = format!("10.254.{}.0/24", std::process::id() % 256);
        let mut settings = vec![own("network", network)];
        settings.extend(self.plan.settings.iter().cloned());
        for listener in ["api_tls", "api_plain", "rendezvous", "router", "router_tls"] {
            settings.push(own(&format!("listen.{listener}"), "127.0.0.1:0".into()));
        }
        settings.push(own("build.timeout", BUILD_SECONDS_MAX.into()));
        if let Some(Downloads { mirror }) = self.downloads {
            settings.push(own("build.mirror", mirror.display().to_string()));
        }
        if self.plan.plant && stage == self.plan.stages {
            settings.push(own(PLANTED.0, PLANTED.1.into()));
        }
        settings
    }
}

fn compare(stages: &[Stage], slugs: &Store) -> Result<Vec<Comparison>, CheckError> {
    let path = |stage: &Stage| slugs.path(&stage.slug.id);
    let differences = |left: &Path, right: &Path| {
        lathe_slug::diff(left, right, &Limits::default(), DIFFERENCES_MAX)
    };
    let pairs = stages.iter().zip(stages.iter().skip(1));
    pairs
        .map(|(left, right)| {
            let equal = left.slug.id == right.slug.id;
            Ok(Comparison {
                left: left.number,
                right: right.number,
                equal,
                differences: if equal {
                    Vec::new()
                } else {
                    differences(&path(left), &path(right))?
                },
            })
        })
        .collect()
}
