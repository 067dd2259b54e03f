//! Builds by API: an uploaded source becomes a live app, and no URL leads the server inside.

use super::{BOUND, WEB, archive, call, create, owner, path_of, text};
use lathe_tests::{Platform, until};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;

/// Uploads a source archive; gives what a build takes.
fn upload(platform: &Platform, files: &[(&str, &str)]) -> Value {
    let source = owner(platform, "POST", "/sources", &Value::Null);
    let put = path_of(&source["source_blob"]["put_url"]);
    // The CLI's plugin sends an empty content type; nobody sends a token.
    let answer = call(platform, None, "PUT", &put, &[], &archive("checkout", files));
    assert_eq!(answer.status, 200, "{}", answer.body);
    json!({"source_blob": {"url": source["source_blob"]["get_url"], "version": "v1"}})
}

fn begin(platform: &Platform, app: &str, request: &Value) -> Value {
    owner(platform, "POST", &format!("/apps/{app}/builds"), request)
}

fn build(platform: &Platform, app: &str, begun: &Value) -> Value {
    let path = format!("/apps/{app}/builds/{}", text(&begun["id"]));
    owner(platform, "GET", &path, &Value::Null)
}

#[test]
fn an_uploaded_source_becomes_a_live_app() {
    let platform = Platform::start();
    create(&platform, "tarball");
    let request = upload(&platform, &[("Procfile", "web: python3 web.py\n"), ("web.py", WEB)]);
    let begun = begin(&platform, "tarball", &request);
    assert_eq!((begun["status"].as_str(), &begun["release"]), (Some("pending"), &Value::Null));
    assert_eq!(begun["source_blob"]["version"], "v1");

    let output = path_of(&begun["output_stream_url"]);
    let transcript = call(&platform, None, "GET", &output, &[], b"");
    assert_eq!(transcript.status, 200);
    assert!(transcript.headers["content-type"].starts_with("text/plain"));
    assert!(transcript.body.contains("-----> Procfile app detected"), "{}", transcript.body);

    let ended = build(&platform, "tarball", &begun);
    assert_eq!(ended["status"], "succeeded", "the stream ends when the build has: {ended}");
    let release = format!("/apps/tarball/releases/{}", text(&ended["release"]["id"]));
    assert_eq!(owner(&platform, "GET", &release, &Value::Null)["slug"], ended["slug"]);
    until("it serves", BOUND, || (platform.app("tarball", "/").body == "web.1 none").then_some(()));
    let list = owner(&platform, "GET", "/apps/tarball/builds", &Value::Null);
    assert_eq!(list[0]["id"], begun["id"]);
}

#[test]
fn a_build_fails_alone_is_cancelled_and_is_one_at_a_time() {
    let platform = Platform::start();
    create(&platform, "broken");
    let failing = upload(&platform, &[("README", "nothing to run\n")]);
    let begun = begin(&platform, "broken", &failing);
    let ended = until("the build fails", BOUND, || {
        let build = build(&platform, "broken", &begun);
        (build["status"] != "pending").then_some(build)
    });
    assert_eq!((ended["status"].as_str(), &ended["release"]), (Some("failed"), &Value::Null));

    let good = upload(&platform, &[("Procfile", "web: true\n")]);
    let first = begin(&platform, "broken", &good);
    let second = platform.api("POST", "/apps/broken/builds", &good);
    let path = format!("/apps/broken/builds/{}", text(&first["id"]));
    assert!(
        second.0 == 409 || build(&platform, "broken", &first)["status"] != "pending",
        "{}",
        second.1
    );
    let (status, why) = platform.api("DELETE", &path, &Value::Null);
    assert!(matches!(status, 200 | 422), "{why}");
    until("it has ended", BOUND, || {
        (build(&platform, "broken", &first)["status"] != "pending").then_some(())
    });
    until("it does not run any more", BOUND, || {
        (platform.api("DELETE", &path, &Value::Null).0 == 422).then_some(())
    });
}

#[test]
fn no_url_leads_the_server_inside() {
    let platform = Platform::start();
    create(&platform, "inside");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tls, plain) = (platform.address("api_tls").port(), platform.address("api_plain").port());
    let urls = [
        format!("https://127.0.0.1:{port}/a.tgz"),
        format!("https://localhost:{port}/a.tgz"),
        format!("https://[::ffff:127.0.0.1]:{port}/a.tgz"),
        format!("https://2130706433:{port}/a.tgz"),
        format!("https://0:{port}/a.tgz"),
        format!("https://localhost:{tls}/account"),
        format!("http://127.0.0.1:{plain}/account"),
        format!("http://localhost:{port}/a.tgz"),
        format!("https://8.8.8.8:443@127.0.0.1:{port}/a.tgz"),
        "https://169.254.169.254/latest/meta-data/".into(),
        "https://10.0.0.1/a.tgz".into(),
        "https://[fe80::1]/a.tgz".into(),
        "file:///etc/passwd".into(),
        "gopher://127.0.0.1/x".into(),
        "-o/etc/passwd".into(),
        format!("https://localhost:{tls}/sources/../owner-token"),
        format!("https://localhost:{tls}/sources/guessed"),
    ];
    for url in urls {
        let began = std::time::Instant::now();
        let request = json!({"source_blob": {"url": url}});
        let (status, why) = platform.api("POST", "/apps/inside/builds", &request);
        assert!(matches!(status, 404 | 422), "{url}: {status} {why}");
        assert!(began.elapsed() < Duration::from_mins(1), "{url} was waited for");
    }
    let never = listener.accept().unwrap_err();
    assert_eq!(never.kind(), std::io::ErrorKind::WouldBlock, "something was connected to");
    assert_eq!(owner(&platform, "GET", "/apps/inside/builds", &Value::Null), json!([]));
}
