//! Archives made to do harm, the same for every place where one is read.
//!
//! Each is a slug, a source and a buildpack at once, with one thing wrong: whichever it is offered
//! as, nothing else can be the reason to refuse it.

use crate::tarball::{Raw, file, folder, gzip, link, long_name, pax, raw, symlink, tar};
use tar::EntryType;

/// Where those that lead outside lead to, on the host as in a build.
pub const ESCAPED: &str = "/tmp/lathe-escaped-from-an-archive";
/// What the place has to be limited to, for what is too much to be too much.
pub const SETTINGS: [&str; 3] =
    ["archive.entries=200", "archive.unpacked=1MiB", "archive.compressed=1MiB"];

/// A name for the table, and the gzip tar.
pub type Archive = (&'static str, Vec<u8>);

/// What makes it usable as a slug, as a source and as a buildpack.
fn sound() -> Vec<Raw> {
    let program = |name: &str, text: &str| Raw { mode: 0o755, ..file(name, text.as_bytes()) };
    vec![
        folder("./app/"),
        file("./app/Procfile", b"worker: sleep 1000\n"),
        folder("./app/bin/"),
        program("./app/bin/detect", "#!/bin/sh\necho Archive\n"),
        program("./app/bin/compile", "#!/bin/sh\n"),
    ]
}

fn with(wrong: &[Raw]) -> Vec<u8> {
    gzip(&tar(&[sound(), wrong.to_vec()].concat()))
}

/// The entry behind what describes it.
fn described(by: Raw) -> Vec<u8> {
    with(&[by, file("./app/x", b"")])
}

fn claiming(kind: EntryType, size: u64) -> Vec<u8> {
    with(&[Raw { size, ..raw(kind, "./app/x") }])
}

/// All of them, in the order of the table.
pub fn archives() -> Vec<Archive> {
    [names(), links(), kinds(), headers(), too_much(), streams()].concat()
}

fn names() -> Vec<Archive> {
    let x = |name: &str| with(&[file(name, b"x")]);
    vec![
        ("name: absolute", x(ESCAPED)),
        ("name: parent", x(&format!("../../../../../..{ESCAPED}"))),
        ("name: parent behind a folder", x(&format!("./app/../../../../../..{ESCAPED}"))),
        ("name: parent at the end", x("./app/a/..")),
        ("name: nothing but the parent", x("..")),
        ("name: none", x("")),
        ("name: line feed", x("./app/a\nb")),
        ("name: escape sequence", x("./app/\x1b[2Jb")),
        ("name: whiteout", x("./app/.wh.x")),
        ("name: not below ./app", x("./etc/passwd")),
        ("name: one component too long", described(long_name(&[b'x'; 300]))),
        (
            "name: too long",
            described(long_name(
                format!("./app/{}", "twenty-four-letters-here/".repeat(50)).as_bytes(),
            )),
        ),
        ("name: too deep", described(long_name(format!("./app/{}x", "d/".repeat(100)).as_bytes()))),
        ("name: absolute, GNU", described(long_name(ESCAPED.as_bytes()))),
        ("name: parent, PAX", described(pax(&format!("path=../../../../..{ESCAPED}")))),
        ("name: NUL, PAX", described(pax("path=./app/a\0b"))),
    ]
}

fn links() -> Vec<Archive> {
    let hard = |target: &str| with(&[link(EntryType::Link, "./app/h", target)]);
    let below = |target: &str| {
        let name = format!("./app/l{ESCAPED}");
        with(&[symlink("./app/l", target), file(&name, b"x")])
    };
    vec![
        ("link: to a file of the host, kept as it is", with(&[symlink("./app/l", "/etc/shadow")])),
        ("link: nowhere", with(&[symlink("./app/l", "")])),
        ("link: escape sequence", with(&[symlink("./app/l", "a\x1bb")])),
        ("link: written through, absolute", below("/")),
        ("link: written through, parent", below("../../../../../..")),
        (
            "link: written through, by two",
            with(&[
                symlink("./app/one", "/"),
                symlink("./app/two", "one"),
                file("./app/two/tmp/x", b"x"),
            ]),
        ),
        ("link: replaced by a file", with(&[symlink("./app/l", ESCAPED), file("./app/l", b"x")])),
        ("link: in a folder's place", with(&[symlink("./app/bin", "/tmp")])),
        ("hard link: absolute", hard("/etc/shadow")),
        ("hard link: parent", hard("./app/../../../etc/shadow")),
        ("hard link: to what comes later", hard("./app/later")),
        ("hard link: to itself", hard("./app/h")),
        (
            "hard link: to a link",
            with(&[symlink("./app/l", "/etc/shadow"), link(EntryType::Link, "./app/h", "./app/l")]),
        ),
        (
            "hard link: absolute, PAX",
            with(&[pax("linkpath=/etc/shadow"), link(EntryType::Link, "./app/h", "y")]),
        ),
    ]
}

fn kinds() -> Vec<Archive> {
    let of = |kind: EntryType| with(&[raw(kind, "./app/x")]);
    vec![
        ("kind: character device", of(EntryType::Char)),
        ("kind: block device", of(EntryType::Block)),
        ("kind: named pipe", of(EntryType::Fifo)),
        ("kind: sparse, GNU", of(EntryType::GNUSparse)),
        ("kind: sparse, PAX", described(pax("GNU.sparse.major=1"))),
        ("kind: contiguous", of(EntryType::Continuous)),
        ("kind: unknown", of(EntryType::new(b'V'))),
        ("kind: setuid, dropped", with(&[Raw { mode: 0o6755, ..file("./app/x", b"#!/bin/sh\n") }])),
    ]
}

fn headers() -> Vec<Archive> {
    let mut damaged = tar(&sound());
    damaged[0] ^= 1;
    vec![
        ("header: damaged", gzip(&damaged)),
        ("header: twice the same", with(&[file("./app/x", b"1"), file("./app/x", b"2")])),
        ("header: below a file", with(&[file("./app/Procfile/x", b"")])),
        ("header: a folder with content", claiming(EntryType::Directory, 9)),
        ("header: a link with content", claiming(EntryType::Symlink, 9)),
        ("header: the largest number", claiming(EntryType::Regular, u64::MAX)),
        ("header: a larger size, PAX", described(pax("size=99999999999"))),
    ]
}

fn too_much() -> Vec<Archive> {
    let many: Vec<Raw> = (0..200).map(|n| file(&format!("./app/{n}"), b"")).collect();
    vec![
        ("bomb: name of 400 MiB", claiming(EntryType::GNULongName, 400 << 20)),
        ("bomb: link of 400 MiB", claiming(EntryType::GNULongLink, 400 << 20)),
        ("bomb: PAX record of 400 MiB", claiming(EntryType::XHeader, 400 << 20)),
        ("bomb: global PAX record of 400 MiB", claiming(EntryType::XGlobalHeader, 400 << 20)),
        ("bomb: zeros", with(&[file("./app/x", &vec![0; 8 << 20])])),
        ("bomb: empty files", with(&many)),
        // A fast gzip of zeros is a hundredth of them.
        ("bomb: zeros behind the end mark", gzip(&[tar(&sound()), vec![0; 8 << 20]].concat())),
    ]
}

fn streams() -> Vec<Archive> {
    let whole = with(&[file("./app/x", &[7; 5000])]);
    let plain = tar(&[sound(), vec![file("./app/x", &[7; 5000])]].concat());
    let mut flipped = whole.clone();
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 0x40;
    vec![
        ("stream: sound", whole.clone()),
        ("stream: sound, in two members", [gzip(&plain[..700]), gzip(&plain[700..])].concat()),
        ("stream: empty", Vec::new()),
        ("stream: no gzip", b"this was never a gzip stream".to_vec()),
        ("stream: cut within gzip", whole[..whole.len() - 4].to_vec()),
        ("stream: cut between two entries", gzip(&plain[..1024])),
        ("stream: cut within a file", gzip(&plain[..plain.len() - 5000])),
        ("stream: wrong checksum", flipped),
        ("stream: something behind gzip", [&whole[..], b"garbage"].concat()),
        ("stream: a second archive behind the first", gzip(&[&plain[..], &plain].concat())),
    ]
}
