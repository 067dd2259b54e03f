//! What goes into a stack, as data: everything that decides what is in it, and a digest of that.

use crate::config;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Raised when the steps of building change what comes out of the same packages.
const VERSION: u32 = 1;

/// The stack on which dynos run.
pub const RUN: &str = "lathe-12";
/// The stack on which slugs are compiled.
pub const BUILD: &str = "lathe-12-build";

/// `$STACK` in builds: buildpacks know Heroku's names only, and pick binaries by them. Those for
/// heroku-22 are linked to a C library (2.35) that Debian 12's (2.36) can stand in for.
pub const HEROKU_STACK: &str = "heroku-22";

/// One stack to build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    pub name: &'static str,
    /// Code name of the Debian release.
    pub suite: String,
    /// What is installed on top of Debian's minimal system, or of the stack below.
    pub packages: BTreeSet<String>,
}

impl Recipe {
    pub fn run(stacks: &config::Stacks) -> Self {
        Self::new(RUN, stacks, include_str!("run.packages"), &stacks.extra_packages)
    }

    pub fn build(stacks: &config::Stacks) -> Self {
        Self::new(BUILD, stacks, include_str!("build.packages"), &stacks.extra_build_packages)
    }

    fn new(name: &'static str, stacks: &config::Stacks, list: &str, extra: &[String]) -> Self {
        let packages = package_names(list).map(str::to_owned).chain(extra.iter().cloned());
        Self { name, suite: stacks.suite.clone(), packages: packages.collect() }
    }

    /// Equal digests mean: a stack built from the one may be used where the other is wanted.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{VERSION}\n{}\n{}\n", self.name, self.suite));
        hash.update(format!("{}\n", std::env::consts::ARCH));
        for package in &self.packages {
            hash.update(format!("{package}\n"));
        }
        hex(&hash.finalize())
    }
}

/// The identity of a built stack: its recipe and the exact version of every package in it.
pub(super) fn content_digest(recipe_digest: &str, packages: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{recipe_digest}\n"));
    for package in packages {
        hash.update(format!("{package}\n"));
    }
    hex(&hash.finalize())
}

fn package_names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Surroundings};

    #[test]
    fn lists_hold_names_once_and_only_names() {
        for list in [include_str!("run.packages"), include_str!("build.packages")] {
            let names: Vec<_> = package_names(list).collect();
            assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
            assert!(names.iter().all(|name| !name.contains(char::is_whitespace)));
        }
    }

    #[test]
    fn the_digest_follows_what_decides_the_content_and_nothing_else() {
        let mut stacks = Config::defaults(&Surroundings::default()).stacks;
        let plain = Recipe::run(&stacks).digest();
        stacks.mirror = "http://elsewhere.example/debian".into();
        assert_eq!(Recipe::run(&stacks).digest(), plain);
        assert_ne!(Recipe::build(&stacks).digest(), plain);
        stacks.extra_packages = vec!["bash".into()];
        assert_eq!(Recipe::run(&stacks).digest(), plain);
        stacks.extra_packages = vec!["ffmpeg".into()];
        assert_ne!(Recipe::run(&stacks).digest(), plain);
    }
}
