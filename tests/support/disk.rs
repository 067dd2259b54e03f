//! File systems of a test's own: small ones to fill, and one whose power can be cut.

use crate::host;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// For what hangs.
const BOUND: Duration = Duration::from_mins(1);

/// A file system in a file, mounted until dropped.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
    image: PathBuf,
}

impl Disk {
    /// An empty ext4 of `bytes`, its image in the temporary directory.
    pub fn ext4(bytes: u64) -> Self {
        Self::make(&std::env::temp_dir(), bytes, &["mkfs.ext4", "-q", "-m", "0", "-F"])
    }

    /// An empty ext4 of `bytes`, its image on this disk. Writes go to it past the page cache, so
    /// that a copy of the image holds what a power cut would have left.
    pub fn ext4_within(&self, bytes: u64) -> Self {
        Self::make(&self.path(), bytes, &["mkfs.ext4", "-q", "-m", "0", "-F"])
    }

    /// An empty XFS of `bytes` that copies files by reference.
    pub fn xfs(bytes: u64) -> Self {
        host::needs(&[host::XFS]);
        Self::make(&std::env::temp_dir(), bytes, &["mkfs.xfs", "-q", "-f", "-m", "reflink=1"])
    }

    /// An empty tmpfs of `bytes`.
    pub fn tmpfs(bytes: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("lathe-disk-").tempdir().unwrap();
        let disk = Self { image: PathBuf::new(), dir };
        std::fs::create_dir(disk.path()).unwrap();
        let size = format!("size={bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.path()));
        disk
    }

    fn make(parent: &Path, bytes: u64, mkfs: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("lathe-disk-").tempdir_in(parent).unwrap();
        let image = dir.path().join("image");
        File::create_new(&image).unwrap().set_len(bytes).unwrap();
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
        Self::mount(dir, image)
    }

    fn mount(dir: TempDir, image: PathBuf) -> Self {
        let disk = Self { dir, image };
        std::fs::create_dir(disk.path()).unwrap();
        let device = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(&disk.image)
            .output()
            .unwrap();
        assert!(device.status.success(), "losetup: {}", String::from_utf8_lossy(&device.stderr));
        let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
        let mounted = Command::new("mount").arg(&device).arg(disk.path()).output().unwrap();
        // Detached for good at the umount.
        run(Command::new("losetup").args(["--detach", &device]));
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "mount {device}: {said}");
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// What a power cut at this moment would leave of a disk made by [`Disk::ext4_within`]: its
    /// image is copied at one instant, and the copy mounted, which replays its journal.
    pub fn after_power_cut(&self) -> Self {
        let parent = self.dir.path().parent().unwrap();
        let dir = tempfile::Builder::new().prefix("lathe-cut-").tempdir_in(parent).unwrap();
        let image = dir.path().join("image");
        run(Command::new("cp").arg("--reflink=always").arg(&self.image).arg(&image));
        Self::mount(dir, image)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmount = || Command::new("umount").arg(self.path()).output();
        if std::thread::panicking() {
            if !unmount().is_ok_and(|output| output.status.success()) {
                drop(Command::new("umount").arg("--lazy").arg(self.path()).status());
            }
            return;
        }
        // Who was killed is no longer listed by its name before it has let go of its files.
        crate::until("nobody uses the disk any more", BOUND, || {
            unmount().is_ok_and(|output| output.status.success()).then_some(())
        });
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
