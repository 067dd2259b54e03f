//! Builds by push, by API and on the command line: what an app and a buildpack can rely on.

mod archives;
mod buildpacks;
mod hostile;
mod secrets;
mod unfit;

use lathe_tests::{Checkout, Platform, get, lathe, request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PLAIN: &[(&str, &str)] = &[("Procfile", "worker: sleep 1000\n")];
const DETECT: (&str, &str) = ("bin/detect", "#!/bin/sh\necho Own\n");

/// A `bin/compile`, stopped by the first step that fails.
fn script(steps: &str) -> String {
    format!("#!/bin/bash\nset -eu\n{steps}\n")
}

fn create(platform: &Platform, name: &str) {
    let (status, app) = platform.api("POST", "/apps", &json!({"name": name}));
    assert_eq!(status, 201, "{app}");
}

fn own(platform: &Platform, app: &str, compile: &str) -> Checkout {
    create(platform, app);
    let compile = script(compile);
    Checkout::new(platform, app, &[PLAIN[0], DETECT, ("bin/compile", &compile)])
}

fn versions(platform: &Platform, app: &str) -> Vec<u64> {
    let (_, releases) = platform.api("GET", &format!("/apps/{app}/releases"), &Value::Null);
    releases.as_array().unwrap().iter().map(|r| r["version"].as_u64().unwrap()).collect()
}

/// SHA-256 of the slug that the app's newest release has.
fn digest(platform: &Platform, app: &str) -> String {
    let (_, releases) = platform.api("GET", &format!("/apps/{app}/releases"), &Value::Null);
    let slug = releases.as_array().unwrap().last().unwrap()["slug"]["id"].clone();
    let path = format!("/apps/{app}/slugs/{}", slug.as_str().unwrap());
    let (_, slug) = platform.api("GET", &path, &Value::Null);
    slug["checksum"].as_str().unwrap().strip_prefix("SHA256:").unwrap().to_owned()
}

/// Where the store keeps the slug with this digest.
fn slug_file(platform: &Platform, digest: &str) -> PathBuf {
    let mut find = Command::new("find");
    find.arg(platform.data()).args(["-type", "f", "-name"]).arg(format!("{digest}.tgz"));
    let files = find.output().unwrap();
    let text = String::from_utf8(files.stdout).unwrap();
    text.lines().find(|path| path.contains("/slugs/")).expect("the slug is stored").into()
}

/// `tar tv` of a slug: a line each by the entry's name.
fn listed(slug: &std::path::Path) -> BTreeMap<String, String> {
    let output = Command::new("tar").arg("tvzf").arg(slug).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.split_whitespace().nth(5).unwrap().to_owned();
    text.lines().map(|line| (name(line), line.to_owned())).collect()
}

fn says(transcript: &str, lines: &[&str]) {
    for line in lines {
        assert!(transcript.contains(line), "no {line:?} in:\n{transcript}");
    }
}

#[test]
fn config_vars_are_files_the_cache_lasts_and_ignored_files_are_gone() {
    let platform = Platform::start();
    let checkout = own(
        &platform,
        "api1",
        "echo \"environment: ${SECRET_TOKEN-nothing}\"\n\
         echo \"file: $(cat \"$3/SECRET_TOKEN\")\"\n\
         count=$(cat \"$2/count\" 2>/dev/null || echo 0)\n\
         echo $((count + 1)) > \"$2/count\"\n\
         echo \"build number $((count + 1))\"\n\
         [ ! -e \"$1/docs\" ] || echo 'ignored files are here'",
    );
    checkout.commit(&[(".slugignore", "docs/\n*.psd\n"), ("docs/x", "x"), ("a.psd", "x")]);
    let (status, _) = platform.api(
        "PATCH",
        "/apps/api1/config-vars",
        &json!({"SECRET_TOKEN": "hunter2-hunter2"}),
    );
    assert_eq!(status, 200);
    let first = checkout.push().accepted().transcript;
    says(&first, &["environment: nothing", "file: <SECRET_TOKEN>", "build number 1"]);
    assert!(!first.contains("hunter2") && !first.contains("ignored files are here"), "{first}");
    let slug = listed(&slug_file(&platform, &digest(&platform, "api1")));
    assert!(slug.contains_key("./app/bin/compile"), "{slug:?}");
    assert!(!slug.keys().any(|name| name.contains("docs") || name.contains("psd")), "{slug:?}");

    checkout.commit(&[("again", "1")]);
    says(&checkout.push().accepted().transcript, &["build number 2"]);

    // fault C10: another app's cache is another one.
    let other = own(&platform, "api2", "ls -A \"$2\" | wc -l | sed 's/^/cached: /'");
    says(&other.push().accepted().transcript, &["cached: 0"]);

    // A damaged cache costs its content, not the next build.
    let (_, app) = platform.api("GET", "/apps/api1", &Value::Null);
    let image = platform.data().join(format!("cache/{}.img", app["id"].as_str().unwrap()));
    let file = std::fs::OpenOptions::new().write(true).open(image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xff; 1 << 20], 0).unwrap();
    checkout.commit(&[("again", "2")]);
    says(&checkout.push().accepted().transcript, &["build number 1"]);
}

#[test]
fn a_refused_build_explains_itself() {
    let platform = Platform::start();
    let checkout = own(&platform, "wrong", "echo 'error: no such header: zlib.h' >&2; exit 7");
    checkout.push().rejected(&[
        "error: no such header: zlib.h",
        "failed to compile Own app",
        "Push rejected, failed to compile Own app.",
    ]);
    checkout.git(&["rm", "-q", "-r", "Procfile", "bin"]);
    checkout.commit(&[("notes.txt", "nothing to run")]);
    checkout.push().rejected(&["no default language could be detected", "Push rejected."]);
    assert_eq!(versions(&platform, "wrong"), [1]);
}

/// fault C17: one tree is one slug, whichever way it comes.
#[test]
fn the_same_tree_is_the_same_slug_by_push_by_api_and_on_the_command_line() {
    let platform = Platform::start();
    let compile = "date > /dev/null; for n in 3 1 2; do echo $n > \"$1/made-$n\"; done";
    let first = own(&platform, "twin1", compile);
    first.push().accepted();
    let expected = digest(&platform, "twin1");
    let second = own(&platform, "twin2", compile);
    second.push().accepted();
    assert_eq!(digest(&platform, "twin2"), expected);

    create(&platform, "twin3");
    let archive = first.git(&["archive", "--format=tar.gz", "--prefix=anything/", "HEAD"]).stdout;
    let (status, build) = build_by_api(&platform, "twin3", &archive);
    assert_eq!(status, 201, "{build}");
    let path = build["output_stream_url"].as_str().unwrap().split_once("/apps/").unwrap().1;
    let output = get(platform.address("api_plain"), "localhost", &format!("/apps/{path}"));
    says(&output.body, &["Own app detected", "Released v2"]);
    assert_eq!(digest(&platform, "twin3"), expected);

    let slug = tempfile::tempdir().unwrap().keep().join("slug.tgz");
    let compiled = Command::new(lathe())
        .arg("compile")
        .arg(first.path())
        .arg("-o")
        .arg(&slug)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    let same =
        std::fs::read(&slug).unwrap() == std::fs::read(slug_file(&platform, &expected)).unwrap();
    std::fs::remove_dir_all(slug.parent().unwrap()).unwrap();
    assert!(same, "the command line makes another slug");
}

/// The URL under which a build gets this archive.
fn upload(platform: &Platform, app: &str, archive: &[u8]) -> String {
    let (status, source) = platform.api("POST", &format!("/apps/{app}/sources"), &json!({}));
    assert_eq!(status, 201, "{source}");
    let url = source["source_blob"]["put_url"].as_str().unwrap();
    let path = format!("/sources/{}", url.rsplit('/').next().unwrap());
    let address = platform.address("api_plain");
    let put = request(address, "PUT", "localhost", &path, &[], archive).unwrap();
    assert_eq!(put.status, 200, "{}", put.body);
    source["source_blob"]["get_url"].as_str().unwrap().to_owned()
}

fn build_by_api(platform: &Platform, app: &str, archive: &[u8]) -> (u16, Value) {
    let blob = json!({"url": upload(platform, app, archive), "version": "v1.0"});
    platform.api("POST", &format!("/apps/{app}/builds"), &json!({"source_blob": blob}))
}

/// Heroku Dev Center, "Release Phase".
#[test]
fn a_release_phase_that_fails_changes_nothing() {
    let platform = Platform::start();
    create(&platform, "phase");
    let web = |version: &str| {
        format!(
            "import http.server, os\n\
             class Web(http.server.BaseHTTPRequestHandler):\n\
             \x20   def do_GET(self):\n\
             \x20       self.send_response(200)\n\
             \x20       self.end_headers()\n\
             \x20       self.wfile.write(b'{version}')\n\
             http.server.HTTPServer(('', int(os.environ['PORT'])), Web).serve_forever()\n"
        )
    };
    let checkout = Checkout::new(
        &platform,
        "phase",
        &[
            ("Procfile", "release: sh release.sh\nweb: python3 web.py\n"),
            ("release.sh", "echo migrated nothing\n"),
            ("web.py", &web("one")),
        ],
    );
    checkout.push().accepted();
    assert_eq!(platform.app("phase", "/").body, "one");
    checkout
        .commit(&[("release.sh", "echo cannot migrate >&2; exit 4\n"), ("web.py", &web("two"))]);
    checkout.push().rejected(&["release", "4", "cannot migrate"]);
    assert_eq!(platform.app("phase", "/").body, "one", "the old release serves on");
    checkout.commit(&[("release.sh", "true\n")]);
    checkout.push().accepted();
    assert_eq!(platform.app("phase", "/").body, "two");
    let (_, releases) = platform.api("GET", "/apps/phase/releases", &Value::Null);
    let statuses: Vec<_> =
        releases.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["succeeded", "succeeded", "failed", "succeeded"]);
}

/// All bytes of a slug, unpacked.
fn unpacked(slug: &std::path::Path) -> Vec<u8> {
    let mut gzip =
        Command::new("gzip").arg("-dc").arg(slug).stdout(Stdio::piped()).spawn().unwrap();
    let mut bytes = Vec::new();
    gzip.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    assert!(gzip.wait().unwrap().success());
    bytes
}
