//! One stage: an executable proves itself as a platform, is pushed the source, and yields a slug.

use crate::builder::Builder;
use crate::compiling::{Counting, Total};
use crate::platform::{Platform, PlatformError};
use crate::progress::{Progress, Step};
use crate::report::Stage;
use crate::source::Source;
use crate::{Stop, Surroundings};
use lathe_slug::{Manifest, Store, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The app as which Lathe is pushed to Lathe.
const APP: &str = "stage";

/// Why a stage has no slug.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("its platform failed")]
    Platform(#[from] PlatformError),
    #[error("the platform lists no release with a slug")]
    NoRelease,
    #[error("the slug that came is not the one that was announced, {announced}")]
    Damaged { announced: String },
    #[error("the slug cannot be kept")]
    Store(#[from] StoreError),
    #[error("cannot read or clear {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What a stage is made from.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) number: u32,
    pub(crate) builder: &'a Builder,
    pub(crate) settings: &'a [(String, String)],
    pub(crate) surroundings: Surroundings,
    pub(crate) source: &'a Source,
    pub(crate) crates: Total,
    /// Of this stage alone.
    pub(crate) dir: &'a Path,
    pub(crate) slugs: &'a Store,
}

#[derive(Deserialize)]
struct Release {
    slug: Option<Identity>,
}

#[derive(Deserialize)]
struct Identity {
    id: String,
}

#[derive(Deserialize)]
struct Described {
    blob: Blob,
    checksum: String,
}

#[derive(Deserialize)]
struct Blob {
    url: String,
}

impl Order<'_> {
    /// Does it all; the platform is gone when this returns.
    pub(crate) fn carry_out(
        self,
        stop: &Stop,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<Stage, StageError> {
        let begun = Instant::now();
        let mut say =
            |step| tell(Progress { stage: Some(self.number), elapsed: begun.elapsed(), step });
        say(Step::Starting { builder: self.builder.short().to_owned() });
        let begun_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs());
        let platform =
            Platform::start(self.builder, self.settings, &self.surroundings, self.dir, stop)?;
        say(Step::Proving);
        let checks = platform.prove()?;
        say(Step::Proved { checks });
        for _ in 0..self.surroundings.apps_before {
            platform.api("/apps", Some(&json!({})))?;
        }
        platform.api("/apps", Some(&json!({ "name": APP })))?;

        say(Step::Pushing);
        let pushed = Instant::now();
        let mut counting = Counting::begin(self.crates, pushed);
        platform.push(&self.source.tree, APP, &mut |heard| {
            if counting.hear(heard, Instant::now()) {
                say(Step::Compiling(counting.crates));
            }
        })?;
        let build = pushed.elapsed();
        let slug = self.fetch(&platform)?;
        let Manifest { id, bytes, entries, .. } = slug;
        say(Step::Slug { slug: id.to_string(), bytes, entries });
        say(Step::Stopping);
        platform.end()?;
        self.clear()?;
        Ok(Stage {
            number: self.number,
            built_by: self.builder.clone(),
            begun_at,
            checks_passed: checks,
            slug,
            crates_compiled: counting.crates.begun,
            build_ms: milliseconds(build),
            stage_ms: milliseconds(begun.elapsed()),
            surroundings: self.surroundings,
        })
    }

    /// The slug of the newest release, as the API gives it to anybody who may have it.
    fn fetch(&self, platform: &Platform<'_>) -> Result<Manifest, StageError> {
        let releases = platform.api(&format!("/apps/{APP}/releases"), None)?;
        let releases: Vec<Release> = understand("the list of releases", releases)?;
        let slug = releases.into_iter().rev().find_map(|release| release.slug);
        let Identity { id } = slug.ok_or(StageError::NoRelease)?;
        let slug = platform.api(&format!("/apps/{APP}/slugs/{id}"), None)?;
        let Described { blob, checksum } = understand("the slug's description", slug)?;

        let path = self.dir.join("slug.tgz");
        platform.download(&blob.url, &path)?;
        let failed = |source| StageError::File { path: path.clone(), source };
        let manifest = self.slugs.put(File::open(&path).map_err(failed)?)?;
        fs::remove_file(&path).map_err(failed)?;
        if checksum == format!("SHA256:{}", manifest.id) {
            Ok(manifest)
        } else {
            Err(StageError::Damaged { announced: checksum })
        }
    }

    /// Its platform's data are of no use any more: gigabytes, build caches above all.
    fn clear(&self) -> Result<(), StageError> {
        let path = self.dir.join("data");
        fs::remove_dir_all(&path).map_err(|source| StageError::File { path, source })
    }
}

fn understand<T: for<'de> Deserialize<'de>>(what: &str, answer: Value) -> Result<T, PlatformError> {
    serde_json::from_value(answer)
        .map_err(|source| PlatformError::Answer { what: what.to_owned(), source })
}

pub(crate) fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
