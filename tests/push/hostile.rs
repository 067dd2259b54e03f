//! Packs, trees, refs and clients that mean harm: each is refused with a reason and leaves nothing.

use super::{PLAIN, create, main_of, quarantined, repository, versions};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use lathe_tests::{Checkout, Platform, ZERO, commands, noise, rest, until};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const MAIN: &[u8] = b"refs/heads/main";
const BOUND: Duration = Duration::from_mins(1);
/// After so much silence a client is cut.
const IDLE: Duration = Duration::from_secs(8);
/// Whoever could run a command by a name would make this file.
const CANARY: &str = "/tmp/lathe-canary-of-refs";

#[test]
fn what_is_hostile_is_refused_and_the_next_push_works() {
    let idle = format!("push.idle={}", IDLE.as_secs());
    let platform = Platform::start_with(&["push.max=2MB", "push.file=16MB", &idle]);
    create(&platform, "target");
    let checkout = Checkout::new(&platform, "target", PLAIN);
    checkout.push().accepted();
    let good = checkout.head();
    let unharmed = |what: &str| {
        assert_eq!(main_of(&platform, "target").as_ref(), Some(&good), "{what}");
        assert_eq!(versions(&platform, "target"), [1, 2], "{what}");
        until(&format!("nothing is left of {what}"), BOUND, || {
            quarantined(&platform, "target").is_empty().then_some(())
        });
    };
    corrupt_packs(&platform, &checkout, &good);
    unharmed("corrupt packs");
    large_pushes(&platform, &checkout, &good);
    unharmed("large pushes");
    unfolding_pushes(&platform, &checkout, &good);
    unharmed("pushes that unfold");
    hostile_trees(&checkout);
    unharmed("hostile trees");
    hostile_refs(&platform, &checkout, &good);
    unharmed("hostile refs");
    silent_clients(&platform, &checkout, &good);
    unharmed("silent clients");

    checkout.git(&["reset", "-q", "--hard", &good]);
    checkout.commit(&[("fine", "1")]);
    checkout.push().accepted();
    assert_eq!(main_of(&platform, "target"), Some(checkout.head()));
}

/// fault G1.
fn corrupt_packs(platform: &Platform, checkout: &Checkout, old: &str) {
    checkout.commit(&[("new", &"some content\n".repeat(50))]);
    let pack = checkout.pack();
    let flipped = |at: usize| {
        let mut pack = pack.clone();
        pack[at] ^= 0x55;
        pack
    };
    let cases: [(&str, Vec<u8>); 7] = [
        ("truncated", pack[..pack.len() / 2].to_vec()),
        ("without its checksum", pack[..pack.len() - 20].to_vec()),
        ("a bit flipped in the middle", flipped(pack.len() / 2)),
        ("a bit flipped in the checksum", flipped(pack.len() - 1)),
        ("empty", Vec::new()),
        ("no pack at all", b"PACK\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("too many objects", [&pack[..8], &[0xff; 4], &pack[12..]].concat()),
    ];
    let list = commands(&[(old, &checkout.head(), MAIN)]);
    for (what, pack) in cases {
        let answer = platform.receive_pack("target", &[&list[..], &pack].concat());
        let text = &answer.body;
        assert!(text.contains("ng refs/heads/main unpacker error"), "{what}: {answer:?}");
        assert!(!text.contains("unpack ok"), "{what}: {text}");
    }
}

/// fault G2.
fn large_pushes(platform: &Platform, checkout: &Checkout, old: &str) {
    std::fs::write(checkout.path().join("noise"), noise(5_000_000)).unwrap();
    checkout.commit(&[]);
    checkout.push().rejected(&["push is 5.0 MB, limit 2.0 MB (push.max)", "push too large"]);
    checkout.git(&["reset", "-q", "--hard", old]);

    let before = peak_kilobytes(platform.pid());
    let list = commands(&[(old, &"1".repeat(40), MAIN)]);
    let body = [&list[..], &vec![b'x'; 60_000_000]].concat();
    let answer = platform.receive_pack("target", &body);
    assert!(answer.body.contains("limit 2.0 MB"), "{}", answer.body);
    let grown = peak_kilobytes(platform.pid()) - before;
    assert!(grown < 20_000, "60 MB refused took {grown} kB");
}

/// fault G16: a megabyte unfolds to a gigabyte of names; a commit says much of itself.
fn unfolding_pushes(platform: &Platform, checkout: &Checkout, old: &str) {
    let before = peak_kilobytes(platform.pid());
    let list = commands(&[(old, &"1".repeat(40), MAIN)]);
    let answer = platform.receive_pack("target", &[list, tree_pack(1 << 30)].concat());
    assert!(answer.body.contains("ut of memory"), "{answer:?}");
    assert!(answer.body.contains("ng refs/heads/main unpacker error"), "{answer:?}");

    let tree = checkout.tree(&[]);
    let who = "A <a@example.org> 1700000000 +0000";
    let head = format!("tree {tree}\nparent {old}\nauthor {who}\ncommitter {who}\n\n");
    let text = [head.as_bytes(), &vec![b'x'; 64 << 20]].concat();
    let commit = checkout.object("commit", &text);
    let refspec = format!("{commit}:refs/heads/main");
    checkout.push_refs(&[&refspec]).rejected(&["This commit says 67", "the limit is 33554432"]);
    let grown = peak_kilobytes(platform.pid()) - before;
    assert!(grown < 20_000, "what unfolds took {grown} kB");
}

/// A pack of one tree that is said to have so many bytes: all of them are zeros, as far as they go.
fn tree_pack(bytes: usize) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    // Git documentation, gitformat-pack(5): a kind (2 is a tree), and a size of variable length.
    let (mut byte, mut rest) = (2 << 4 | bytes & 0xf, bytes >> 4);
    while rest > 0 {
        pack.push(u8::try_from(byte | 0x80).unwrap());
        (byte, rest) = (rest & 0x7f, rest >> 7);
    }
    pack.push(u8::try_from(byte).unwrap());
    let mut zeros = ZlibEncoder::new(pack, Compression::default());
    zeros.write_all(&vec![0; 1 << 20]).unwrap();
    zeros.finish().unwrap()
}

fn peak_kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// fault G3.
fn hostile_trees(checkout: &Checkout) {
    let file = checkout.object("blob", b"#!/bin/sh\ntouch /tmp/lathe-canary-of-refs\n");
    let folder = checkout.tree(&[("100755", "post-checkout", &file)]);
    let modules = "[submodule \"x\"]\n\tpath = x\n\turl = -u./x\n";
    let modules = checkout.object("blob", modules.as_bytes());
    let target = checkout.object("blob", b"/etc/passwd");
    for (entry, reason) in [
        (("40000", ".GIT", folder.as_str()), "hasDotgit"),
        (("40000", "..", &folder), "hasDotdot"),
        (("100755", ".git/hooks", &file), "fullPathname"),
        (("100755", "../../x", &file), "fullPathname"),
        (("120000", ".gitmodules", &target), "gitmodulesSymlink"),
        (("100644", ".gitmodules", &modules), "gitmodulesUrl"),
    ] {
        let tree = checkout.tree(&[entry]);
        let committed = checkout.git(&["commit-tree", "-m", "hostile", &tree]);
        let commit = String::from_utf8(committed.stdout).unwrap();
        let refspec = format!("+{}:refs/heads/main", commit.trim());
        checkout.push_refs(&[&refspec]).rejected(&[reason]);
    }
    assert!(!Path::new(CANARY).exists());
}

/// fault G4.
fn hostile_refs(platform: &Platform, checkout: &Checkout, old: &str) {
    let long = format!("refs/heads/{}", "a".repeat(4096));
    let names: [&[u8]; 11] = [
        b"refs/heads/$(touch${IFS}/tmp/lathe-canary-of-refs)",
        b"refs/heads/`touch /tmp/lathe-canary-of-refs`",
        b"refs/heads/x;touch$IFS/tmp/lathe-canary-of-refs",
        b"refs/heads/-x",
        b"--upload-pack=x",
        b"refs/heads/../../x",
        b"refs/heads/a/../../../hooks/pre-receive",
        b"refs/heads/x\x01\x1b[2J",
        b"refs/heads/main.lock",
        b"HEAD",
        long.as_bytes(),
    ];
    for name in names {
        let shown = name.escape_ascii();
        let body = [commands(&[(ZERO, old, name)]), checkout.pack()].concat();
        let text = platform.receive_pack("target", &body).body;
        assert!(text.contains("invalid ref name"), "{shown}: {text}");
        assert!(!text.contains('\x1b'), "{shown} comes back raw");
        // Half of a push is not taken either.
        let pair = commands(&[(old, old, MAIN), (ZERO, old, name)]);
        let text = platform.receive_pack("target", &[pair, checkout.pack()].concat()).body;
        assert!(text.contains("ng refs/heads/main refused with the others"), "{shown}: {text}");
    }
    assert!(!Path::new(CANARY).exists());
    let heads = std::fs::read_dir(repository(platform, "target").join("refs/heads")).unwrap();
    let heads: Vec<_> = heads.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(heads, ["main"]);
}

/// fault G12: as many as may push at once hang in the middle, and are cut.
fn silent_clients(platform: &Platform, checkout: &Checkout, old: &str) {
    // Enough for a byte at each look below.
    std::fs::write(checkout.path().join("silent"), noise(16 << 10)).unwrap();
    checkout.commit(&[]);
    let list = commands(&[(old, &checkout.head(), MAIN)]);
    let body = [list, checkout.pack()].concat();
    let (half, mut unsaid) = body.split_at(body.len() / 2);
    let began = Instant::now();
    let mut hanging: Vec<_> =
        (0..16).map(|_| platform.begin_push("target", half, body.len())).collect();
    // Nobody falls silent before all are there, however long they take to come.
    let mut speak = || {
        let (byte, rest) = unsaid.split_at(1);
        for stream in &mut hanging {
            drop(stream.write_all(byte));
        }
        unsaid = rest;
    };
    // Each has its slot before one is asked for: we would take it away.
    until("all have begun", BOUND, || {
        speak();
        (quarantined(platform, "target").len() >= 16).then_some(())
    });
    until("all slots are taken", BOUND, || {
        speak();
        let answer = platform.receive_pack("target", b"0000");
        (answer.status == 503).then(|| assert!(answer.body.contains("Try again")))
    });
    for stream in hanging {
        let answer = rest(stream);
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let took = began.elapsed();
    assert!(took >= IDLE, "{took:?}");
    until("the slots are free", BOUND, || {
        (platform.receive_pack("target", b"0000").status == 200).then_some(())
    });
}
