//! What may lie about on the machine under the engine's names although no dyno has it: mounts and
//! links. An engine never leaves any; a hand that helped, or an older version, may have.

use super::netlink::{self, Netlink};
use nix::mount::{MntFlags, umount2};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Unmounts whatever is mounted below `dir`, the last first, but for `kept`. Dynos mount in namespaces
/// of their own: nothing here is theirs, and removing a tree through a mount would reach what is
/// behind it.
pub(super) fn unmount_below(dir: &Path, kept: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for path in mounts.lines().rev().filter_map(mount_point) {
        if path.starts_with(dir) && path != kept {
            umount2(&path, MntFlags::MNT_DETACH)?;
            tracing::warn!(path = %path.display(), "a stray mount was removed");
        }
    }
    Ok(())
}

/// The second field; the kernel writes blanks in it as octal numbers (proc(5), `getmntent(3)`).
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(1)?;
    let mut path = field.to_owned();
    for (octal, byte) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(octal, byte);
    }
    Some(path.into())
}

/// Removes links whose name begins with `prefix` and is not in `kept`.
pub(super) fn remove_links(prefix: &str, kept: &BTreeSet<&str>) -> io::Result<()> {
    let mut host = None;
    for entry in fs::read_dir("/sys/class/net")? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else { continue };
        if kept.contains(name) {
            continue;
        }
        let host: &Netlink = match &host {
            Some(open) => open,
            None => host.insert(Netlink::open()?),
        };
        // The one of a dyno that has just ended goes by itself.
        let Ok(index) = host.index(name) else { continue };
        match host.send(&[netlink::delete(index)]) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            other => other?,
        }
        // Also one that an engine which was killed had made ahead.
        tracing::info!(name, "a network link that no dyno has was removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        for (line, path) in
            [("tmpfs /a tmpfs rw 0 0", "/a"), ("/dev/loop0 /a\\040b\\134c ext4 rw 0 0", "/a b\\c")]
        {
            assert_eq!(mount_point(line), Some(path.into()));
        }
        assert_eq!(mount_point("short"), None);
    }
}
