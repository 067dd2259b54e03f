//! A platform made of a backup: all of it is checked before any of it is in its place.

use super::contents::{
    Entry, FORMAT, GIT, HEAD, Head, MANIFEST, Manifest, SLUGS, STATE, TLS, digest, is_expected,
};
use super::error::{BackupError, file};
use super::repos::{self, Refs};
use crate::state::lock::DataLock;
use crate::state::{self, Health};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Where a restore works; while it is there the platform does not start.
const ROOM: &str = "restoring";
/// The first and the last entry are read into memory; a slug takes some 200 bytes in the last.
const JSON_BYTES_MAX: u64 = 256 << 20;
const PIECE_BYTES: usize = 128 << 10;
/// What may be in a directory that counts as empty: our own lock, and what a file system makes.
const NOTHING: [&str; 3] = ["lock", "lost+found", ROOM];

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    pub head: Head,
    pub slugs: usize,
    pub repositories: usize,
}

/// Whether a restore into this data directory was cut off.
pub fn cut_off(data: &Path) -> bool {
    data.join(ROOM).exists()
}

/// Makes the platform of the backup in `data`, which has to be empty or not to exist. With `aside`
/// what is there is moved into that folder first, once the backup has proved to be whole.
pub fn restore(backup: &Path, data: &Path, aside: Option<&Path>) -> Result<Restored, BackupError> {
    let mut dirs = DirBuilder::new();
    dirs.recursive(true).mode(0o700);
    dirs.create(data).map_err(file("make", data))?;
    // Before the lock, so that the better reason is given; and after it, when nobody fills it.
    check_empty(data, aside)?;
    let _lock = DataLock::take(data)?;
    check_empty(data, aside)?;
    let room = data.join(ROOM);
    if room.exists() {
        fs::remove_dir_all(&room).map_err(file("remove", &room))?;
    }
    dirs.create(&room).map_err(file("make", &room))?;
    let made = unpack(backup, &room);
    if made.is_err() {
        // Nothing is in its place yet: the directory is as it was.
        drop(fs::remove_dir_all(&room));
    }
    let restored = made?;
    if let Some(aside) = aside {
        dirs.create(aside).map_err(file("make", aside))?;
        move_all(data, aside, |name| fs::symlink_metadata(room.join(name)).is_ok())?;
        move_logs(data, aside)?;
    }
    move_all(&room, data, |_| true)?;
    fs::remove_dir(&room).map_err(file("remove", &room))?;
    lathe_slug::fs::sync_dir(data).map_err(file("write", data))?;
    Ok(restored)
}

fn check_empty(data: &Path, aside: Option<&Path>) -> Result<(), BackupError> {
    for entry in fs::read_dir(data).map_err(file("read", data))? {
        let name = entry.map_err(file("read", data))?.file_name();
        let found = name.to_string_lossy().into_owned();
        if aside.is_none() && !NOTHING.contains(&found.as_str()) {
            return Err(BackupError::NotEmpty { data: data.to_owned(), found });
        }
    }
    Ok(())
}

fn move_all(from: &Path, to: &Path, which: impl Fn(&str) -> bool) -> Result<(), BackupError> {
    let names = fs::read_dir(from)
        .and_then(|all| all.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    for name in names.map_err(file("read", from))? {
        if name.to_str().is_some_and(&which) {
            let path = from.join(&name);
            fs::rename(&path, to.join(&name)).map_err(file("move", &path))?;
        }
    }
    lathe_slug::fs::sync_dir(to).map_err(file("write", to))
}

/// The old state's log must not be taken for the new one's.
fn move_logs(data: &Path, aside: &Path) -> Result<(), BackupError> {
    let logs = [format!("{STATE}-wal"), format!("{STATE}-shm")];
    move_all(data, aside, |name| logs.iter().any(|log| log == name))
}

/// Unpacks and checks everything in `room`, and puts it on disk.
fn unpack(backup: &Path, room: &Path) -> Result<Restored, BackupError> {
    let opened = File::open(backup).map_err(file("read", backup))?;
    let (head, manifest, found) = take_entries(backup, opened, room)?;
    if let Some((entry, what)) = manifest.first_wrong(&found) {
        return Err(BackupError::Damaged { entry, what: what.into() });
    }
    check_state(&room.join(STATE))?;
    let repositories = make_repositories(&room.join(GIT))?;
    for entry in WalkDir::new(room).contents_first(true) {
        let synced =
            entry.map_err(io::Error::from).and_then(|entry| File::open(entry.path())?.sync_all());
        synced.map_err(file("write", room))?;
    }
    let is_slug = |entry: &&Entry| Path::new(&entry.name).extension().is_some_and(|e| e == "tgz");
    let slugs = found.iter().filter(is_slug).count();
    Ok(Restored { head, slugs, repositories })
}

fn take_entries(
    backup: &Path,
    opened: File,
    room: &Path,
) -> Result<(Head, Manifest, Vec<Entry>), BackupError> {
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, opened));
    let not_one = || BackupError::NotBackup { path: backup.to_owned() };
    let entries = archive.entries().map_err(file("read", backup))?;
    let (mut head, mut found) = (None, Vec::<Entry>::new());
    let mut at = HEAD.to_owned();
    let damaged = |entry: &str, what: &str| BackupError::Damaged {
        entry: entry.to_owned(),
        what: what.to_owned(),
    };
    for folder in [TLS, SLUGS, GIT] {
        fs::create_dir(room.join(folder)).map_err(file("make", room))?;
    }
    for entry in entries {
        let mut entry = match entry {
            Err(_) if head.is_none() => return Err(not_one()),
            entry => entry.map_err(|_| damaged(&at, "what follows it cannot be read"))?,
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let regular = entry.header().entry_type().is_file();
        at.clone_from(&name);
        match (&head, name.as_str()) {
            (None, HEAD) if regular => {
                let bytes = read(&mut entry).ok_or_else(not_one)?;
                head = Some(check_head(&bytes).map_err(|wrong| wrong.unwrap_or_else(not_one))?);
                found.push(Entry::new(HEAD, bytes.len() as u64, &digest(&bytes)));
            }
            (None, _) => return Err(not_one()),
            (Some(head), MANIFEST) if regular => {
                let bytes = read(&mut entry).ok_or_else(|| damaged(MANIFEST, "it is cut off"))?;
                let manifest = serde_json::from_slice(&bytes);
                let manifest = manifest.map_err(|_| damaged(MANIFEST, "it cannot be read"))?;
                return Ok((head.clone(), manifest, found));
            }
            (Some(_), name) if regular && is_expected(name) => {
                found.push(take(&mut entry, name, &room.join(name))?);
            }
            (Some(_), name) => return Err(damaged(name, "it does not belong there")),
        }
    }
    if head.is_none() {
        return Err(not_one());
    }
    Err(damaged(MANIFEST, "it is missing: the backup was cut off"))
}

/// None when it is no head at all.
fn check_head(bytes: &[u8]) -> Result<Head, Option<BackupError>> {
    let head: Head = serde_json::from_slice(bytes).map_err(|_| None)?;
    let known = state::SCHEMA;
    if head.format != FORMAT {
        return Err(Some(BackupError::Format { found: head.format, known: FORMAT }));
    }
    if head.schema > known {
        return Err(Some(BackupError::Newer { found: head.schema, known }));
    }
    Ok(head)
}

fn read(entry: &mut tar::Entry<'_, impl Read>) -> Option<Vec<u8>> {
    let size = entry.header().entry_size().ok().filter(|size| *size <= JSON_BYTES_MAX)?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

/// Writes an entry to its file, which no other entry may have made.
fn take(
    entry: &mut tar::Entry<'_, impl Read>,
    name: &str,
    path: &Path,
) -> Result<Entry, BackupError> {
    let size = entry.header().entry_size().unwrap_or(0);
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(path).map_err(
        |source| match source.kind() {
            io::ErrorKind::AlreadyExists => {
                BackupError::Damaged { entry: name.into(), what: "it is there twice".into() }
            }
            _ => file("write", path)(source),
        },
    )?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    // A backup that cannot be read on ends here.
    while let Ok(n @ 1..) = entry.read(&mut piece) {
        let piece = piece.get(..n).unwrap_or_default();
        hash.update(piece);
        bytes += n as u64;
        out.write_all(piece).map_err(file("write", path))?;
    }
    if bytes != size {
        let what = format!("it is cut off after {bytes} of {size} bytes");
        return Err(BackupError::Damaged { entry: name.into(), what });
    }
    Ok(Entry::new(name, bytes, &hash.finalize()))
}

fn check_state(path: &Path) -> Result<(), BackupError> {
    let damaged = |what| Err(BackupError::Damaged { entry: STATE.into(), what });
    match state::examine(path) {
        Health::Sound { .. } => Ok(()),
        Health::Newer { found, known } => Err(BackupError::Newer { found, known }),
        Health::Damaged { detail } => damaged(detail),
        Health::Missing => damaged("it is missing".into()),
    }
}

/// `x.refs` and `x.pack` become `x.git`.
fn make_repositories(dir: &Path) -> Result<usize, BackupError> {
    let names = fs::read_dir(dir)
        .and_then(|all| all.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>());
    let names = names.map_err(file("read", dir))?;
    let is_refs = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "refs");
    let mut made = 0;
    for path in names.iter().filter(is_refs) {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(file("read", path))?;
        let refs = Refs::parse(&text).ok_or_else(|| BackupError::Damaged {
            entry: name(),
            what: "it is no list of refs".into(),
        })?;
        let pack = path.with_extension("pack");
        let packed = pack.exists().then_some(pack.as_path());
        repos::unpack(&path.with_extension("git"), &refs, packed)?;
        for path in [Some(path.as_path()), packed].into_iter().flatten() {
            fs::remove_file(path).map_err(file("remove", path))?;
        }
        made += 1;
    }
    Ok(made)
}
