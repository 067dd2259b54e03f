//! Takes out of a tree what only its making needed, and what would tell machines apart.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Emptied; the directories stay.
const EMPTIED: &[&str] = &[
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "root",
    "var/tmp",
    "var/cache/apt",
    "var/cache/debconf",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "usr/share/man",
    "usr/share/info",
    "usr/share/groff",
    "usr/share/lintian",
];

/// Files that hold something of the machine on which the tree was made; the cell puts its own
/// over them.
const BLANKED: &[&str] = &["etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf"];

const REMOVED: &[&str] = &[
    "debootstrap",
    "usr/sbin/policy-rc.d",
    "etc/dpkg/dpkg.cfg.d/building",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
];

pub(super) fn tree(root: &Path) -> io::Result<()> {
    for path in EMPTIED {
        empty(&root.join(path))?;
    }
    for path in BLANKED {
        remove(&root.join(path))?;
        fs::write(root.join(path), "")?;
    }
    for path in REMOVED {
        remove(&root.join(path))?;
    }
    keep_only(&root.join("usr/share/doc"), "copyright")?;
    keep_no_files(&root.join("var/log"))?;
    // Every dyno has a copy of its own, and one user in it: builds want to write here.
    let app = root.join("app");
    fs::create_dir_all(&app)?;
    fs::set_permissions(&app, fs::Permissions::from_mode(0o777))?;
    // apt refuses to work without these two.
    fs::create_dir_all(root.join("var/lib/apt/lists/partial"))?;
    fs::create_dir_all(root.join("var/cache/apt/archives/partial"))
}

fn empty(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    entries.into_iter().try_for_each(|entry| remove(&entry?.path()))
}

/// Removes a file, a link or a whole tree; what is not there is fine. Follows no link.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Licences ask for their texts to be kept.
fn keep_only(dir: &Path, name: &str) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(dir).contents_first(true) {
        let entry = entry?;
        if entry.file_type().is_dir() {
            // Fails for those that still hold something, as it should.
            fs::remove_dir(entry.path()).ok();
        } else if entry.file_name() != name {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Programs expect their log directories, not old logs.
fn keep_no_files(dir: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleaned_tree_keeps_programs_and_licences_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let outside = dir.path().join("outside");
        let put = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        fs::write(&outside, "mine").unwrap();
        for path in [
            "bin/sh",
            "usr/share/doc/bash/copyright",
            "usr/share/doc/bash/README",
            "usr/share/doc/empty/README",
            "var/log/apt/history.log",
            "var/lib/apt/lists/a",
            "etc/hostname",
            "usr/sbin/policy-rc.d",
        ] {
            put(path);
        }
        std::os::unix::fs::symlink(&outside, root.join("etc/resolv.conf")).unwrap();

        tree(&root).unwrap();

        let there = |path: &str| root.join(path).exists();
        assert!(there("bin/sh") && there("usr/share/doc/bash/copyright") && there("var/log/apt"));
        assert!(!there("usr/share/doc/bash/README") && !there("usr/share/doc/empty"));
        assert!(!there("var/log/apt/history.log") && !there("usr/sbin/policy-rc.d"));
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
        assert_eq!(fs::metadata(root.join("etc/resolv.conf")).unwrap().len(), 0);
        assert_eq!(fs::metadata(root.join("app")).unwrap().permissions().mode() & 0o777, 0o777);
    }
}
