//! A stack as a layer of container images: one gzip tar, made when it is first asked for and kept
//! beside the tree.

use super::Stack;
use flate2::Compression;
use flate2::write::GzEncoder;
use lathe_slug::DiffId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

const ARCHIVE: &str = "layer.tar.gz";
const NEW: &str = "layer.new";
const RECORD: &str = "layer.json";
const LOCK: &str = "layer.lock";

/// The time of every entry, as in slugs: the layer depends on the tree alone.
const TIME: u64 = 315_532_801;

/// What is known of a layer without reading it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// SHA-256 of the archive, in hexadecimal.
    pub digest: String,
    /// SHA-256 of the tar inside.
    pub diff_id: String,
    pub bytes: u64,
    /// Where it is.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Why a stack has no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("cannot make a layer of {}", root.display())]
    Make {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Layer {
    /// That of a stack, if it was made before.
    pub fn kept(stack: &Stack) -> Option<Self> {
        let dir = stack.root.parent()?;
        let mut layer: Self = serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()?;
        layer.path = dir.join(ARCHIVE);
        let whole = fs::metadata(&layer.path).is_ok_and(|file| file.len() == layer.bytes);
        whole.then_some(layer)
    }

    /// That of a stack; made now if need be, which takes half a minute. Waits while another process
    /// makes it.
    pub fn of(stack: &Stack) -> Result<Self, LayerError> {
        match Self::kept(stack) {
            Some(layer) => Ok(layer),
            None => {
                make(stack).map_err(|source| LayerError::Make { root: stack.root.clone(), source })
            }
        }
    }
}

fn make(stack: &Stack) -> io::Result<Layer> {
    let dir = stack.root.parent().ok_or(io::ErrorKind::NotFound)?;
    let lock = File::create(dir.join(LOCK))?;
    lock.lock()?;
    if let Some(layer) = Layer::kept(stack) {
        return Ok(layer);
    }
    // Of that name, so that what a killed process has left is overwritten.
    let path = dir.join(NEW);
    let outer = Hashing::new(BufWriter::new(File::create(&path)?));
    let inner = Hashing::new(GzEncoder::new(outer, Compression::fast()));
    let inner = archive(&stack.root, inner)?;
    let (gzip, diff_id, _) = inner.end();
    let (mut file, digest, bytes) = gzip.finish()?.end();
    file.flush()?;
    file.get_ref().sync_all()?;
    lathe_slug::fs::publish(&path, &dir.join(ARCHIVE))?;
    let layer = Layer { digest, diff_id, bytes, path: dir.join(ARCHIVE) };
    lathe_slug::fs::atomic_write(&dir.join(RECORD), &serde_json::to_vec(&layer)?, 0o644)?;
    Ok(layer)
}

/// Files, folders and links, sorted; whatever else there is, an image has no use for.
fn archive<W: Write>(root: &Path, writer: W) -> io::Result<W> {
    let mut archive = tar::Builder::new(writer);
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let name = path.strip_prefix(root).map_err(io::Error::other)?;
        let about = entry.metadata()?;
        let mut header = header(&about);
        let kind = about.file_type();
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, name, io::empty())?;
        } else if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, fs::read_link(path)?)?;
        } else if kind.is_file() {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(about.len());
            archive.append_data(&mut header, name, File::open(path)?)?;
        }
    }
    archive.into_inner()
}

fn header(about: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(about.mode() & 0o7777);
    header.set_uid(about.uid().into());
    header.set_gid(about.gid().into());
    header.set_mtime(TIME);
    header.set_size(0);
    header
}

/// Counts and digests what is written through it.
struct Hashing<W> {
    writer: W,
    digest: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(writer: W) -> Self {
        Self { writer, digest: Sha256::new(), bytes: 0 }
    }

    fn end(self) -> (W, String, u64) {
        let digest = DiffId::from_digest(self.digest.finalize().into());
        (self.writer, digest.to_string(), self.bytes)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(buffer)?;
        let written = buffer.get(..count).unwrap_or_default();
        self.digest.update(written);
        self.bytes += written.len() as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn stack(dir: &Path) -> Stack {
        let root = dir.join("root");
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/su"), "program").unwrap();
        fs::set_permissions(root.join("usr/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        Stack { name: "test".into(), digest: "00".into(), root }
    }

    fn sha256(bytes: &[u8]) -> String {
        let mut hashing = Hashing::new(io::sink());
        hashing.write_all(bytes).unwrap();
        hashing.end().1
    }

    #[test]
    fn a_layer_is_what_its_record_says_and_depends_on_the_tree_alone() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two] = dirs.each_ref().map(|dir| Layer::of(&stack(dir.path())).unwrap());
        assert_eq!((&one.digest, &one.diff_id), (&two.digest, &two.diff_id));
        let bytes = fs::read(&one.path).unwrap();
        assert_eq!((sha256(&bytes), bytes.len() as u64), (one.digest.clone(), one.bytes));
        let mut tar = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut tar).unwrap();
        assert_eq!(sha256(&tar), one.diff_id);
        let mut names = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let mode = entry.header().mode().unwrap();
            names.push((entry.path().unwrap().display().to_string(), mode));
        }
        let names: Vec<_> =
            names.iter().map(|(name, mode)| (name.as_str(), mode & 0o4000)).collect();
        assert_eq!(names, [("bin", 0), ("usr", 0), ("usr/bin", 0), ("usr/bin/su", 0o4000)]);
    }

    #[test]
    fn a_layer_is_made_once_and_again_when_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let stack = stack(dir.path());
        assert_eq!(Layer::kept(&stack), None);
        let layer = Layer::of(&stack).unwrap();
        assert_eq!(Layer::kept(&stack).as_ref(), Some(&layer));
        File::options().write(true).open(&layer.path).unwrap().set_len(5).unwrap();
        assert_eq!(Layer::kept(&stack), None);
        assert_eq!(Layer::of(&stack).unwrap(), layer);
    }
}
