//! Where the records of all dynos lie: in memory, since none outlives a reboot, and since a disk that
//! has just forgotten thousands of files takes ever longer to make another.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of the machine's memory. A record takes some kilobytes, so that this is never met.
const OPTIONS: &str = "mode=700,size=10%";

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("dynos")
}

/// Makes room for records, unless there is some: an earlier engine's. Those that an earlier version
/// has left on the disk stay there, and all that come to lie beside them, until the next reboot.
pub(super) fn lay_out(dir: &Path) -> io::Result<()> {
    let records = path(dir);
    if is_mounted(dir, &records)? || fs::read_dir(&records)?.next().is_some() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("lathe"), &records, Some("tmpfs"), flags, Some(OPTIONS))?)
}

/// Takes the room back, with whatever is in it.
pub(super) fn clear_away(dir: &Path) -> io::Result<()> {
    match umount2(&path(dir), MntFlags::MNT_DETACH) {
        // On the disk, or not there at all.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_mounted(dir: &Path, records: &Path) -> io::Result<bool> {
    Ok(fs::metadata(dir)?.dev() != fs::metadata(records)?.dev())
}
