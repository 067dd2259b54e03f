//! What is asked of the compiler, and what it answers.

use crate::inputs::Inputs;
use lathe_slug::{Manifest, PackLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One build. [`Job::default`] holds the places and limits of a build dyno.
#[derive(Clone, Debug)]
pub struct Job {
    /// The source, already unpacked; becomes the slug. One constant path, since compilers write it
    /// into what they make.
    pub build_dir: PathBuf,
    /// Kept between the builds of one app. On the same file system as `build_dir`, since
    /// buildpacks move and hard-link between the two.
    pub cache_dir: PathBuf,
    /// `HOME` of every program. Buildpacks write there, so it must not be `build_dir`.
    pub home: PathBuf,
    /// Buildpack copies and the buildpack log live here and are removed at the end.
    pub work_dir: PathBuf,
    /// `ENV_DIR`, removed at the end. In memory: the disk of a build is kept between builds, and
    /// what was removed from a disk can still be read there.
    pub env_dir: PathBuf,
    /// Fetched buildpacks, kept between the builds of one app beside its cache.
    pub fetched_dir: PathBuf,
    /// The built-in buildpacks, with their `order` and `aliases` files.
    pub builtin_dir: PathBuf,
    /// The operator's buildpacks and names for buildpacks, if there are any.
    pub registry_dir: Option<PathBuf>,
    /// The names tried when nobody names a buildpack; empty: all that are built in.
    pub order: Vec<String>,
    /// Which buildpacks, in order: name, git URL with an optional `#ref`, tarball URL or folder.
    /// None given: `.buildpacks` in the source, and then detection.
    pub buildpacks: Vec<String>,
    /// Config vars. They reach buildpacks as files of `ENV_DIR`, never as environment.
    pub env: BTreeMap<String, String>,
    /// Environment the platform itself gives to every program: certificates, `PATH`, `CARGO_HOME`.
    pub extra_env: BTreeMap<String, String>,
    /// The platform's own name of the stack, for people.
    pub stack: String,
    /// `$STACK`: the name under which buildpacks know what the stack can run.
    pub buildpack_stack: String,
    pub source_version: String,
    pub request_id: String,
    pub source_date_epoch: u64,
    /// For all steps together.
    pub timeout: Duration,
    /// For one buildpack to arrive.
    pub fetch_timeout: Duration,
    /// Bytes of a buildpack's archive, or of any file that git makes of a repository.
    pub fetch_bytes_max: u64,
    /// Bytes of what programs write that are shown; the rest is counted.
    pub output_bytes_max: u64,
    /// A cache grown beyond this is emptied after the build.
    pub cache_bytes_max: u64,
    pub limits: PackLimits,
    pub cancel: Cancel,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            build_dir: "/tmp/build".into(),
            cache_dir: "/tmp/codon/tmp/cache".into(),
            home: "/app".into(),
            work_dir: "/tmp/codon/work".into(),
            env_dir: "/dev/shm/env".into(),
            fetched_dir: "/tmp/codon/tmp/buildpacks".into(),
            builtin_dir: "/usr/share/lathe/buildpacks".into(),
            registry_dir: None,
            order: Vec::new(),
            buildpacks: Vec::new(),
            env: BTreeMap::new(),
            extra_env: BTreeMap::new(),
            stack: "lathe-12".into(),
            buildpack_stack: "heroku-22".into(),
            source_version: String::new(),
            request_id: String::new(),
            source_date_epoch: 0,
            timeout: Duration::from_mins(15),
            fetch_timeout: Duration::from_secs(90),
            fetch_bytes_max: 200 << 20,
            output_bytes_max: 16 << 20,
            cache_bytes_max: 4 << 30,
            limits: PackLimits::default(),
            cancel: Cancel::default(),
        }
    }
}

/// Set by whoever started the build; every program of it is then ended.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A finished build: everything a release needs beside the bytes of the slug.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compiled {
    pub manifest: Manifest,
    /// Type and command: the Procfile's in its order, then the buildpack's defaults.
    pub process_types: Vec<(String, String)>,
    /// What the last buildpack suggests for an app's first release.
    pub config_vars: BTreeMap<String, String>,
    pub buildpacks: Vec<UsedBuildpack>,
    pub inputs: Inputs,
    /// What the last buildpack called the app, as in `Python`.
    pub detected: String,
    pub stack: String,
}

/// A buildpack as it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBuildpack {
    pub name: String,
    /// Where it came from, without any password; `None` for a built-in one.
    pub url: Option<String>,
    /// The commit of a git buildpack.
    pub commit: Option<String>,
    /// SHA-256 of the archive it came as, or else of its tree before it ran.
    pub digest: String,
    /// The reference that gives exactly this buildpack again: the URL with the commit or digest
    /// after its `#`. For a built-in one its name, held by the version of Lathe.
    pub pinned: String,
    /// What its `bin/report` said of the build.
    pub report: BTreeMap<String, String>,
}
