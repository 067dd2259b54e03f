//! Archives made to do harm: each is refused with its reason, and leaves nothing behind.

use lathe_slug::{Checked, Layout, Limits, Owner, SlugId, Store, unpack, unpack_tar};
use lathe_tests::tarball::{Raw, file, gzip, link, long_name, pax, raw, tar};
use proptest::prelude::*;
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tar::{EntryType, Header};

fn chain(error: &dyn Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

/// Asserts that the archive is refused for `wanted`, quickly, by unpacking and by the store alike.
fn refused(gz: impl Fn() -> Box<dyn Read>, wanted: &str) {
    let temp = tempfile::tempdir().unwrap();
    let (area, stored) = (temp.path().join("area"), temp.path().join("store"));
    fs::create_dir(&area).unwrap();
    let start = Instant::now();
    let error =
        unpack(gz(), &area.join("dest"), Layout::Slug, &Limits::default(), None).unwrap_err();
    assert!(start.elapsed() < Duration::from_mins(1), "{wanted}: took {:?}", start.elapsed());
    assert!(chain(&error).contains(wanted), "{} is not {wanted}", chain(&error));
    assert_eq!(fs::read_dir(&area).unwrap().count(), 0, "{wanted}: something was left");

    let error = Store::open(&stored, 0).unwrap().put(gz()).unwrap_err();
    assert!(chain(&error).contains(wanted), "{} is not {wanted}", chain(&error));
    assert_eq!(fs::read_dir(stored.join("incoming")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&stored).unwrap().count(), 1);
}

fn refused_tar(entries: &[Raw], wanted: &str) {
    let gz = gzip(&tar(entries));
    refused(|| Box::new(io::Cursor::new(gz.clone())), wanted);
}

#[test]
fn names_that_lead_elsewhere() {
    let cases = [
        ("/etc/passwd", "it is absolute"),
        ("../evil", "it contains `..`"),
        ("./app/../../evil", "it contains `..`"),
        ("./app/a/..", "it contains `..`"),
        ("..", "it contains `..`"),
        ("./etc/passwd", "everything in a slug is under ./app/"),
        ("app/x", "everything in a slug is under ./app/"),
        ("./application/x", "everything in a slug is under ./app/"),
        (".//app/x", "everything in a slug is under ./app/"),
        ("./app", "everything in a slug is under ./app/"),
        ("", "it is empty"),
        ("./app/a\nb", "it contains a control character"),
        ("./app/\x1b[2Jb", "it contains a control character"),
        ("./app/.wh.x", "mean deletion"),
        ("./app/.wh..wh..opq", "mean deletion"),
        ("./app/.wh.d/x", "mean deletion"),
    ];
    for (name, wanted) in cases {
        refused_tar(&[file(name, b"x")], wanted);
    }
}

#[test]
fn what_is_no_file_folder_or_link() {
    let cases = [
        (EntryType::Char, "character device"),
        (EntryType::Block, "block device"),
        (EntryType::Fifo, "named pipe"),
        (EntryType::GNUSparse, "sparse file"),
        (EntryType::Continuous, "unknown type"),
        (EntryType::new(b'V'), "unknown type"),
    ];
    for (kind, wanted) in cases {
        let wanted = format!(
            "\"./app/x\" is a {}{wanted}",
            if wanted == "unknown type" { "thing of an " } else { "" }
        );
        refused_tar(&[raw(kind, "./app/x")], &wanted);
    }
}

#[test]
fn links_as_stepping_stones() {
    let hard = "which is no earlier file of the archive";
    let below = "lies below something that is not a folder";
    refused_tar(&[link(EntryType::Symlink, "./app/l", "/"), file("./app/l/etc/x", b"")], below);
    refused_tar(&[link(EntryType::Symlink, "./app/l", ".."), file("./app/l/x", b"")], below);
    refused_tar(&[file("./app/f", b""), file("./app/f/x", b"")], below);
    refused_tar(&[link(EntryType::Symlink, "./app", "/etc"), file("./app/x", b"")], "under ./app/");
    refused_tar(&[link(EntryType::Symlink, "./app/l", "/x"), file("./app/l", b"")], "twice");
    refused_tar(&[file("./app/f", b"1"), file("./app/f", b"2")], "twice");
    refused_tar(&[raw(EntryType::Directory, "./app/f/"), file("./app/f", b"2")], "twice");
    refused_tar(&[link(EntryType::Link, "./app/h", "/etc/shadow")], "it is absolute");
    refused_tar(&[link(EntryType::Link, "./app/h", "./app/../../x")], "it contains `..`");
    refused_tar(&[link(EntryType::Link, "./app/h", "./app/later")], hard);
    refused_tar(&[link(EntryType::Link, "./app/h", "./app/h")], hard);
    refused_tar(
        &[
            link(EntryType::Symlink, "./app/l", "/etc/shadow"),
            link(EntryType::Link, "./app/h", "./app/l"),
        ],
        hard,
    );
    refused_tar(&[raw(EntryType::Symlink, "./app/l")], "it is empty");
    refused_tar(
        &[link(EntryType::Symlink, "./app/l", "a\x1bb")],
        "it contains a control character",
    );
}

#[test]
fn headers_that_lie() {
    let mut header = tar(&[file("./app/x", b"x")]);
    header[0] ^= 1;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (header, "a damaged header at byte 0"),
        (vec![0xaa; 512], "a damaged header at byte 0"),
        (tar(&[file("./app/x", b"x")])[..512].to_vec(), "the archive ends in the middle"),
        (tar(&[file("./app/x", b"x")])[..700].to_vec(), "the archive ends in the middle"),
        // Cut between two entries, where neither gzip nor a header could tell.
        (tar(&[file("./app/x", b"x")])[..1024].to_vec(), "the archive ends in the middle"),
        ([tar(&[]), tar(&[file("./app/x", b"")])].concat(), "goes on after its end mark"),
        (
            tar(&[Raw { size: 2 << 30, ..raw(EntryType::Regular, "./app/x") }]),
            "over the limit of 2147483648 (setting archive.unpacked)",
        ),
        (
            tar(&[Raw { size: u64::MAX, ..raw(EntryType::Regular, "./app/x") }]),
            "over the limit of 2147483648 (setting archive.unpacked)",
        ),
        (
            tar(&[Raw { size: 9, ..raw(EntryType::Directory, "./app/x/") }]),
            "claims to hold 9 bytes",
        ),
        (tar(&[Raw { size: 9, ..raw(EntryType::Symlink, "./app/x") }]), "claims to hold 9 bytes"),
        (tar(&[pax("GNU.sparse.major=1"), file("./app/x", b"")]), "is a sparse file"),
        (
            tar(&[pax("size=99999999999"), file("./app/x", b"")]),
            "over the limit of 2147483648 (setting archive.unpacked)",
        ),
        (tar(&[pax("path=../x"), file("./app/x", b"")]), "it contains `..`"),
        (
            tar(&[pax("linkpath=/etc/shadow"), link(EntryType::Link, "./app/x", "y")]),
            "it is absolute",
        ),
        (tar(&[long_name(b"/etc/x"), file("./app/x", b"")]), "it is absolute"),
    ];
    for (plain, wanted) in cases {
        let gz = gzip(&plain);
        refused(|| Box::new(io::Cursor::new(gz.clone())), wanted);
    }
}

#[test]
fn streams_that_are_no_gzip_or_a_broken_one() {
    let whole = gzip(&tar(&[file("./app/x", &[7; 5000])]));
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 0x40;
    let garbage = [whole.clone(), b"garbage behind".to_vec()].concat();
    let cut = whole[..whole.len() - 4].to_vec();
    let (torn, broken) = ("the archive ends in the middle", "could not read the archive");
    let cases = [
        (Vec::new(), torn),
        (cut, torn),
        (whole[..7].to_vec(), torn),
        (b"this was never a gzip stream".to_vec(), broken),
        (flipped, broken),
        (garbage, broken),
    ];
    for (gz, wanted) in cases {
        refused(|| Box::new(io::Cursor::new(gz.clone())), wanted);
    }

    let temp = tempfile::tempdir().unwrap();
    let limits = Limits { compressed_bytes_max: whole.len() as u64 - 1, ..Limits::default() };
    let dest = temp.path().join("d");
    let error = unpack(&whole[..], &dest, Layout::Slug, &limits, None).unwrap_err();
    assert!(chain(&error).ends_with("(setting archive.compressed)"), "{}", chain(&error));
    let limits = Limits { compressed_bytes_max: whole.len() as u64, ..limits };
    unpack(&whole[..], &dest, Layout::Slug, &limits, None).unwrap();
}

#[test]
fn too_much_of_anything() {
    let deep = format!("./app/{}x", "d/".repeat(30));
    let entries: Vec<Raw> = (0..10).map(|n| file(&format!("{deep}{n}/y"), b"")).collect();
    let limits = Limits { entries_max: 40, ..Limits::default() };
    let temp = tempfile::tempdir().unwrap();
    let plain = tar(&entries);
    let error =
        unpack_tar(&plain[..], &temp.path().join("d"), Layout::Slug, &limits, None).unwrap_err();
    assert!(
        chain(&error)
            .ends_with("at least 41 entries, over the limit of 40 (setting archive.entries)")
    );

    let cases: [(Raw, &str); 5] = [
        (long_name(&[b'x'; 2000]), "one of its names is longer than 255 bytes"),
        (
            long_name(format!("./app/{}x", "abcdefgh/".repeat(200)).as_bytes()),
            "levels deep, over the limit of 64 (setting archive.depth)",
        ),
        (
            long_name(format!("./app/{}x", "abcdefghabcdefghabcdefgh/".repeat(50)).as_bytes()),
            "over the limit of 1024 (setting archive.path)",
        ),
        (
            Raw { size: 400 << 20, ..raw(EntryType::GNULongName, "l") },
            "a header of 419430400 bytes, over the limit of 65536 (setting archive.header)",
        ),
        (
            Raw { size: 400 << 20, ..raw(EntryType::XHeader, "l") },
            "a header of 419430400 bytes, over the limit of 65536 (setting archive.header)",
        ),
    ];
    for (first, wanted) in cases {
        refused_tar(&[first, file("./app/x", b"")], wanted);
    }
}

/// Counts what is taken from it.
struct Source<R> {
    inner: R,
    taken: u64,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.taken += n as u64;
        Ok(n)
    }
}

#[test]
fn bombs_are_refused_by_their_header_alone() {
    for (kind, size) in [
        (EntryType::GNULongName, 400 << 20),
        (EntryType::GNULongLink, 400 << 20),
        (EntryType::XHeader, 400 << 20),
        (EntryType::XGlobalHeader, 400 << 20),
        (EntryType::Regular, 2 << 30),
    ] {
        let mut header = Vec::new();
        Raw { size, ..raw(kind, "./app/x") }.write(&mut header);
        let mut bomb =
            Source { inner: io::Cursor::new(header).chain(io::repeat(b'a').take(size)), taken: 0 };
        let temp = tempfile::tempdir().unwrap();
        let dest = temp.path().join("d");
        let error =
            unpack_tar(&mut bomb, &dest, Layout::Slug, &Limits::default(), None).unwrap_err();
        assert!(chain(&error).contains("over the limit"), "{error}");
        assert!(bomb.taken < 1 << 20, "{} bytes were read", bomb.taken);
    }
}

#[test]
fn two_hundred_thousand_files() {
    let mut plain = Vec::new();
    for n in 0..200_000 {
        file(&format!("./app/{n}"), b"").write(&mut plain);
    }
    let gz = gzip(&plain);
    let temp = tempfile::tempdir().unwrap();
    let error = Store::open(temp.path(), 0).unwrap().put(&gz[..]).unwrap_err();
    assert_eq!(
        chain(&error),
        "the slug was refused: the archive is too large: at least 100001 entries, over the limit of 100000 (setting archive.entries)"
    );
}

#[test]
fn setuid_is_dropped_and_so_is_everything_else_beyond_755() {
    let temp = tempfile::tempdir().unwrap();
    let suid = |name: &str, mode| Raw { mode, ..file(name, b"x") };
    let plain = tar(&[
        suid("./app/suid", 0o6755),
        suid("./app/wide", 0o666),
        Raw { mode: 0o1777, ..raw(EntryType::Directory, "./app/d/") },
    ]);
    let dest = temp.path().join("d");
    let owner = Some(Owner { uid: 1234, gid: 1234 });
    unpack_tar(&plain[..], &dest, Layout::Slug, &Limits::default(), owner).unwrap();
    let mode = |path: &str| dest.join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode("app/suid"), mode("app/wide"), mode("app/d")), (0o755, 0o644, 0o755));
    assert_eq!(dest.join("app").metadata().unwrap().uid(), 1234);
    assert_eq!(dest.metadata().unwrap().uid(), 0);
}

#[test]
fn what_others_write_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let global = Raw { kind: EntryType::XGlobalHeader, ..pax("comment=0123456789") };
    let plain = tar(&[
        global,
        raw(EntryType::Directory, "repo-main/"),
        file("repo-main/Procfile", b"web: x"),
        pax("path=repo-main/a long name"),
        file("cut", b"y"),
        file("repo-main/deep/without/folders", b"z"),
        link(EntryType::Link, "repo-main/hard", "repo-main/Procfile"),
        raw(EntryType::Regular, "repo-main/old-folder/"),
    ]);
    let dest = temp.path().join("d");
    let gz = [gzip(&plain[..1000]), gzip(&plain[1000..])].concat();
    unpack(&gz[..], &dest, Layout::Stripped, &Limits::default(), None).unwrap();
    let read = |path: &str| fs::read_to_string(dest.join(path)).unwrap();
    assert_eq!(read("Procfile") + &read("a long name") + &read("hard"), "web: xyweb: x");
    assert!(dest.join("old-folder").is_dir());

    let two = tar(&[file("one/x", b""), file("two/x", b"")]);
    let error =
        unpack_tar(&two[..], &temp.path().join("e"), Layout::Stripped, &Limits::default(), None);
    assert!(chain(&error.unwrap_err()).contains("more than one top folder"));
}

#[test]
fn a_slug_of_another_identity_never_becomes_a_tree() {
    let temp = tempfile::tempdir().unwrap();
    let gz = gzip(&tar(&[file("./app/x", b"x")]));
    let id = SlugId::from_digest([7; 32]);
    let error = unpack(
        Checked::new(&gz[..], id),
        &temp.path().join("d"),
        Layout::Slug,
        &Limits::default(),
        None,
    )
    .unwrap_err();
    assert!(chain(&error).contains("not of slug 0707"), "{}", chain(&error));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

fn unpack_somewhere(gz: &[u8]) -> usize {
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    let limits = Limits { unpacked_bytes_max: 1 << 20, ..Limits::default() };
    drop(unpack(gz, &dest, Layout::Tree, &limits, None));
    count(temp.path(), &dest)
}

/// Paths beside the destination, which must be none.
fn count(folder: &Path, dest: &Path) -> usize {
    fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path() != dest).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_do_harm(flips in prop::collection::vec((0..4096usize, any::<u8>()), 1..6)) {
        let mut plain = tar(&[
            file("./app/x", b"x"),
            pax("path=./app/long"),
            link(EntryType::Symlink, "./app/l", "../x"),
            link(EntryType::Link, "./app/h", "./app/x"),
        ]);
        for (at, byte) in flips {
            let at = at % plain.len();
            plain[at] = byte;
            // Half of the headers get a right checksum, so that what they say is reached.
            if at.is_multiple_of(2) {
                let start = at / 512 * 512;
                let mut header = Header::from_byte_slice(&plain[start..start + 512]).clone();
                header.set_cksum();
                plain[start..start + 512].copy_from_slice(header.as_bytes());
            }
        }
        prop_assert_eq!(unpack_somewhere(&gzip(&plain)), 0);
    }
}
