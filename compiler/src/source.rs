//! Source trees: a private copy of a folder, and what `.slugignore` leaves of it.

use crate::error::CompileError;
use lathe_slug::Ignore;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use walkdir::WalkDir;

const ENTRIES_MAX: usize = 200_000;
const BYTES_MAX: u64 = 2 << 30;
/// Rules, Procfiles and the like are a few lines; anything larger is a mistake or an attack.
const SMALL_FILE_BYTES_MAX: u64 = 256 << 10;

/// Copies the folder `from` to the new folder `to`, without `.git`. Modes are kept; symlinks are
/// copied as links and never followed; times are now, since build tools take an old time for
/// "unchanged".
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut bytes_left = BYTES_MAX;
    let walk = WalkDir::new(from).min_depth(1).sort_by_file_name().into_iter();
    let walk = walk.filter_entry(|entry| entry.depth() != 1 || entry.file_name() != ".git");
    for (count, entry) in walk.enumerate() {
        let entry = entry?;
        if count >= ENTRIES_MAX {
            return Err(too_large(format!("more than {ENTRIES_MAX} files")));
        }
        let relative = entry.path().strip_prefix(from).map_err(io::Error::other)?;
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir(&target)?;
        } else if entry.file_type().is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if entry.file_type().is_file() {
            bytes_left = bytes_left
                .checked_sub(copy_file(entry.path(), &target)?)
                .ok_or_else(|| too_large(format!("more than {} MB", BYTES_MAX >> 20)))?;
        }
    }
    Ok(())
}

/// Not `fs::copy`: that would keep setuid bits, and follow a link put in the file's place.
fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let mut source = open_plain(from)?;
    let mode = source.metadata()?.permissions().mode();
    let mut target = fs::File::create_new(to)?;
    let count = io::copy(&mut source, &mut target)?;
    target.set_permissions(fs::Permissions::from_mode(0o644 | mode & 0o111))?;
    Ok(count)
}

fn too_large(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, what)
}

/// Opens a file, but not one behind a symlink, and never waits for a fifo.
pub(crate) fn open_plain(path: &Path) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// The bytes of a small text file of the source; `None` when there is none.
pub(crate) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match open_plain(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
        return Err(too_large(format!("larger than {} KB", SMALL_FILE_BYTES_MAX >> 10)));
    }
    Ok(Some(bytes))
}

/// Removes what the source's `.slugignore` names, before any buildpack runs (Heroku Dev Center,
/// "Slug Compiler"). What every slug leaves out stays until packing: a source folder called `log`
/// may be needed to build. Returns how many files and folders went.
pub(crate) fn prune(build_dir: &Path) -> Result<usize, CompileError> {
    let path = build_dir.join(".slugignore");
    let read = |source| CompileError::ReadSource { path: ".slugignore".into(), source };
    let Some(rules) = read_small(&path).map_err(read)? else { return Ok(0) };
    let ignore = Ignore::parse(&rules).map_err(CompileError::SlugIgnore)?;
    let always = Ignore::default();
    let mut removed = 0;
    let mut walk = WalkDir::new(build_dir).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let remove = |source| CompileError::Prepare { path: build_dir.to_owned(), source };
        let entry = entry.map_err(io::Error::from).map_err(remove)?;
        let is_dir = entry.file_type().is_dir();
        let Ok(relative) = entry.path().strip_prefix(build_dir) else { continue };
        if !ignore.matches(relative, is_dir) || always.matches(relative, is_dir) {
            continue;
        }
        removed += 1;
        if is_dir {
            walk.skip_current_dir();
            fs::remove_dir_all(entry.path()).map_err(remove)?;
        } else {
            fs::remove_file(entry.path()).map_err(remove)?;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_modes_and_links_and_leaves_git() {
        let room = tempfile::tempdir().unwrap();
        let from = room.path().join("from");
        fs::create_dir_all(from.join(".git")).unwrap();
        fs::create_dir_all(from.join("sub/.git")).unwrap();
        fs::write(from.join("run"), "x").unwrap();
        fs::set_permissions(from.join("run"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/etc/shadow", from.join("sub/link")).unwrap();
        let to = room.path().join("to");
        copy_tree(&from, &to).unwrap();
        assert!(!to.join(".git").exists() && to.join("sub/.git").exists());
        assert_eq!(fs::read_link(to.join("sub/link")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!(fs::metadata(to.join("run")).unwrap().permissions().mode() & 0o7777, 0o755);
    }

    #[test]
    fn small_files_are_small_and_plain() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::write(at("ok"), "web: x").unwrap();
        fs::write(at("huge"), vec![b'x'; 300 << 10]).unwrap();
        symlink("/etc/passwd", at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        assert_eq!(read_small(&at("ok")).unwrap().unwrap(), b"web: x");
        assert!(read_small(&at("none")).unwrap().is_none());
        for name in ["huge", "link", "dir"] {
            assert!(read_small(&at(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn slugignore_goes_before_the_build() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::create_dir_all(at("docs/deep")).unwrap();
        fs::create_dir_all(at("log")).unwrap();
        for file in ["docs/deep/a.md", "b.psd", "log/mod.go", "keep"] {
            fs::write(at(file), "").unwrap();
        }
        fs::write(at(".slugignore"), "*.psd\n/docs\n").unwrap();
        assert_eq!(prune(room.path()).unwrap(), 2);
        assert!(at("keep").exists() && at("log/mod.go").exists());
        assert!(!at("docs").exists() && !at("b.psd").exists());
    }
}
