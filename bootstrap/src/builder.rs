//! The executable that builds a stage, and what it is known by.

use lathe_slug::elf_section;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the program is in a slug of Lathe.
const IN_SLUG: &str = "app/target/release/lathe";
/// Of compilers and linkers there are a handful.
const COMMENT_BYTES_MAX: usize = 4 << 10;
/// Enough of a digest to tell executables apart.
const SHORT: usize = 12;

/// A `lathe`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Builder {
    #[serde(skip)]
    path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// What made it, as compiler and linker have written into it; empty where they have not.
    pub toolchain: Vec<String>,
}

/// Why there is no next builder.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    #[error("the slug holds no {IN_SLUG}")]
    Absent,
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Builder {
    pub(crate) fn at(path: &Path) -> Result<Self, BuilderError> {
        let path = path.to_owned();
        match digest(&path).and_then(|sha256| Ok((sha256, toolchain(&path)?))) {
            Ok((sha256, toolchain)) => Ok(Self { path, sha256, toolchain }),
            Err(source) => Err(BuilderError::Read { path, source }),
        }
    }

    /// The program in an unpacked slug: a file, not a link to somebody else's.
    pub(crate) fn in_slug(unpacked: &Path) -> Result<Self, BuilderError> {
        let path = unpacked.join(IN_SLUG);
        match path.symlink_metadata() {
            Ok(about) if about.is_file() => Self::at(&path),
            _ => Err(BuilderError::Absent),
        }
    }

    #[cfg(test)]
    pub(crate) fn made_by(toolchain: &str) -> Self {
        let sha256 = "ab".repeat(32);
        Self { path: PathBuf::new(), sha256, toolchain: vec![toolchain.to_owned()] }
    }

    pub(crate) fn short(&self) -> &str {
        self.sha256.get(..SHORT).unwrap_or(&self.sha256)
    }

    /// A verb of it, for the platform on `data` with these settings.
    pub(crate) fn verb(
        &self,
        data: &Path,
        settings: &[(String, String)],
        verb: &[&str],
    ) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--data").arg(data);
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.args(verb);
        command
    }
}

/// The texts of the section `.comment`, each tool's own: its name and version.
fn toolchain(path: &Path) -> io::Result<Vec<String>> {
    let comment = elf_section(&File::open(path)?, ".comment", COMMENT_BYTES_MAX)?;
    let comment = comment.unwrap_or_default();
    let texts = comment.split(|byte| *byte == 0).filter(|text| !text.is_empty());
    Ok(texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = BufReader::new(File::open(path)?);
    let mut digest = Sha256::new();
    let mut piece = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let bytes = digest.finalize();
            return Ok(bytes
                .iter()
                .fold(String::new(), |text, byte| text + &format!("{byte:02x}")));
        }
        digest.update(piece.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_without_the_program_or_with_a_link_builds_nothing() {
        let slug = tempfile::tempdir().unwrap();
        assert!(matches!(Builder::in_slug(slug.path()), Err(BuilderError::Absent)));
        let program = slug.path().join(IN_SLUG);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/bin/true", &program).unwrap();
        assert!(matches!(Builder::in_slug(slug.path()), Err(BuilderError::Absent)));
        std::fs::remove_file(&program).unwrap();
        std::fs::write(&program, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let builder = Builder::in_slug(slug.path()).unwrap();
        assert_eq!(builder.short(), "ba7816bf8f01");
        assert!(builder.toolchain.is_empty());
    }

    #[test]
    fn a_program_says_what_made_it() {
        let own = Builder::at(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.toolchain.iter().any(|tool| tool.starts_with("rustc version ")), "{own:?}");
    }
}
