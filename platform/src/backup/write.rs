//! A backup is written: refs, then the state, then everything these name.

use super::contents::{FILES, FORMAT, GIT, HEAD, Head, SLUGS, STATE, TLS};
use super::entries::Entries;
use super::error::{BackupError, file};
use super::repos::{self, Refs};
use crate::room::Room;
use crate::state::Copied;
use jiff::Timestamp;
use lathe_slug::{SlugId, Store};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How often it is begun again when something went away meanwhile: an app was destroyed, or pushed
/// over and packed anew. What is still missing then is missing for good.
const TRIES: usize = 3;

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    pub head: Head,
    /// Slugs that releases name and that the store has lost. The rest is worth having without them.
    pub lost: Vec<SlugId>,
}

/// Writes everything below `data` to the file at `to`, which is there whole and on disk, or not at
/// all, and for its owner's eyes only. A platform may run on it.
pub fn write(data: &Path, to: &Path) -> Result<Written, BackupError> {
    if !data.join(STATE).exists() {
        return Err(BackupError::Nothing { data: data.to_owned() });
    }
    let mut tries = 1;
    loop {
        match attempt(data, to, tries == TRIES) {
            Err(error) if error.may_pass() && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

fn attempt(data: &Path, to: &Path, final_try: bool) -> Result<Written, BackupError> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Beside its place, to be moved there in one step.
    let room = Room::make(folder, ".lathe-backup-").map_err(file("write in", folder))?;
    let refs = all_refs(data)?;
    let copy = Copied::make(data, &room.path().join(STATE))?;
    let head = Head {
        format: FORMAT,
        lathe: env!("CARGO_PKG_VERSION").into(),
        schema: copy.schema()?,
        made_at: Timestamp::now(),
        stacks: copy.stacks()?,
    };
    let temp = room.path().join("backup");
    let mut private = OpenOptions::new();
    let out = private.write(true).create_new(true).mode(0o600).open(&temp);
    let out = out.map_err(file("write", &temp))?;
    let mut entries = Entries::new(io::BufWriter::with_capacity(1 << 20, out), to);
    let text = serde_json::to_vec(&head).map_err(|error| file("write", to)(error.into()))?;
    entries.add_bytes(HEAD, &text)?;
    add_files(&mut entries, data)?;
    entries.add_file(STATE, &room.path().join(STATE))?;
    let mut lost = Vec::new();
    for slug in copy.slugs()? {
        match add_slug(&mut entries, data, &slug) {
            Err(BackupError::Lost { slug }) if final_try => lost.push(slug),
            added => added?,
        }
    }
    for app in copy.apps()? {
        let Some(refs) = refs.get(&app) else { continue };
        add_repository(&mut entries, data, &app, refs, &copy, room.path())?;
    }
    let out = entries.finish()?.into_inner().map_err(|error| file("write", to)(error.into()))?;
    drop(out);
    lathe_slug::fs::publish(&temp, to).map_err(file("write", to))?;
    Ok(Written { head, lost })
}

/// Of each app that has a repository.
fn all_refs(data: &Path) -> Result<BTreeMap<String, Refs>, BackupError> {
    let dir = data.join(GIT);
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(&dir).map_err(file("read", &dir))? {
        let path = entry.map_err(file("read", &dir))?.path();
        let app = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".git"));
        let Some(app) = app else { continue };
        match Refs::read(&path) {
            Ok(refs) => drop(all.insert(app.to_owned(), refs)),
            // Destroyed since the folder was listed.
            Err(_) if !path.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn add_files<W: io::Write>(entries: &mut Entries<W>, data: &Path) -> Result<(), BackupError> {
    for name in FILES.iter().filter(|name| data.join(name).is_file()) {
        entries.add_file(name, &data.join(name))?;
    }
    let dir = data.join(TLS);
    let names = fs::read_dir(&dir)
        .and_then(|all| all.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let mut names = names.map_err(file("read", &dir))?;
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()) {
        // Not what is just being written.
        if !name.starts_with('.') && dir.join(name).is_file() {
            entries.add_file(&format!("{TLS}/{name}"), &dir.join(name))?;
        }
    }
    Ok(())
}

fn add_slug<W: io::Write>(
    entries: &mut Entries<W>,
    data: &Path,
    slug: &SlugId,
) -> Result<(), BackupError> {
    let path = Store::path_in(&data.join(SLUGS), slug);
    for path in [path.with_extension("json"), path] {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match entries.add_file(&format!("{SLUGS}/{name}"), &path) {
            Err(BackupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // A manifest can be had from its slug, and is when the store is opened.
                if path.extension().is_some_and(|extension| extension == "tgz") {
                    return Err(BackupError::Lost { slug: *slug });
                }
            }
            added => added?,
        }
    }
    Ok(())
}

fn add_repository<W: io::Write>(
    entries: &mut Entries<W>,
    data: &Path,
    app: &str,
    refs: &Refs,
    copy: &Copied,
    room: &Path,
) -> Result<(), BackupError> {
    let repo: PathBuf = data.join(GIT).join(format!("{app}.git"));
    let commits = copy.commits(app)?.iter().filter_map(|text| text.parse().ok()).collect();
    let temp = room.join("pack");
    let pack = File::create(&temp).map_err(file("write", &temp))?;
    let packed = repos::pack(&repo, refs, &commits, &pack)?;
    entries.add_bytes(&format!("{GIT}/{app}.refs"), refs.to_text().as_bytes())?;
    if packed {
        entries.add_file(&format!("{GIT}/{app}.pack"), &temp)?;
    }
    Ok(())
}
