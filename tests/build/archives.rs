//! Hostile archives at every place where one is read: as a slug, as a source and as a buildpack.

use super::buildpacks::{Registry, SEEN};
use super::{PLAIN, create, digest, upload};
use lathe_tests::hostile::{ESCAPED, SETTINGS, archives};
use lathe_tests::{Checkout, Platform, get, golden, request, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/archives.tsv");
const BOUND: Duration = Duration::from_mins(1);
const TAKEN: &str = "taken";
/// How a refusal begins in each place, before its reason.
const AS_SLUG: &str = "The slug was not taken: the slug was refused: ";
const AS_SOURCE: &str = "the source could not be unpacked: ";
const AS_BUILDPACK: &str = "could not fetch buildpack file://…/";

/// fault C7, C8: the table says of each archive what each place answers.
#[test]
fn no_archive_does_harm_wherever_it_is_read() {
    let archives = archives();
    let registry = Registry::new();
    for (name, gz) in &archives {
        std::fs::write(registry.dir.path().join(file_name(name)), gz).unwrap();
    }
    let registry_setting = registry.setting();
    let settings = [&SETTINGS[..], &[&registry_setting]].concat();
    let platform = Platform::start_with(&settings);
    for app in ["slugs", "sources", "buildpacks"] {
        create(&platform, app);
    }
    let plain = upload(&platform, "buildpacks", &plain());
    let before = peak_kilobytes(platform.pid());

    let each = |offer: &(dyn Fn(&str, &[u8]) -> String + Sync)| -> Vec<String> {
        archives.iter().map(|(name, gz)| offer(name, gz)).collect()
    };
    let [slugs, sources, buildpacks] = std::thread::scope(|scope| {
        let sources = scope.spawn(|| {
            each(&|_, gz| {
                let source = upload(&platform, "sources", gz);
                build(&platform, "sources", &json!({"source_blob": {"url": source}}))
            })
        });
        let buildpacks = scope.spawn(|| {
            each(&|name, _| {
                let buildpack = json!({"url": format!("file://{SEEN}/{}", file_name(name))});
                let request = json!({"source_blob": {"url": plain}, "buildpacks": [buildpack]});
                build(&platform, "buildpacks", &request).replace(SEEN, "…")
            })
        });
        let slugs = each(&|_, gz| put(&platform, gz));
        [slugs, sources.join().unwrap(), buildpacks.join().unwrap()]
    });

    let mut table = String::new();
    for (n, (name, _)) in archives.iter().enumerate() {
        let slug = slugs[n].trim_start_matches(AS_SLUG);
        let source = sources[n].trim_start_matches(AS_SOURCE);
        let fetched =
            format!("{AS_BUILDPACK}{}: the archive could not be unpacked: ", file_name(name));
        let buildpack = buildpacks[n].trim_start_matches(&fetched);
        let same = |outcome: &str| if outcome == slug { "likewise" } else { outcome }.to_owned();
        writeln!(table, "{name}\t{slug}\t{}\t{}", same(source), same(buildpack)).unwrap();
    }
    golden::check(Path::new(GOLDEN), &table);
    let grown = peak_kilobytes(platform.pid()) - before;
    assert!(grown < 64 << 10, "the platform took {grown} kB for archives of 1 MiB");
    assert!(!Path::new(ESCAPED).exists());
    let taken = slugs.iter().filter(|outcome| *outcome == TAKEN).count();
    check_store(platform.data(), taken);
}

/// Nothing of a slug that was arriving is left, and what releases have can be gone back to.
#[test]
fn a_platform_killed_while_a_slug_arrives_has_nothing_of_it_and_rolls_back() {
    let mut platform = Platform::start();
    create(&platform, "arriving");
    let checkout = Checkout::new(&platform, "arriving", PLAIN);
    checkout.push().accepted();
    let first = digest(&platform, "arriving");
    checkout.commit(&[("more", "1")]);
    checkout.push().accepted();

    let described = json!({"process_types": {"worker": "sleep 1000"}});
    let (_, slug) = platform.api("POST", "/apps/arriving/slugs", &described);
    let url = slug["blob"]["url"].as_str().unwrap();
    let mut stream = TcpStream::connect(platform.address("api_plain")).unwrap();
    let path = &url[url.find("/slugs/").unwrap()..];
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &plain()].concat()).unwrap();
    let incoming = platform.data().join("slugs/incoming");
    let arriving = || std::fs::read_dir(&incoming).unwrap().count();
    until("the slug arrives", BOUND, || (arriving() == 1).then_some(()));
    platform.kill();
    assert_eq!(arriving(), 1, "killed before it could clear up");
    platform.up();
    until("it is ready", BOUND, || {
        (platform.api("GET", "/apps/arriving", &Value::Null).0 == 200).then_some(())
    });
    check_store(platform.data(), 2);
    let (_, releases) = platform.api("GET", "/apps/arriving/releases", &Value::Null);
    let back = json!({"release": releases[1]["id"]});
    let (status, release) = platform.api("POST", "/apps/arriving/releases", &back);
    assert_eq!(status, 201, "{release}");
    assert_eq!(digest(&platform, "arriving"), first);
}

/// Nothing is half taken in, and every slug has its manifest. There are at least `slugs`.
fn check_store(data: &Path, slugs: usize) {
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let kept = names(&data.join("slugs"));
    let of = |ending: &str| kept.iter().filter(|name| name.ends_with(ending)).count();
    assert_eq!(names(&data.join("slugs/incoming")), BTreeSet::new());
    assert_eq!(kept.len(), of(".tgz") + of(".json") + 1, "{kept:?}");
    assert!(of(".tgz") == of(".json") && of(".tgz") >= slugs, "{kept:?}");
}

fn file_name(archive: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    archive.chars().map(plain).collect::<String>() + ".tgz"
}

/// An app without any surprise.
fn plain() -> Vec<u8> {
    use lathe_tests::tarball::{file, gzip, tar};
    gzip(&tar(&[file("Procfile", b"worker: sleep 1000\n")]))
}

/// What the slug API says to it.
fn put(platform: &Platform, gz: &[u8]) -> String {
    let described = json!({"process_types": {"worker": "sleep 1000"}});
    let (status, slug) = platform.api("POST", "/apps/slugs/slugs", &described);
    assert_eq!(status, 201, "{slug}");
    let url = slug["blob"]["url"].as_str().unwrap();
    let path = &url[url.find("/slugs/").unwrap()..];
    let answer = request(platform.address("api_plain"), "PUT", "localhost", path, &[], gz).unwrap();
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let (status, why) = platform.api("POST", "/apps/slugs/releases", &json!({"slug": slug["id"]}));
    if answer.status == 200 {
        assert_eq!(status, 201, "{why}");
        return TAKEN.into();
    }
    assert_eq!((answer.status, status), (422, 422), "{said}, {why}");
    said["message"].as_str().unwrap().to_owned()
}

/// The first thing that a build by API calls wrong.
fn build(platform: &Platform, app: &str, asked: &Value) -> String {
    let builds = format!("/apps/{app}/builds");
    let (status, build) = platform.api("POST", &builds, asked);
    assert_eq!(status, 201, "{build}");
    let url = build["output_stream_url"].as_str().unwrap();
    let path = &url[url.find("/apps/").unwrap()..];
    let said = get(platform.address("api_plain"), "localhost", path).body;
    let status = until("the build has ended", BOUND, || {
        let (_, build) =
            platform.api("GET", &format!("{builds}/{}", build["id"].as_str()?), &Value::Null);
        (build["status"] != "pending").then(|| build["status"].as_str().unwrap().to_owned())
    });
    let wrong = said.lines().find_map(|line| line.strip_prefix(" !     "));
    match (wrong, status.as_str()) {
        (None, "succeeded") => TAKEN.into(),
        (Some(wrong), "failed") => wrong.to_owned(),
        _ => panic!("{status}: {said}"),
    }
}

fn peak_kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
