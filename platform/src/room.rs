//! A folder to work in, for our eyes only: gone when we are done, and if we are killed, when the next
//! one is made beside it.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use tempfile::{Builder, TempDir};

/// Of which machine a room is, in the room: on a shared disk nobody knows who of another one is there.
const MARK: &str = ".room";
const MACHINE: &str = "/etc/machine-id";

#[derive(Debug)]
pub(crate) struct Room {
    dir: TempDir,
    /// Says that we are there; the kernel lets go of it however we end.
    _lock: File,
}

impl Room {
    /// Makes one in `folder` whose name begins with `prefix`; rooms of that prefix in which nobody is
    /// any more are removed.
    pub(crate) fn make(folder: &Path, prefix: &str) -> io::Result<Self> {
        remove_left(folder, prefix)?;
        let private = Permissions::from_mode(0o700);
        loop {
            let dir =
                Builder::new().prefix(prefix).permissions(private.clone()).tempdir_in(folder)?;
            // Somebody who removes what is left may have been in it before us.
            match take(dir.path()) {
                Ok(Some(lock)) if dir.path().exists() => {
                    fs::write(dir.path().join(MARK), machine())?;
                    return Ok(Self { dir, _lock: lock });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Nothing where there is no such number; then all such machines are one.
fn machine() -> Vec<u8> {
    fs::read(MACHINE).unwrap_or_default()
}

/// None when somebody else has it.
fn take(room: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = File::from(open(room, flags, Mode::empty())?);
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        taken => Ok(taken.map(|()| Some(dir))?),
    }
}

fn remove_left(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        // A link of that name, another's folder, one that is going: none of ours.
        let Ok(Some(left)) = take(&entry.path()) else { continue };
        let marked = fs::read(entry.path().join(MARK)).is_ok_and(|mark| mark == machine());
        if marked && left.metadata()?.uid() == geteuid().as_raw() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MARK, Room, fs, machine};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn rooms_that_were_left_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path(".room-left/deep")).unwrap();
        fs::write(path(".room-left/deep/key"), "secret").unwrap();
        fs::write(path(".room-left").join(MARK), machine()).unwrap();
        fs::create_dir(path("other")).unwrap();
        fs::create_dir(path(".room-another's")).unwrap();
        fs::create_dir(path(".room-elsewhere")).unwrap();
        fs::write(path(".room-elsewhere").join(MARK), "another machine").unwrap();
        fs::write(path(".room-file"), "").unwrap();
        symlink(path("other"), path(".room-link")).unwrap();
        let (first, second) =
            (Room::make(folder.path(), ".room-"), Room::make(folder.path(), ".room-"));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(!path(".room-left").exists());
        for there in ["other", ".room-another's", ".room-elsewhere", ".room-file", ".room-link"] {
            assert!(path(there).symlink_metadata().is_ok(), "{there:?}");
        }
        for room in [&first, &second] {
            let mode = fs::metadata(room.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        drop((first, second));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }
}
