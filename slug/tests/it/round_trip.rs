//! pack and unpack undo each other.

use crate::tree::{Description, Node, build, describe, file, program, read};
use lathe_slug::{
    Ignore, Layout, Limits, Manifest, Owner, SLUG_MTIME_SECONDS, pack, unpack, unpack_tar,
};
use proptest::prelude::*;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(crate) fn packed(dir: &Path) -> (Manifest, Vec<u8>) {
    let mut slug = Vec::new();
    let manifest = pack(dir, &Ignore::default(), &Limits::default(), &mut slug).unwrap();
    (manifest, slug)
}

fn sample() -> Description {
    describe([
        ("Procfile", file("web: ./server\n")),
        ("bin/server", program("#!/bin/sh\n")),
        ("bin/again", Node::HardLink("bin/server".into())),
        ("empty", Node::Folder),
        ("link", Node::Symlink("/etc/shadow".into())),
        ("up", Node::Symlink("../../..".into())),
        ("gr\u{f6}\u{df}e", file("utf-8 name")),
        ("zero", file("")),
    ])
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let (source, dest) = (temp.path().join("source"), temp.path().join("dest"));
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let mut tree = sample();
    tree.insert(long.clone(), file("long"));
    tree.insert("s".into(), Node::Symlink("t".repeat(300)));
    tree.insert("z-hard".into(), Node::HardLink(long));
    tree.insert("big".into(), Node::File { content: vec![7; 3 << 20], executable: false });
    build(&source, tree.iter());

    let (manifest, slug) = packed(&source);
    let unpacked = unpack(&slug[..], &dest, Layout::Slug, &Limits::default(), None).unwrap();
    assert_eq!(unpacked.entries, manifest.entries);
    assert_eq!(unpacked.bytes, manifest.unpacked_bytes);
    assert_eq!(manifest.bytes, slug.len() as u64);
    assert_eq!(read(&source), read(&dest.join("app")));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);

    let (again, bytes) = packed(&dest.join("app"));
    assert_eq!(manifest, again);
    assert!(slug == bytes);
    assert_eq!(
        dest.join("app/Procfile").metadata().unwrap().mtime(),
        SLUG_MTIME_SECONDS.cast_signed()
    );
    assert_eq!(dest.join("app").metadata().unwrap().mtime(), SLUG_MTIME_SECONDS.cast_signed());
}

#[test]
fn a_source_tree_gets_an_owner_and_the_time_of_unpacking() {
    let temp = tempfile::tempdir().unwrap();
    let (source, dest) = (temp.path().join("source"), temp.path().join("dest"));
    build(&source, sample().iter());
    let (_, slug) = packed(&source);
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&slug[..]).read_to_end(&mut tar).unwrap();

    let before = SystemTime::now() - Duration::from_secs(2);
    let owner = Some(Owner { uid: 4321, gid: 8765 });
    unpack_tar(&tar[..], &dest, Layout::Stripped, &Limits::default(), owner).unwrap();
    assert_eq!(read(&source), read(&dest));
    for path in ["", "Procfile", "bin", "bin/again", "link", "empty"] {
        let metadata = dest.join(path).symlink_metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4321, 8765), "{path}");
        assert!(metadata.modified().unwrap() >= before, "{path}");
    }
    let other = temp.path().join("other");
    unpack_tar(&tar[..], &other, Layout::Tree, &Limits::default(), None).unwrap();
    assert_eq!(read(&source), read(&other.join("app")));
}

#[test]
fn an_empty_folder_is_a_fine_destination_and_a_full_one_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let (source, dest) = (temp.path().join("source"), temp.path().join("dest"));
    build(&source, sample().iter());
    let (_, slug) = packed(&source);
    fs::create_dir(&dest).unwrap();
    unpack(&slug[..], &dest, Layout::Slug, &Limits::default(), None).unwrap();
    let error = unpack(&slug[..], &dest, Layout::Slug, &Limits::default(), None).unwrap_err();
    assert!(error.to_string().starts_with("could not move"), "{error}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    assert_eq!(dest.metadata().unwrap().permissions().mode() & 0o777, 0o755);
}

fn nodes() -> impl Strategy<Value = Description> {
    let name = prop_oneof!["[a-z]{1,3}", "[a-zA-Z0-9 ._é-]{1,12}x", "x[a-z]{90,130}"];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        (1..3_000_000usize, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
    ];
    let node = prop_oneof![
        4 => (content, any::<bool>())
            .prop_map(|(content, executable)| Node::File { content, executable }),
        1 => Just(Node::Folder),
        1 => "[!-~]{1,200}".prop_map(Node::Symlink),
        1 => Just(Node::HardLink(String::new())),
    ];
    prop::collection::btree_map(path, node, 0..12).prop_map(possible)
}

/// Drops what lies below a file or link, and what no slug has or may have; links each hard link to
/// some file before it.
fn possible(drawn: Description) -> Description {
    let mut tree = Description::new();
    let mut last_file: Option<String> = None;
    for (path, mut node) in drawn {
        let below = |other: &String| path.starts_with(&format!("{other}/"));
        let left_out = path.split('/').next().is_some_and(|top| matches!(top, "log" | "tmp"));
        if left_out || path.split('/').any(|name| name.starts_with(".wh.")) {
            continue;
        }
        if tree.iter().any(|(other, node)| *node != Node::Folder && below(other)) {
            continue;
        }
        match (&mut node, &last_file) {
            (Node::HardLink(target), Some(file)) => target.clone_from(file),
            (Node::HardLink(_), None) => continue,
            (Node::File { .. }, _) => last_file = Some(path.clone()),
            _ => {}
        }
        tree.insert(path, node);
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_tree_comes_back_as_it_was(tree in nodes()) {
        let temp = tempfile::tempdir().unwrap();
        let (source, dest) = (temp.path().join("source"), temp.path().join("dest"));
        fs::create_dir(&source).unwrap();
        build(&source, tree.iter());
        let (manifest, slug) = packed(&source);
        unpack(&slug[..], &dest, Layout::Slug, &Limits::default(), None).unwrap();
        prop_assert!(read(&source) == read(&dest.join("app")));
        prop_assert_eq!(manifest, packed(&dest.join("app")).0);
    }
}
