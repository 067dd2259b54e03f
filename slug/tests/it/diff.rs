//! Two slugs, and what is said to differ.

use crate::round_trip::packed;
use crate::tree::{Node, build, describe, file, program};
use lathe_slug::{Limits, diff};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

fn written(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn said(left: &Path, right: &Path, max: usize) -> Vec<String> {
    let differences = diff(left, right, &Limits::default(), max).unwrap();
    differences.iter().map(ToString::to_string).collect()
}

#[test]
fn names_what_differs_in_the_order_of_the_slug() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (temp.path().join("one"), temp.path().join("two"));
    let mut large = vec![b'x'; 300_000];
    let content = |content: &[u8]| Node::File { content: content.into(), executable: false };
    let left = describe([
        ("a/b", file("same")),
        ("a.c", file("gone")),
        ("bin", program("x")),
        ("large", content(&large)),
        ("longer", file("abc")),
        ("link", Node::Symlink("x".into())),
        ("kind", file("")),
    ]);
    large[200_000] = b'y';
    let right = describe([
        ("a/b", file("same")),
        ("a/new", file("")),
        ("bin", file("x")),
        ("large", content(&large)),
        ("longer", file("abcd")),
        ("link", Node::Symlink("y".into())),
        ("kind", Node::Folder),
    ]);
    build(&one, left.iter());
    build(&two, right.iter());
    let (one, two) =
        (written(temp.path(), "1", &packed(&one).1), written(temp.path(), "2", &packed(&two).1));
    let wanted = [
        "\"app/a/new\": only in the second",
        "\"app/a.c\": only in the first",
        "\"app/bin\": mode 755 in the first, 644 in the second",
        "\"app/kind\": file in the first, folder in the second",
        "\"app/large\": content differs from byte 200000 on (300000 and 300000 bytes)",
        "\"app/link\": links to \"x\" in the first, to \"y\" in the second",
        "\"app/longer\": content differs from byte 3 on (3 and 4 bytes)",
    ];
    assert_eq!(said(&one, &two, 100), wanted);
    assert_eq!(said(&one, &two, 2), wanted[..2]);
    assert_eq!(said(&one, &one, 100), [""; 0]);
}

#[test]
fn tells_apart_what_has_equal_entries() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    build(&tree, describe([("a", file("1")), ("b", file("2"))]).iter());
    let slug = packed(&tree).1;
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&slug[..]).read_to_end(&mut tar).unwrap();
    let gzip = |tar: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(tar).unwrap();
        encoder.finish().unwrap()
    };
    let original = written(temp.path(), "original", &slug);
    let otherwise = written(temp.path(), "otherwise", &gzip(&tar));
    assert_eq!(said(&original, &otherwise, 9), ["the same tar, compressed otherwise"]);

    let swapped = [&tar[..512], &tar[1536..2560], &tar[512..1536], &tar[2560..]].concat();
    let swapped = written(temp.path(), "swapped", &gzip(&swapped));
    let wanted = ["\"app/a\": the same entries, which from here come in another order"];
    assert_eq!(said(&original, &swapped, 9), wanted);

    tar.extend([0; 512]);
    let padded = written(temp.path(), "padded", &gzip(&tar));
    let wanted = ["the same entries, written with other times, owners or padding"];
    assert_eq!(said(&original, &padded, 9), wanted);
    assert!(diff(&original, &temp.path().join("none"), &Limits::default(), 1).is_err());
    assert!(diff(&original, &tree.join("a"), &Limits::default(), 1).is_err());
}

#[test]
fn of_two_programs_the_sections_are_named() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    let mut program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let content = |bytes: &[u8]| Node::File { content: bytes.into(), executable: true };
    build(&tree, describe([("bin/x", content(&program))]).iter());
    let one = written(temp.path(), "1", &packed(&tree).1);
    // The program's own text, of which this test is a part.
    let canary = b"of_two_programs_the_sections_are_named-9c41";
    let at = program.windows(canary.len()).position(|window| window == canary).unwrap();
    program[at] ^= 1;
    build(&tree, describe([("bin/x", content(&program))]).iter());
    let two = written(temp.path(), "2", &packed(&tree).1);
    let bytes = program.len();
    let said = said(&one, &two, 9);
    let wanted = format!(
        "\"app/bin/x\": content differs from byte {at} on ({bytes} and {bytes} bytes), in .rodata"
    );
    assert_eq!(said, [wanted]);
}
