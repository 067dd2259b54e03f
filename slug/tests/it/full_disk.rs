//! Disks that run full while something is written to them.

use crate::round_trip::packed;
use crate::tree::{build, describe, file};
use lathe_slug::{Layout, Limits, Manifest, Store, StoreError, UnpackError, unpack};
use rustix::fs::statvfs;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A file system of its own and of the given size, gone with the value.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn of_mib(size: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = CString::new(format!("size={size}m,mode=755")).unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn free_bytes(&self) -> u64 {
        let disk = statvfs(self.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.dir.path(), UnmountFlags::DETACH).unwrap();
    }
}

/// Does not compress, so that its slug is as large.
fn noise(bytes: usize) -> String {
    let mut state = 1u64;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap()));
    }
    text
}

fn slug(content: &str) -> (Manifest, Vec<u8>) {
    let temp = tempfile::tempdir().unwrap();
    build(temp.path(), describe([("a", file("small")), ("b/c", file(content))]).iter());
    packed(temp.path())
}

#[test]
fn unpacking_onto_a_full_disk_leaves_nothing() {
    let disk = Disk::of_mib(1);
    let (_, slug) = slug(&noise(2 << 20));
    let dest = disk.path().join("d");
    let error = unpack(&slug[..], &dest, Layout::Slug, &Limits::default(), None).unwrap_err();
    assert!(matches!(error, UnpackError::Write { .. }), "{error}");
    assert_eq!(error.to_string(), "could not write \"app/b/c\"");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn the_store_stops_above_its_floor_and_goes_on_when_there_is_room() {
    let disk = Disk::of_mib(48);
    let store = Store::open(disk.path(), 8 << 20).unwrap();
    let (small, bytes) = slug("x");
    store.put(&bytes[..]).unwrap();
    let (large, large_bytes) = slug(&noise(24 << 20));

    let (ballast, free) = (disk.path().join("ballast"), disk.free_bytes());
    fs::write(&ballast, vec![1; 20 << 20]).unwrap();
    let error = store.put(&large_bytes[..]).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(fs::read_dir(disk.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(store.verify(&small.id).unwrap(), small);

    fs::remove_file(ballast).unwrap();
    // The kernel may give back a little later what is removed.
    let until = Instant::now() + Duration::from_secs(20);
    while disk.free_bytes() + (1 << 20) < free && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(store.put(&large_bytes[..]).unwrap(), large);
}
