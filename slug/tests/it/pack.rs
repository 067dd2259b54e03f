//! The same tree packs to the same bytes, and what does not belong in a slug is refused by name.

use crate::round_trip::packed;
use crate::tree::{Node, build, describe, file, program};
use lathe_slug::{Exceeded, Ignore, Limit, Limits, PackError, SlugId, pack};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat};
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

#[test]
fn order_times_owners_and_umask_do_not_show() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (temp.path().join("one"), temp.path().join("two"));
    let tree = describe([
        ("a", file("1")),
        ("a.b", file("2")),
        ("a-dir/x", program("3")),
        ("b/hard", Node::HardLink("a".into())),
        ("b/link", Node::Symlink("./.x".into())),
    ]);
    build(&one, tree.iter());
    build(&two, tree.iter().rev());
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in ["a", "a.b", "a-dir/x"] {
        let path = two.join(path);
        let private = path.metadata().unwrap().permissions().mode() & 0o700 | 0o6000;
        chown(&path, Some(77), Some(78)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(private)).unwrap();
        File::open(&path).unwrap().set_modified(past).unwrap();
    }
    fs::set_permissions(&two, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(packed(&one).0, packed(&two).0);
}

/// Everything rests on these bytes staying what they are: deployed slugs keep their identity, and two
/// machines agree on it.
#[test]
fn the_format_does_not_drift() {
    let temp = tempfile::tempdir().unwrap();
    build(
        temp.path(),
        describe([("Procfile", file("web: x\n")), ("bin/x", program("#!/bin/sh\n"))]).iter(),
    );
    let (manifest, slug) = packed(temp.path());
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&slug[..]).read_to_end(&mut tar).unwrap();
    let names: Vec<_> = [0, 512, 1536, 2048].map(|at| tar[at..at + 100].to_vec()).to_vec();
    let names: Vec<_> = names
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim_matches('\0').to_string())
        .collect();
    assert_eq!(names, ["./app/", "./app/Procfile", "./app/bin/", "./app/bin/x"]);
    assert_eq!(manifest.unpacked_bytes, 4 * 512 + 2 * 512 + 1024);
    assert_eq!(
        manifest.diff_id.to_string(),
        "d801115533bf877debd5f83711c57e2dc236c1f10a99b0295e5b7b4b12dbd37e"
    );
    assert_eq!(
        manifest.id.to_string(),
        "1ac98abe526f5d51387f46d513c5f6abfe6bf90b43bde211dcc5ed67aded261b"
    );
}

#[test]
fn gnu_tar_reads_it() {
    let temp = tempfile::tempdir().unwrap();
    let long = format!("{}/x", "d".repeat(150));
    build(temp.path(), describe([("a", file("1")), (&long, file("2"))]).iter());
    let slug = temp.path().join("log");
    fs::write(&slug, packed(temp.path()).1).unwrap();
    let listing = std::process::Command::new("tar").arg("tzvf").arg(&slug).output().unwrap();
    assert!(listing.status.success() && listing.stderr.is_empty());
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(listing.contains(&format!("./app/{long}\n")), "{listing}");
    assert!(listing.starts_with("drwxr-xr-x 0/0 "), "{listing}");
}

#[test]
fn links_are_stored_and_never_followed() {
    let temp = tempfile::tempdir().unwrap();
    let (app, secret) = (temp.path().join("app"), temp.path().join("secret"));
    fs::write(&secret, "canary-5d1c").unwrap();
    let to = |path: &Path| Node::Symlink(path.to_str().unwrap().into());
    build(
        &app,
        describe([
            ("a", to(&secret)),
            ("b", Node::Symlink("../secret".into())),
            ("c", to(Path::new("/"))),
            ("d/e", to(temp.path())),
        ])
        .iter(),
    );
    let (manifest, slug) = packed(&app);
    assert_eq!(manifest.entries, 6);
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&slug[..]).read_to_end(&mut tar).unwrap();
    assert!(!tar.windows(11).any(|window| window == b"canary-5d1c"));
}

/// A build may leave processes behind. Whatever they swap while packing runs, nothing from outside the
/// tree gets in: each round ends in a slug without the canary, or in the message that names the change.
#[test]
fn a_tree_that_changes_under_way_leads_nowhere() {
    let temp = tempfile::tempdir().unwrap();
    let (app, outside) = (temp.path().join("app"), temp.path().join("outside"));
    build(&outside, describe([("x", file("canary-77aa"))]).iter());
    build(&app, describe([("d/x", file("inside")), ("f", file("inside"))]).iter());
    std::os::unix::fs::symlink(&outside, app.join("l")).unwrap();
    std::os::unix::fs::symlink(outside.join("x"), app.join("m")).unwrap();
    let swap = |one: &str, two: &str| {
        let (one, two) = (app.join(one), app.join(two));
        rustix::fs::renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
    };
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            for _ in 0..20_000 {
                swap("d", "l");
                swap("f", "m");
            }
        });
        while !swapper.is_finished() {
            let mut slug = Vec::new();
            match pack(&app, &Ignore::default(), &Limits::default(), &mut slug) {
                Ok(_) => {}
                Err(PackError::Changed { .. }) => continue,
                Err(error) => panic!("{error}"),
            }
            let mut tar = Vec::new();
            flate2::read::MultiGzDecoder::new(&slug[..]).read_to_end(&mut tar).unwrap();
            assert!(!tar.windows(11).any(|window| window == b"canary-77aa"));
        }
    });
}

#[test]
fn ignored_files_stay_out() {
    let temp = tempfile::tempdir().unwrap();
    let paths =
        ["keep", "a.psd", "sub/b.psd", "docs/x", ".git/HEAD", "log/x", "tmp/y", "sub/tmp/z"];
    build(temp.path(), paths.map(|path| (path.to_string(), file("x"))).iter().map(|(p, n)| (p, n)));
    UnixListener::bind(temp.path().join("a.sock")).unwrap();
    let ignore = Ignore::parse(b"*.psd\n/docs\n*.sock\n").unwrap();
    let mut slug = Vec::new();
    let manifest = pack(temp.path(), &ignore, &Limits::default(), &mut slug).unwrap();
    // ./app/ keep sub/ sub/tmp/ sub/tmp/z
    assert_eq!(manifest.entries, 5);
}

#[test]
fn refuses_by_name_what_does_not_belong() {
    type Make = fn(&Path);
    let cases: &[(Make, &str)] = &[
        (
            |dir| mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap(),
            "\"pipe\" is a named pipe, which cannot be in a slug; remove it or list it in .slugignore",
        ),
        (
            |dir| drop(UnixListener::bind(dir.join("s")).unwrap()),
            "\"s\" is a socket, which cannot be in a slug; remove it or list it in .slugignore",
        ),
        (
            |dir| {
                mknodat(CWD, dir.join("null"), FileType::CharacterDevice, Mode::RWXU, 0x103)
                    .unwrap();
            },
            "\"null\" is a character device, which cannot be in a slug; remove it or list it in .slugignore",
        ),
        (
            |dir| fs::write(dir.join(".wh.x"), "").unwrap(),
            "\".wh.x\" cannot be in a slug; rename it or list it in .slugignore",
        ),
        (
            |dir| fs::write(dir.join("a\nb"), "").unwrap(),
            "\"a\\nb\" cannot be in a slug; rename it or list it in .slugignore",
        ),
        (
            |dir| fs::create_dir_all(dir.join("d/".repeat(64))).unwrap(),
            "cannot be in a slug; rename it or list it in .slugignore",
        ),
        (
            |dir| File::create(dir.join("big")).unwrap().set_len(2 << 30).unwrap(),
            "the app does not fit into a slug; list what it does not need in .slugignore",
        ),
    ];
    for (make, wanted) in cases {
        let temp = tempfile::tempdir().unwrap();
        make(temp.path());
        let error =
            pack(temp.path(), &Ignore::default(), &Limits::default(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().ends_with(wanted), "{error}");
    }
}

#[test]
fn every_limit_is_held() {
    let temp = tempfile::tempdir().unwrap();
    let noise: String =
        (0..100_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_string()).collect();
    build(temp.path(), describe([("a", file(&noise)), ("b/c", file("x"))]).iter());
    let limits = Limits::default();
    let cases = [
        (
            Limits { compressed_bytes_max: 1000, ..limits },
            "limit of 1000 (setting archive.compressed)",
        ),
        (
            Limits { unpacked_bytes_max: 10_000, ..limits },
            "limit of 10000 (setting archive.unpacked)",
        ),
        (
            Limits { entries_max: 3, ..limits },
            "4 entries, over the limit of 3 (setting archive.entries)",
        ),
        (
            Limits { depth_max: 2, ..limits },
            "3 levels deep, over the limit of 2 (setting archive.depth)",
        ),
        (
            Limits { path_bytes_max: 5, ..limits },
            "7 bytes, over the limit of 5 (setting archive.path)",
        ),
    ];
    for (limits, wanted) in cases {
        let error = pack(temp.path(), &Ignore::default(), &limits, &mut Vec::new()).unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(source.ends_with(wanted), "{error}: {source}");
    }
    let exact = packed(temp.path()).0;
    let limits = Limits {
        compressed_bytes_max: exact.bytes,
        unpacked_bytes_max: exact.unpacked_bytes,
        entries_max: exact.entries,
        depth_max: 3,
        path_bytes_max: "app/b/c".len(),
        ..limits
    };
    assert_eq!(pack(temp.path(), &Ignore::default(), &limits, &mut Vec::new()).unwrap(), exact);
}

#[test]
fn a_failing_writer_is_reported_as_such() {
    struct Broken;
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let temp = tempfile::tempdir().unwrap();
    build(temp.path(), describe([("a", file("x"))]).iter());
    let error = pack(temp.path(), &Ignore::default(), &Limits::default(), Broken).unwrap_err();
    assert!(matches!(error, PackError::Write(_)), "{error}");
    let gone = temp.path().join(OsStr::from_bytes(b"gone"));
    let error = pack(&gone, &Ignore::default(), &Limits::default(), Vec::new()).unwrap_err();
    assert!(matches!(error, PackError::Read { .. }), "{error}");
}

#[test]
fn identities_differ_with_the_content() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "1").unwrap();
    let one: SlugId = packed(temp.path()).0.id;
    fs::write(temp.path().join("a"), "2").unwrap();
    assert_ne!(one, packed(temp.path()).0.id);
}

#[test]
fn a_slug_too_large_is_said_to_be_as_large_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let noise: Vec<u8> =
        (0..50_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(temp.path().join("noise"), noise).unwrap();
    let bytes = packed(temp.path()).0.bytes;
    let limits = Limits { compressed_bytes_max: bytes - 1, ..Limits::default() };
    let mut slug = Vec::new();
    let error = pack(temp.path(), &Ignore::default(), &limits, &mut slug).unwrap_err();
    let wanted = Exceeded { limit: Limit::Compressed, found: bytes, max: bytes - 1 };
    assert!(matches!(error, PackError::Limit(found) if found == wanted), "{error}");
    assert!(slug.len() as u64 <= limits.compressed_bytes_max);
}

/// What a file system knows of a file beyond its bytes and whether it is a program stays behind.
#[test]
fn holes_and_attributes_do_not_show() {
    let temp = tempfile::tempdir().unwrap();
    let (plain, odd) = (temp.path().join("plain"), temp.path().join("odd"));
    build(&plain, describe([("a", file("x")), ("zeros", file(&"\0".repeat(1 << 20)))]).iter());
    build(&odd, describe([("a", file("x"))]).iter());
    File::create(odd.join("zeros")).unwrap().set_len(1 << 20).unwrap();
    fs::set_permissions(odd.join("zeros"), fs::Permissions::from_mode(0o644)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(odd.join("a"), "user.note", b"canary", flags).unwrap();
    assert_eq!(packed(&plain).0, packed(&odd).0);
}
