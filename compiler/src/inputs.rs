//! What went into a build, by digest: enough to ask later whether the same inputs make the same slug.

use crate::digest;
use crate::error::CompileError;
use crate::source::open_plain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Files in which package managers and version managers pin what they fetch.
const LOCKS: [&str; 27] = [
    ".nvmrc",
    ".python-version",
    ".ruby-version",
    ".tool-versions",
    "Aptfile",
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "composer.lock",
    "deno.lock",
    "go.mod",
    "go.sum",
    "gradle.lockfile",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pom.xml",
    "requirements.txt",
    "runtime.txt",
    "rust-toolchain",
    "rust-toolchain.toml",
    "system.properties",
    "uv.lock",
    "yarn.lock",
];

/// The app's own part of the inputs; buildpacks and stack are recorded beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// SHA-256 of the source tree as the buildpacks found it, after `.slugignore`.
    pub source: String,
    /// SHA-256 of each file in the top folder that pins dependencies or a toolchain, by its name.
    pub locks: BTreeMap<String, String>,
}

/// To be called before any buildpack runs: they change the tree.
pub(crate) fn seen(build_dir: &Path) -> Result<Inputs, CompileError> {
    let source = digest::of_tree(build_dir)
        .map_err(|source| CompileError::ReadSource { path: build_dir.to_owned(), source })?;
    let locks = LOCKS.iter().filter_map(|name| {
        // What cannot be opened as a plain file is in the digest of the source all the same.
        let file = open_plain(&build_dir.join(name)).ok()?;
        let is_file = file.metadata().is_ok_and(|about| about.is_file());
        let digest = is_file.then(|| digest::of_bytes(file).ok()).flatten()?;
        Some(((*name).to_owned(), digest))
    });
    Ok(Inputs { source, locks: locks.collect() })
}
