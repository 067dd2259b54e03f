//! The file server of the static buildpack behind the router, as a browser meets it.

use super::Bench;
use lathe_tests::{Answer, request};

fn ask(bench: &Bench, path: &str, headers: &[(&str, &str)]) -> Answer {
    let host = format!("{}.localhost", bench.app);
    request(bench.platform.address("router"), "GET", &host, path, headers, b"").expect("an answer")
}

#[test]
fn sites_are_served_as_they_are_and_as_static_json_says() {
    let bench = Bench::new("static");
    bench.serves("site", "<h1>home</h1>");
    let page = ask(&bench, "/about", &[]);
    assert_eq!((page.status, page.body.trim()), (200, "<h1>about</h1>"), "clean URLs");
    let kept = ask(&bench, "/about", &[("If-None-Match", &page.headers["etag"])]);
    assert_eq!((kept.status, kept.body.as_str()), (304, ""));
    let part = ask(&bench, "/about", &[("Range", "bytes=1-2")]);
    assert_eq!((part.status, part.body.as_str()), (206, "h1"));
    let style = ask(&bench, "/style.css", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!(style.headers["content-encoding"], "gzip");
    let lost = ask(&bench, "/nothing", &[]);
    assert_eq!((lost.status, lost.body.trim()), (404, "<h1>lost</h1>"));

    bench.push("settings").accepted();
    let page = ask(&bench, "/some/page", &[]);
    assert_eq!((page.status, page.headers["x-frame-options"].as_str()), (200, "DENY"));

    bench.push("secure").accepted();
    let elsewhere = ask(&bench, "/a?b", &[]);
    assert_eq!(elsewhere.headers["location"], format!("https://{}.localhost/a?b", bench.app));
    bench.refuses(&["broken", "missing"]);
}
