//! The built-in buildpacks: their folders, the order of detection, and other people's names for them.

use crate::error::CompileError;
use crate::source::read_small;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `order` names one buildpack a line; `aliases` two words a line, a known name and ours.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    dir: PathBuf,
    order: Vec<String>,
    aliases: BTreeMap<String, String>,
}

impl Catalogue {
    pub(crate) fn open(dir: &Path) -> Result<Self, CompileError> {
        let order =
            words(&dir.join("order"))?.into_iter().filter_map(|line| line.into_iter().next());
        let order = order.collect();
        let pairs = words(&dir.join("aliases"))?.into_iter().filter_map(|line| {
            let [name, ours] = <[String; 2]>::try_from(line).ok()?;
            Some((name, ours))
        });
        Ok(Self { dir: dir.to_owned(), order, aliases: pairs.collect() })
    }

    /// Names in the order of detection.
    pub(crate) fn order(&self) -> &[String] {
        &self.order
    }

    /// The folder of a built-in buildpack.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let ours = self.aliases.get(name).map_or(name, String::as_str);
        let known = self.order.iter().any(|known| known == ours);
        known.then(|| self.dir.join(ours)).filter(|dir| dir.is_dir())
    }
}

/// The words of each line of a small file; `#` begins a comment.
fn words(path: &Path) -> Result<Vec<Vec<String>>, CompileError> {
    let bytes = read_small(path)
        .map_err(|source| CompileError::Prepare { path: path.to_owned(), source })?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let lines = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    Ok(lines.filter(|words| !words.is_empty()).collect())
}
