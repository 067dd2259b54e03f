//! Certificates that an authority issues by itself: had, renewed, and kept when it fails.

use super::{BOUND, deploy, gets, log};
use lathe_tests::{Acme, Mood, Platform, until};
use serde_json::{Value, json};
use std::path::Path;

const WELL: Mood = Mood::Well { days: (-1, 89) };
/// Its last third has begun.
const ENDING: Mood = Mood::Well { days: (-80, 10) };

/// How far the name has come: status, reason, its certificate's id.
fn seen(platform: &Platform, host: &str) -> (Value, String, Value) {
    let (_, domain) = platform.api("GET", &format!("/apps/shop/domains/{host}"), &Value::Null);
    let reason = domain["acm_status_reason"].as_str().unwrap_or_default().to_owned();
    (domain["acm_status"].clone(), reason, domain["sni_endpoint"]["id"].clone())
}

fn becomes(platform: &Platform, host: &str, status: &str, reason: &str) {
    until(&format!("{host} is {status}: {reason}"), BOUND, || {
        let (found, why, _) = seen(platform, host);
        (found == status && why.contains(reason)).then_some(())
    });
}

/// What is served now, as its update time says.
fn issued_at(platform: &Platform, host: &str) -> Value {
    let (.., id) = seen(platform, host);
    let path = format!("/apps/shop/sni-endpoints/{}", id.as_str().unwrap_or("none"));
    platform.api("GET", &path, &Value::Null).1["updated_at"].clone()
}

fn refresh(platform: &Platform) {
    let (status, app) = platform.api("PATCH", "/apps/shop/acm", &json!({"acm_refresh": true}));
    assert_eq!((status, &app["acm"]), (200, &json!(true)));
}

fn started(acme: &Acme, roots: &Path) -> Platform {
    let roots = roots.display();
    Platform::start_with(&[
        "acme.email=ops@lathe.example.org",
        &format!("acme.directory={}", acme.directory()),
        &format!("acme.authorities={roots}"),
    ])
}

/// fault H13: the authority is down, asked too often, and believes no answer.
#[test]
fn certificates_come_by_themselves_and_stay_when_the_authority_fails() {
    let (acme, room) = (Acme::start(), tempfile::tempdir().unwrap());
    let roots = room.path().join("roots.pem");
    std::fs::write(&roots, acme.root()).unwrap();
    let platform = started(&acme, &roots);
    acme.asks(platform.address("router"));
    deploy(&platform, "shop");
    let (first, second) = ("www.shop-one.org", "www.shop-two.org");
    platform.post("/apps/shop/domains", &json!({"hostname": first}));

    // Down from the start: said, and tried again.
    assert_eq!(platform.post("/apps/shop/acm", &json!({}))["acm"], true);
    becomes(&platform, first, "failing", "cannot connect to localhost");
    acme.is(ENDING);
    refresh(&platform);
    becomes(&platform, first, "cert issued", "");
    gets(&platform, first, &roots);
    let before = issued_at(&platform, first);

    // It is time to renew: each thing that goes wrong leaves what there is.
    for (mood, reason) in [
        (Mood::Limited, "too many certificates"),
        (Mood::Doubtful, "the answer was another"),
        (Mood::Down, "cannot connect"),
    ] {
        acme.is(mood);
        refresh(&platform);
        becomes(&platform, first, "failing", reason);
        gets(&platform, first, &roots);
        assert_eq!(issued_at(&platform, first), before, "{mood:?}");
    }
    let log = log(&platform);
    for said in ["heroku[certs]: Certificate for", "The one there is stays", "expires in 9 days"] {
        assert!(log.contains(said), "{said:?} is not in {log}");
    }
    acme.is(WELL);
    refresh(&platform);
    becomes(&platform, first, "cert issued", "");
    until("it is renewed", BOUND, || (issued_at(&platform, first) != before).then_some(()));

    // Another name, by itself; and a name that goes takes its certificate along.
    platform.post("/apps/shop/domains", &json!({"hostname": second}));
    becomes(&platform, second, "cert issued", "");
    gets(&platform, second, &roots);
    assert_eq!(
        platform.api("DELETE", &format!("/apps/shop/domains/{second}"), &Value::Null).0,
        200
    );
    let endpoints = || platform.api("GET", "/apps/shop/sni-endpoints", &Value::Null).1;
    until("one is left", BOUND, || (endpoints().as_array()?.len() == 1).then_some(()));
    let orders = acme.orders();

    let (status, app) = platform.api("DELETE", "/apps/shop/acm", &Value::Null);
    assert_eq!((status, &app["acm"]), (200, &json!(false)));
    assert_eq!(endpoints(), json!([]));
    assert_eq!(acme.orders(), orders, "nothing was ordered without need");
}
