//! `lathe releases:diff`: what two releases of an app differ in: files, sizes, process types, config.

use super::client::{Client, ClientError};
use super::env::Access;
use super::say::say;
use super::{CliError, runtime};
use crate::config::Config;
use crate::room::Room;
use clap::Args;
use http::Method;
use lathe_slug::{DiffError, Layout, Limits, SlugId, Store, StoreError, UnpackError};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use tokio::runtime::Runtime;
use walkdir::WalkDir;

/// Files named; of more only that there are more.
const FILES_MAX: usize = 50;

#[derive(Debug, Args)]
pub(super) struct ReleaseDiff {
    app: String,
    /// Version, as in v41
    left: String,
    /// Version, as in v42
    right: String,
}

/// Why they were not compared.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseDiffError {
    #[error("the platform was asked in vain")]
    Api(#[from] ClientError),
    #[error("release {release} has no slug")]
    NoSlug { release: String },
    #[error("the slugs cannot be read")]
    Store(#[from] StoreError),
    #[error("the slugs cannot be compared")]
    Diff(#[from] DiffError),
    #[error("a slug cannot be unpacked")]
    Unpack(#[from] UnpackError),
    #[error("there is no room to unpack a slug")]
    Room(#[source] io::Error),
    #[error("an unpacked slug cannot be measured")]
    Measure(#[source] walkdir::Error),
}

impl ReleaseDiffError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Api(_) | Self::NoSlug { .. } => {
                "Check the names of app and releases: `heroku releases`.".into()
            }
            Self::Store(_) | Self::Diff(_) => "Do it as the platform's user.".into(),
            Self::Unpack(_) | Self::Room(_) | Self::Measure(_) => {
                "Check the free space below the temporary directory.".into()
            }
        }
    }
}

/// A release as far as it is compared.
#[derive(Debug)]
struct Release {
    slug: SlugId,
    process_types: Map<String, Value>,
    config: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    OnlyLeft,
    OnlyRight,
    Other,
}

pub(super) fn show(config: &Config, what: &ReleaseDiff) -> Result<(), CliError> {
    let access = Access::of(config)?;
    let threads = runtime()?;
    Ok(compare(config, &access, &threads, what)?)
}

fn compare(
    config: &Config,
    access: &Access,
    threads: &Runtime,
    what: &ReleaseDiff,
) -> Result<(), ReleaseDiffError> {
    let client = Client::of(access)?;
    let (left, right) = threads.block_on(async {
        let left = release(&client, &what.app, &what.left).await?;
        Ok::<_, ReleaseDiffError>((left, release(&client, &what.app, &what.right).await?))
    })?;
    let slugs = Store::attach(config.slugs_dir());
    let names = [what.left.as_str(), what.right.as_str()];
    show_files(&slugs, &left, &right, &config.archives)?;
    show_sizes(&slugs, &left, &right, names, &config.archives)?;
    show_changes("process types", &changes(&left.process_types, &right.process_types), names);
    // Names alone: a value may be a secret, and so may a part of it.
    show_changes("config vars", &changes(&left.config, &right.config), names);
    Ok(())
}

async fn release(client: &Client, app: &str, version: &str) -> Result<Release, ReleaseDiffError> {
    let get = async |path: String| client.call(Method::GET, &path, &Value::Null).await;
    let release = get(format!("/apps/{app}/releases/{version}")).await?;
    let missing = || ReleaseDiffError::NoSlug { release: version.to_owned() };
    let id = release["slug"]["id"].as_str().ok_or_else(missing)?;
    let slug = get(format!("/apps/{app}/slugs/{id}")).await?;
    let digest = slug["checksum"].as_str().and_then(|sum| sum.strip_prefix("SHA256:"));
    let config = get(format!("/apps/{app}/releases/{version}/config-vars")).await?;
    let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
    Ok(Release {
        slug: digest.and_then(|digest| digest.parse().ok()).ok_or_else(missing)?,
        process_types: map(&slug["process_types"]),
        config: map(&config),
    })
}

/// Names that are in one alone, or mean something else in the other.
fn changes(left: &Map<String, Value>, right: &Map<String, Value>) -> Vec<(String, Change)> {
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let change = |name: &String| match (left.get(name), right.get(name)) {
        (Some(_), None) => Some(Change::OnlyLeft),
        (None, Some(_)) => Some(Change::OnlyRight),
        (ours, theirs) => (ours != theirs).then_some(Change::Other),
    };
    names.into_iter().filter_map(|name| Some((name.clone(), change(name)?))).collect()
}

fn show_changes(title: &str, changes: &[(String, Change)], [left, right]: [&str; 2]) {
    say!("=== {title}: {}", count(changes.len()));
    for (name, change) in changes {
        match change {
            Change::OnlyLeft => say!("{name}: only in {left}"),
            Change::OnlyRight => say!("{name}: only in {right}"),
            Change::Other => say!("{name}: changed"),
        }
    }
}

fn show_files(
    slugs: &Store,
    left: &Release,
    right: &Release,
    limits: &Limits,
) -> Result<(), ReleaseDiffError> {
    let [one, two] = [left, right].map(|release| slugs.path(&release.slug));
    let mut files = if left.slug == right.slug {
        Vec::new()
    } else {
        lathe_slug::diff(&one, &two, limits, FILES_MAX + 1)?
    };
    let more = files.len() > FILES_MAX;
    files.truncate(FILES_MAX);
    say!("=== files: {}{}", if more { "more than " } else { "" }, count(files.len()));
    for difference in &files {
        say!("{difference}");
    }
    Ok(())
}

/// Bytes of the files below each folder at the top of the app, where they differ.
fn show_sizes(
    slugs: &Store,
    left: &Release,
    right: &Release,
    [one, two]: [&str; 2],
    limits: &Limits,
) -> Result<(), ReleaseDiffError> {
    let sizes = |release: &Release| sizes(slugs, &release.slug, limits);
    let (left, right) = (sizes(left)?, sizes(right)?);
    let folders: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let of = |sizes: &BTreeMap<String, u64>, folder| sizes.get(folder).copied().unwrap_or(0);
    let grown: Vec<_> = folders
        .into_iter()
        .map(|folder| (folder, of(&left, folder), of(&right, folder)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect();
    say!("=== bytes by folder: {}", count(grown.len()));
    for (folder, ours, theirs) in grown {
        let difference = i128::from(theirs) - i128::from(ours);
        say!("{folder:?}: {ours} in {one}, {theirs} in {two} ({difference:+})");
    }
    Ok(())
}

fn sizes(
    slugs: &Store,
    slug: &SlugId,
    limits: &Limits,
) -> Result<BTreeMap<String, u64>, ReleaseDiffError> {
    let room = Room::make(&std::env::temp_dir(), "lathe-diff-").map_err(ReleaseDiffError::Room)?;
    let dest = room.path().join("slug");
    lathe_slug::unpack(slugs.open_slug(slug)?, &dest, Layout::Slug, limits, None)?;
    let app = dest.join("app");
    let mut sizes = BTreeMap::new();
    for entry in WalkDir::new(&app) {
        let entry = entry.map_err(ReleaseDiffError::Measure)?;
        if entry.file_type().is_file() {
            let bytes = entry.metadata().map_err(ReleaseDiffError::Measure)?.len();
            *sizes.entry(folder(&app, entry.path())).or_default() += bytes;
        }
    }
    Ok(sizes)
}

/// The first folder on the way to a file; files at the top are `.`'s.
fn folder(app: &Path, file: &Path) -> String {
    let below = file.strip_prefix(app).unwrap_or(file);
    let mut parts = below.components();
    match (parts.next(), parts.next()) {
        (Some(first), Some(_)) => first.as_os_str().to_string_lossy().into_owned(),
        _ => ".".into(),
    }
}

fn count(differences: usize) -> String {
    match differences {
        0 => "no difference".into(),
        1 => "1 differs".into(),
        many => format!("{many} differ"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_that_came_went_or_changed() {
        let map = |value: Value| value.as_object().cloned().unwrap();
        let left = map(json!({"a": "1", "b": "1", "same": "1"}));
        let right = map(json!({"b": "2", "c": "1", "same": "1"}));
        let expected = [("a", Change::OnlyLeft), ("b", Change::Other), ("c", Change::OnlyRight)];
        assert_eq!(
            changes(&left, &right),
            expected.map(|(name, change)| (name.to_owned(), change))
        );
        assert!(changes(&left, &left).is_empty());
    }

    #[test]
    fn a_file_belongs_to_the_folder_at_the_top() {
        let cases = [("/x/app/a", "."), ("/x/app/lib/a", "lib"), ("/x/app/lib/b/c", "lib")];
        for (file, expected) in cases {
            assert_eq!(folder(Path::new("/x/app"), Path::new(file)), expected);
        }
    }
}
