//! The store, and what crashes leave it.

use crate::round_trip::packed;
use crate::tree::{build, describe, file};
use lathe_slug::{
    ArchiveError, Collected, Exceeded, Limit, Limits, Manifest, SlugId, Store, StoreError,
};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn slug(content: &str) -> (Manifest, Vec<u8>) {
    let temp = tempfile::tempdir().unwrap();
    build(temp.path(), describe([("a", file(content))]).iter());
    packed(temp.path())
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_put_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    let (manifest, bytes) = slug("one");
    assert!(matches!(store.open_slug(&manifest.id), Err(StoreError::Unknown { .. })));
    assert!(matches!(store.manifest(&manifest.id), Err(StoreError::Unknown { .. })));

    assert_eq!(store.put(&bytes[..]).unwrap(), manifest);
    assert_eq!(store.put(&bytes[..]).unwrap(), manifest);
    let mut incoming = store.begin().unwrap();
    bytes.chunks(100).for_each(|piece| incoming.write_all(piece).unwrap());
    assert_eq!(incoming.commit().unwrap(), manifest);

    let store = Store::open(temp.path(), 0).unwrap();
    assert!(store.contains(&manifest.id));
    assert_eq!(store.manifest(&manifest.id).unwrap(), manifest);
    assert_eq!(store.verify(&manifest.id).unwrap(), manifest);
    let mut read = Vec::new();
    store.open_slug(&manifest.id).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    let listed: Vec<_> = store.list().unwrap().iter().map(|stored| stored.manifest).collect();
    assert_eq!(listed, [manifest]);
    assert_eq!(names(&temp.path().join("incoming")), BTreeSet::new());
}

#[test]
fn a_dropped_arrival_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    let mut incoming = store.begin().unwrap();
    incoming.append(b"half").unwrap();
    assert_eq!(names(&temp.path().join("incoming")).len(), 1);
    drop(incoming);
    assert_eq!(names(&temp.path().join("incoming")).len(), 0);
}

#[test]
fn opening_clears_what_a_crash_left_but_not_what_is_at_work() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    let (manifest, bytes) = slug("one");
    store.put(&bytes[..]).unwrap();
    let mut at_work = store.begin().unwrap();
    at_work.append(&bytes[..10]).unwrap();

    let orphan = SlugId::from_digest([9; 32]);
    fs::write(temp.path().join("incoming/slug-dead"), "half").unwrap();
    fs::write(temp.path().join(format!("{orphan}.json")), "{}").unwrap();
    fs::write(temp.path().join(".write-x"), "half").unwrap();
    fs::write(temp.path().join("README"), "somebody's").unwrap();

    let again = Store::open(temp.path(), 0).unwrap();
    let wanted = [
        format!("{}.tgz", manifest.id),
        format!("{}.json", manifest.id),
        "incoming".into(),
        "README".into(),
    ];
    assert_eq!(names(temp.path()), wanted.into());
    assert_eq!(names(&temp.path().join("incoming")).len(), 1);
    assert_eq!(again.list().unwrap().len(), 1);
    at_work.append(&bytes[10..]).unwrap();
    assert_eq!(at_work.commit().unwrap(), manifest);
}

#[test]
fn damage_is_found_and_mended_by_putting_again() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    let (manifest, bytes) = slug("one");
    store.put(&bytes[..]).unwrap();
    let other = slug("other").1;
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    for damaged in [&bytes[..bytes.len() / 2], &flipped, &other, b""] {
        fs::write(store.path(&manifest.id), damaged).unwrap();
        let error = store.verify(&manifest.id).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { id } if id == manifest.id), "{error}");
        store.put(&bytes[..]).unwrap();
        assert_eq!(store.verify(&manifest.id).unwrap(), manifest);
    }
}

#[test]
fn a_lost_manifest_is_read_from_the_slug_and_what_is_no_slug_put_aside() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    let (manifest, bytes) = slug("one");
    store.put(&bytes[..]).unwrap();
    let json = temp.path().join(format!("{}.json", manifest.id));
    for damage in ["", "{}", "nonsense"] {
        fs::write(&json, damage).unwrap();
        assert!(matches!(store.manifest(&manifest.id), Err(StoreError::Damaged { .. })));
        let store = Store::open(temp.path(), 0).unwrap();
        assert_eq!(store.manifest(&manifest.id).unwrap(), manifest);
    }
    fs::write(&json, "").unwrap();
    fs::write(store.path(&manifest.id), "no slug").unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    assert!(!store.contains(&manifest.id));
    assert!(temp.path().join(format!("{}.damaged", manifest.id)).exists());
}

#[test]
fn collects_what_is_old_and_not_kept() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_hours(1);
    let [kept, old, young, future, renewed] =
        ["kept", "old", "young", "future", "renewed"].map(|content| {
            let (manifest, bytes) = slug(content);
            store.put(&bytes[..]).unwrap();
            (manifest, bytes)
        });
    let aged = |id: &SlugId, at| {
        File::options().write(true).open(store.path(id)).unwrap().set_modified(at).unwrap();
    };
    aged(&kept.0.id, now - 5 * hour);
    aged(&old.0.id, now - 5 * hour);
    aged(&future.0.id, now + 5 * hour);
    aged(&renewed.0.id, now - 5 * hour);
    store.put(&renewed.1[..]).unwrap();

    let keep = BTreeSet::from([kept.0.id]);
    let collected = store.collect(&keep, hour, now).unwrap();
    assert_eq!(collected, Collected { removed: vec![old.0.id], bytes: old.0.bytes });
    let left: BTreeSet<_> = store.list().unwrap().iter().map(|stored| stored.manifest.id).collect();
    assert_eq!(left, BTreeSet::from([kept.0.id, young.0.id, future.0.id, renewed.0.id]));
    assert!(!temp.path().join(format!("{}.json", old.0.id)).exists());
    assert_eq!(store.collect(&keep, hour, now).unwrap(), Collected::default());
}

#[test]
fn refuses_what_is_too_large_and_what_would_fill_the_disk() {
    let temp = tempfile::tempdir().unwrap();
    let limits = Limits { compressed_bytes_max: 100, ..Limits::default() };
    let store = Store::open_with_limits(temp.path(), 0, limits).unwrap();
    let error = store.put(&[0; 200][..]).unwrap_err();
    let wanted = Exceeded { limit: Limit::Compressed, found: 200, max: 100 };
    assert!(matches!(error, StoreError::Refused(ArchiveError::Limit(found)) if found == wanted));
    let mut incoming = store.begin().unwrap();
    incoming.append(&[0; 100]).unwrap();
    assert!(incoming.write(&[0]).is_err());
    drop(incoming);

    let full = Store::open(temp.path(), u64::MAX).unwrap();
    assert!(matches!(full.begin(), Err(StoreError::DiskFull { .. })));
    assert_eq!(names(&temp.path().join("incoming")).len(), 0);
}

#[test]
fn a_reader_that_fails_is_not_the_stores_fault() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), 0).unwrap();
    assert!(matches!(store.put(Broken), Err(StoreError::Receive(_))));
    assert_eq!(names(&temp.path().join("incoming")).len(), 0);
}
