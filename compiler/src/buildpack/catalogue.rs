//! Which buildpacks have names: the built-in ones, the operator's, and what others call them.

use super::Reference;
use crate::error::CompileError;
use crate::source::read_small;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The built-in folder has `order`, in each line the names of what builds an app together, and
/// `aliases`: two words a line, a known name and what it means. The operator's folder may have `aliases` too, which count first; there a
/// name may mean any reference, and `./x` what lies in that folder.
#[derive(Clone, Debug)]
pub struct Catalogue {
    builtin: PathBuf,
    groups: Vec<Vec<String>>,
    aliases: BTreeMap<String, Reference>,
}

impl Catalogue {
    /// `asked`: the names tried when an app names none; all, when there are none.
    pub fn open(
        builtin: &Path,
        registry: Option<&Path>,
        asked: &[String],
    ) -> Result<Self, CompileError> {
        let mut aliases = BTreeMap::new();
        for dir in std::iter::once(builtin).chain(registry) {
            for line in words(&dir.join("aliases"))? {
                let Ok([name, means]) = <[String; 2]>::try_from(line) else { continue };
                let means = match means.strip_prefix("./") {
                    Some(below) => format!("file://{}/{below}", dir.display()),
                    None => means,
                };
                aliases.insert(name, means.parse().map_err(CompileError::Reference)?);
            }
        }
        let groups = match asked {
            [] => words(&builtin.join("order"))?,
            _ => asked.iter().map(|name| vec![name.clone()]).collect(),
        };
        Ok(Self { builtin: builtin.to_owned(), groups, aliases })
    }

    /// In the order of detection: buildpacks that fit an app together or not at all.
    pub(crate) fn groups(&self) -> &[Vec<String>] {
        &self.groups
    }

    /// Every name of a group once, in the order of detection.
    pub(crate) fn order(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.groups.iter().flatten() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// All names, those of other people included.
    pub fn names(&self) -> Vec<&str> {
        let all = self.order().into_iter().chain(self.aliases.keys().map(String::as_str));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a reference leads to, names looked up; none for a name nobody knows.
    pub fn resolve(&self, reference: &Reference) -> Option<Reference> {
        let Reference::Name(name) = reference else { return Some(reference.clone()) };
        match self.aliases.get(name) {
            None => self.builtin(name),
            // One step: an alias of an alias would be a loop sooner or later.
            Some(Reference::Name(ours)) => self.builtin(ours),
            Some(elsewhere) => Some(elsewhere.clone()),
        }
    }

    fn builtin(&self, name: &str) -> Option<Reference> {
        let dir = self.builtin.join(name);
        // A name is at most two words with a slash between, so it cannot lead out of the folder.
        let is_one = !name.contains('/') && dir.join("bin").is_dir();
        is_one.then_some(Reference::Folder(dir))
    }
}

/// The words of each line of a small file; ` #` begins a comment.
fn words(path: &Path) -> Result<Vec<Vec<String>>, CompileError> {
    let bytes = read_small(path)
        .map_err(|source| CompileError::Prepare { path: path.to_owned(), source })?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| {
        // A `#` within a word is the ref of a URL.
        line.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned)
    });
    Ok(lines.map(Iterator::collect).filter(|words: &Vec<String>| !words.is_empty()).collect())
}
