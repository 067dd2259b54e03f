//! Files that are there after a power cut once they were said to be.

use rustix::fs::{Mode, OFlags, fsync, open};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Moves a finished file to its place, durably: its bytes are on disk before it has the name, and the
/// name is on disk on return. Both paths lie on one file system.
pub fn publish(temp: &Path, dest: &Path) -> io::Result<()> {
    File::open(temp)?.sync_all()?;
    fs::rename(temp, dest)?;
    sync_dir(folder_of(dest))
}

/// Replaces the file at `path` at once and durably: whoever reads finds all of the old or all of the
/// new. `mode` as for chmod.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temp = tempfile::Builder::new().prefix(".write-").tempfile_in(folder_of(path))?;
    temp.write_all(bytes)?;
    temp.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    publish(temp.path(), path)?;
    // The name is gone with the rename; removing it again would remove another's file.
    drop(temp.into_temp_path().keep());
    Ok(())
}

/// Makes the names in a folder durable: a file's own fsync does not.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fsync(open(path, flags, Mode::empty())?)?)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::{atomic_write, publish};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_write_replaces_all_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        atomic_write(&path, b"one", 0o600).unwrap();
        atomic_write(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(atomic_write(&dir.path().join("none/state"), b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn publishing_moves_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (temp, dest) = (dir.path().join("temp"), dir.path().join("dest"));
        fs::write(&temp, b"x").unwrap();
        publish(&temp, &dest).unwrap();
        assert!(!temp.exists() && dest.exists());
    }
}
