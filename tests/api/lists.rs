//! Lists, versions and envelopes: Range and Next-Range, entity tags, request ids, `Accept`.

use super::{call, create, owner};
use lathe_tests::{Answer, Platform};
use serde_json::{Value, json};

fn get(platform: &Platform, path: &str, headers: &[(&str, &str)]) -> Answer {
    call(platform, Some(&platform.token()), "GET", path, headers, b"")
}

fn versions(answer: &Answer) -> Vec<u64> {
    let list: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    list.iter().map(|release| release["version"].as_u64().unwrap()).collect()
}

#[test]
fn releases_come_in_pages_newest_first() {
    let platform = Platform::start();
    create(&platform, "paged");
    for number in 2..=12 {
        owner(&platform, "PATCH", "/apps/paged/config-vars", &json!({"N": number.to_string()}));
    }
    let path = "/apps/paged/releases";
    let newest = get(&platform, path, &[("Range", "version ..; order=desc,max=1")]);
    assert_eq!((newest.status, versions(&newest)), (206, vec![12]));

    let mut range = "version ..; max=5, order=desc".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = get(&platform, path, &[("Range", &range)]);
        seen.extend(versions(&page));
        let next = page.headers.get("next-range");
        assert_eq!(page.status, if next.is_some() { 206 } else { 200 });
        let Some(next) = next else { break };
        range.clone_from(next);
    }
    assert_eq!(seen, (1..=12).rev().collect::<Vec<_>>());
    let rest = get(&platform, path, &[("Range", "version ]10..")]);
    assert_eq!((rest.status, versions(&rest)), (200, vec![11, 12]));
    assert_eq!(get(&platform, path, &[("Range", "id ..; ;")]).status, 200);
    assert_eq!(get(&platform, path, &[("Range", "")]).status, 200);
    for range in ["version ..; max=many", "version 1 2", "version ..; order=up"] {
        assert_eq!(get(&platform, path, &[("Range", range)]).status, 416, "{range}");
    }
}

#[test]
fn every_answer_is_named_counted_and_tagged() {
    let platform = Platform::start();
    create(&platform, "tagged");
    let first = get(&platform, "/apps/tagged", &[]);
    let remaining = |answer: &Answer| answer.headers["ratelimit-remaining"].parse::<u32>().unwrap();
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(first.headers["request-id"].len(), 36);
    let tag = first.headers["etag"].clone();

    let again = get(&platform, "/apps/tagged", &[("If-None-Match", &tag)]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.headers["etag"], tag);
    assert_ne!(again.headers["request-id"], first.headers["request-id"]);
    // A budget comes back by and by: by less than is asked here.
    for _ in 1..50 {
        get(&platform, "/apps/tagged", &[]);
    }
    let last = get(&platform, "/apps/tagged", &[]);
    assert!(remaining(&last) < remaining(&first));
    assert_eq!(get(&platform, "/apps/tagged", &[("If-None-Match", "\"other\"")]).status, 200);

    owner(&platform, "PATCH", "/apps/tagged", &json!({"maintenance": true}));
    let changed = get(&platform, "/apps/tagged", &[("If-None-Match", &tag)]);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.headers["etag"], tag);

    for (accept, status) in [
        ("application/vnd.heroku+json; version=3", 200),
        ("application/vnd.heroku+json; version=3.sdk", 200),
        ("*/*", 200),
        ("application/vnd.heroku+json; version=2", 406),
        ("application/vnd.heroku+json; version=4", 406),
    ] {
        let answer = get(&platform, "/apps/tagged", &[("Accept", accept)]);
        assert_eq!(answer.status, status, "{accept}: {}", answer.body);
        assert!(answer.headers.contains_key("request-id"));
    }
    let limits: Value =
        serde_json::from_str(&get(&platform, "/account/rate-limits", &[]).body).unwrap();
    assert!((4000..4500).contains(&limits["remaining"].as_u64().unwrap()), "{limits}");
}
