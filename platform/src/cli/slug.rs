//! `lathe slug`: slugs as files, with no platform: made, unpacked, compared.

use super::say::say;
use crate::config::Config;
use clap::Subcommand;
use lathe_slug::{
    DiffError, Difference, Ignore, IgnoreError, Layout, Manifest, PackError, UnpackError,
};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a slug is compared by, or made of.
#[derive(Debug, Subcommand)]
pub(super) enum Slug {
    /// Name what differs between two slugs, files or identities of stored ones; exit status 1 when
    /// something does
    Diff {
        left: PathBuf,
        right: PathBuf,
        /// Differences to name at most
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1)]
        max: usize,
        #[arg(long)]
        json: bool,
    },
    /// Make a slug of a directory, less what its .slugignore names
    Pack {
        dir: PathBuf,
        /// Where the slug goes
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Unpack a slug, a file or the identity of a stored one, into a directory that is not there yet
    Unpack { slug: PathBuf, dir: PathBuf },
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum SlugVerbError {
    #[error("cannot compare the slugs")]
    Diff(#[from] DiffError),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the .slugignore is not valid")]
    Ignore(#[from] IgnoreError),
    #[error("cannot make a slug")]
    Pack(#[from] PackError),
    #[error("cannot unpack the slug")]
    Unpack(#[from] UnpackError),
}

impl SlugVerbError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Diff(_) | Self::Unpack(_) => {
                "Name a slug: a file made by `lathe slug pack` or `lathe compile`, or an identity \
                 that `lathe slugs` lists."
            }
            Self::Read { .. } | Self::Write { .. } => "Check the path and its permissions.",
            Self::Ignore(_) => "Mend the line that is named.",
            Self::Pack(_) => "Remove what the message names, or name it in .slugignore.",
        }
        .into()
    }
}

pub(super) fn slug(config: &Config, what: &Slug) -> Result<ExitCode, SlugVerbError> {
    match what {
        Slug::Diff { left, right, max, json } => {
            let (left, right) = (find(config, left), find(config, right));
            let differences = lathe_slug::diff(&left, &right, &config.archives, *max)?;
            print_differences(&differences, *json);
            Ok(ExitCode::from(u8::from(!differences.is_empty())))
        }
        Slug::Pack { dir, output, json } => {
            let manifest = pack(config, dir, output)?;
            print_manifest(&manifest, *json);
            Ok(ExitCode::SUCCESS)
        }
        Slug::Unpack { slug, dir } => {
            let path = find(config, slug);
            let read = |source| SlugVerbError::Read { path: path.clone(), source };
            let file = File::open(&path).map_err(read)?;
            lathe_slug::unpack(file, dir, Layout::Slug, &config.archives, None)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A path, or an identity of the store.
fn find(config: &Config, name: &Path) -> PathBuf {
    let identity = name.to_str().and_then(|text| text.parse().ok());
    match identity {
        Some(id) if !name.exists() => lathe_slug::Store::path_in(&config.slugs_dir(), &id),
        _ => name.to_path_buf(),
    }
}

/// Beside its place and renamed: a slug is there whole or not at all.
pub(super) fn pack(config: &Config, dir: &Path, output: &Path) -> Result<Manifest, SlugVerbError> {
    let rules = dir.join(".slugignore");
    let ignore = match fs::read(&rules) {
        Ok(text) => Ignore::parse(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
        Err(source) => return Err(SlugVerbError::Read { path: rules, source }),
    };
    let write = |source| SlugVerbError::Write { path: output.to_path_buf(), source };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut slug =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(write)?;
    let manifest = lathe_slug::pack(dir, &ignore, &config.archives, slug.as_file_mut())?;
    slug.flush().map_err(write)?;
    slug.persist(output).map_err(|error| write(error.error))?;
    Ok(manifest)
}

fn print_differences(differences: &[Difference], json: bool) {
    if json {
        say!("{}", serde_json::json!(differences));
        return;
    }
    for difference in differences {
        say!("{difference}");
    }
}

fn print_manifest(manifest: &Manifest, json: bool) {
    if json {
        say!("{}", serde_json::json!(manifest));
        return;
    }
    say!("{}", manifest.id);
    say!(
        "{} entries, {} bytes, {} unpacked",
        manifest.entries,
        manifest.bytes,
        manifest.unpacked_bytes
    );
}
