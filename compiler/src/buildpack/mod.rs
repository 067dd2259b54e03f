//! What a buildpack is: a folder with `bin/detect`, `bin/compile` and perhaps `bin/release`, in a private copy.

mod archive;
mod catalogue;
mod fetch;
mod git;
mod reference;

pub use catalogue::Catalogue;
pub use fetch::FetchError;
pub(crate) use fetch::{Errand, fetch};
pub use reference::{ParseReferenceError, Reference};

use crate::error::CompileError;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A buildpack ready to run. Its folder is ours alone: buildpacks write `export` files and more
/// beside their programs.
#[derive(Clone, Debug)]
pub(crate) struct Buildpack {
    /// As it was asked for.
    pub(crate) name: String,
    /// Where it came from, when it was fetched.
    pub(crate) url: Option<String>,
    pub(crate) commit: Option<String>,
    /// SHA-256 of the archive it came as, or else of its tree before it ran.
    pub(crate) digest: String,
    /// The reference by which exactly this one can be had again.
    pub(crate) pinned: String,
    pub(crate) dir: PathBuf,
}

impl Buildpack {
    /// The path of one of its programs, if it has that.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join("bin").join(name);
        fs::symlink_metadata(&path).is_ok().then_some(path)
    }

    /// Makes `bin/*` executable, as archives made on other systems lose that, and asks for the two
    /// programs no buildpack can be without.
    pub(crate) fn check(self) -> Result<Self, CompileError> {
        let bin = self.dir.join("bin");
        make_executable(&bin)
            .map_err(|source| CompileError::Prepare { path: bin.clone(), source })?;
        for program in ["detect", "compile"] {
            if self.program(program).is_none() {
                return Err(CompileError::NotABuildpack { name: self.name, program });
            }
        }
        Ok(self)
    }
}

fn make_executable(bin: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(bin) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
