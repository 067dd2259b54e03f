//! A directory of this machine laid out as a build, with no platform: what `compile` and `test` share.

use crate::build;
use crate::config::Config;
use crate::stack::{self, HEROKU_STACK};
use clap::Args;
use lathe_compiler::{Job, copy_tree};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What is to be built, and how.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The app's source
    dir: PathBuf,
    /// A buildpack: name, git URL with #ref, archive URL or directory; may be repeated
    #[arg(long, value_name = "BUILDPACK")]
    buildpack: Vec<String>,
    /// Kept between builds [default: none is]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Config vars: one file each, as buildpacks get them
    #[arg(long, value_name = "DIR")]
    env_dir: Option<PathBuf>,
}

/// Why a directory was not built.
#[derive(Debug, thiserror::Error)]
pub enum WorkshopError {
    #[error("cannot {step} {}", path.display())]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the bundled buildpacks cannot be laid out")]
    Buildpacks(#[from] build::BundleError),
}

impl WorkshopError {
    pub(super) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { step, path, source }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            Self::File { .. } => "Check the path and its permissions.".into(),
            Self::Buildpacks(_) => "Check the free space below the temporary directory.".into(),
        }
    }
}

/// A copy of the source, so that the original stays as it is, and the folders around it. Gone when
/// dropped.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) job: Job,
    _room: TempDir,
}

impl Workshop {
    pub(super) fn open(config: &Config, source: &Source) -> Result<Self, WorkshopError> {
        let file = WorkshopError::file;
        let room = tempfile::tempdir().map_err(file("make a directory in", Path::new("/tmp")))?;
        let within = |name: &str| room.path().join(name);
        for name in ["home", "work"] {
            fs::create_dir(within(name)).map_err(file("make", &within(name)))?;
        }
        copy_tree(&source.dir, &within("build")).map_err(file("copy", &source.dir))?;
        let cache_dir = source.cache.clone().unwrap_or_else(|| within("cache"));
        fs::create_dir_all(&cache_dir).map_err(file("make", &cache_dir))?;
        let job = Job {
            build_dir: within("build"),
            cache_dir,
            fetched_dir: within("fetched"),
            home: within("home"),
            work_dir: within("work"),
            env_dir: within("env"),
            builtin_dir: build::lay_out_buildpacks(&within("buildpacks"))?,
            registry_dir: config.build.registry.clone(),
            order: config.build.buildpacks.clone(),
            buildpacks: source.buildpack.clone(),
            env: source.env_dir.as_deref().map(read_env_dir).transpose()?.unwrap_or_default(),
            extra_env: host_environment(config),
            stack: stack::RUN.into(),
            buildpack_stack: HEROKU_STACK.into(),
            timeout: config.build.timeout,
            fetch_timeout: config.build.fetch_timeout,
            fetch_bytes_max: config.build.fetch_bytes,
            output_bytes_max: config.build.output_bytes,
            limits: config.archives,
            cache_bytes_max: config.build.cache_bytes,
            ..Job::default()
        };
        Ok(Self { job, _room: room })
    }
}

/// Builds on the host itself find the host's own certificates and toolchain where they are.
fn host_environment(config: &Config) -> BTreeMap<String, String> {
    let mut environment = config.build.env.clone();
    if let Some(bundle) = &config.build.ca_bundle {
        for name in build::CA_VARIABLES {
            environment.entry(name.into()).or_insert_with(|| bundle.display().to_string());
        }
    }
    if let Some(toolchain) = &config.build.rust_toolchain {
        let path = format!("{}:{}/bin", lathe_compiler::PATH, toolchain.display());
        environment.entry("PATH".into()).or_insert(path);
    }
    if let Some(mirror) = &config.build.mirror {
        let mirror = mirror.display().to_string();
        environment.entry(build::MIRROR_VARIABLE.into()).or_insert(mirror);
    }
    environment
}

/// One file a variable, its name the name and its bytes the value.
fn read_env_dir(dir: &Path) -> Result<BTreeMap<String, String>, WorkshopError> {
    let failed = |source| WorkshopError::File { step: "read", path: dir.to_path_buf(), source };
    let mut variables = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            variables.insert(name, fs::read_to_string(entry.path()).map_err(failed)?);
        }
    }
    Ok(variables)
}
