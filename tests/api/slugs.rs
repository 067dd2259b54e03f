//! The slug API from outside: what is uploaded is checked, refused with its reason, or there to stay.

use super::{WEB, archive, call, create, owner, path_of, text};
use lathe_tests::Platform;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// One tar header that says what it likes, and data behind it.
fn entry(kind: u8, name: &str, target: &str, size: u64, data: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut whole = [&block, data].concat();
    whole.resize(whole.len().next_multiple_of(512), 0);
    whole
}

fn gzip(entries: &[Vec<u8>]) -> Vec<u8> {
    let plain = [entries.concat(), vec![0; 1024]].concat();
    let mut gzip =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || stdin.write_all(&plain).unwrap());
    let compressed = gzip.wait_with_output().unwrap().stdout;
    feeding.join().unwrap();
    compressed
}

/// Describes a slug; gives its id and where its blob goes.
fn describe(platform: &Platform, app: &str, checksum: Option<&str>) -> (String, String) {
    let described = json!({"process_types": {"web": "python3 web.py"}, "checksum": checksum});
    let slug = owner(platform, "POST", &format!("/apps/{app}/slugs"), &described);
    (text(&slug["id"]), path_of(&slug["blob"]["url"]))
}

#[test]
fn a_slug_that_would_do_harm_is_refused_with_its_reason() {
    let platform = Platform::start_with(&["archive.entries=100", "archive.unpacked=1MiB"]);
    create(&platform, "harm");
    let (id, put) = describe(&platform, "harm", None);
    let many: Vec<_> = (0..101).map(|n| entry(b'0', &format!("./app/{n}"), "", 0, b"")).collect();
    let zeros = entry(b'0', "./app/x", "", 2 << 20, &vec![0; 2 << 20]);
    let cases = [
        (vec![entry(b'0', "../x", "", 0, b"")], "it contains `..`"),
        (vec![entry(b'0', "/etc/passwd", "", 0, b"")], "it is absolute"),
        (vec![entry(b'0', "x", "", 0, b"")], "everything in a slug is under ./app/"),
        (vec![entry(b'0', "./app/.wh.x", "", 0, b"")], "mean deletion"),
        (vec![entry(b'3', "./app/x", "", 0, b"")], "is a character device"),
        (vec![entry(b'6', "./app/x", "", 0, b"")], "is a named pipe"),
        (vec![entry(b'1', "./app/x", "/etc/shadow", 0, b"")], "it is absolute"),
        (
            vec![entry(b'2', "./app/l", "/", 0, b""), entry(b'0', "./app/l/x", "", 0, b"")],
            "lies below something that is not a folder",
        ),
        (
            vec![entry(b'L', "l", "", 400 << 20, b"")],
            "over the limit of 65536 (setting archive.header)",
        ),
        (many, "at least 101 entries, over the limit of 100 (setting archive.entries)"),
        (vec![zeros], "over the limit of 1048576 (setting archive.unpacked)"),
    ];
    for (entries, wanted) in cases {
        let answer = call(&platform, None, "PUT", &put, &[], &gzip(&entries));
        assert_eq!(answer.status, 422, "{wanted}: {}", answer.body);
        assert!(answer.body.contains(wanted), "{wanted}: {}", answer.body);
    }
    let answer = call(&platform, None, "PUT", &put, &[], b"no gzip at all");
    assert_eq!(answer.status, 422, "{}", answer.body);
    let (status, why) = platform.api("POST", "/apps/harm/releases", &json!({"slug": id}));
    assert_eq!(status, 422, "a slug without its blob was released: {why}");
    let kept = std::fs::read_dir(platform.data().join("slugs")).unwrap().count();
    assert_eq!(kept, 1, "something else than the empty incoming/ is there");
}

#[test]
fn a_checksum_is_held_against_what_comes_and_what_is_kept_is_listed() {
    let platform = Platform::start();
    create(&platform, "sum");
    let blob = archive("app", &[("web.py", WEB)]);
    let wrong = format!("SHA256:{}", "0".repeat(64));
    let (_, put) = describe(&platform, "sum", Some(&wrong));
    let refused = call(&platform, None, "PUT", &put, &[], &blob);
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("Checksum does not match expected value"), "{}", refused.body);
    let actual = refused.body.split("Actual: ").nth(1).unwrap();
    let actual = &actual[..actual.find('"').unwrap()];

    let (id, put) = describe(&platform, "sum", Some(actual));
    assert_eq!(call(&platform, None, "PUT", &put, &[], &blob).status, 200);
    assert_ne!(
        call(&platform, None, "PUT", &put, &[], &blob).status,
        200,
        "it never changes again"
    );
    let slug = owner(&platform, "GET", &format!("/apps/sum/slugs/{id}"), &Value::Null);
    assert_eq!(
        (slug["checksum"].as_str(), slug["size"].as_u64()),
        (Some(actual), Some(blob.len() as u64))
    );
    let get = path_of(&slug["blob"]["url"]);
    assert_eq!(
        call(&platform, None, "GET", &get, &[], b"").headers["content-length"],
        blob.len().to_string()
    );

    let release = owner(&platform, "POST", "/apps/sum/releases", &json!({"slug": id}));
    let listed = platform.command().arg("slugs").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| actual.ends_with(&line[..64.min(line.len())])).unwrap();
    assert!(line.contains(&format!("sum v{}", release["version"])), "{listed}");
}
