//! Drains as their receivers see them: Debian's rsyslog, one that misbehaves, one that is
//! none of theirs, and a platform that dies.

mod conservation;
mod flood;
mod gone;
mod inside;
mod rsyslog;

use lathe_tests::Platform;
use serde_json::{Value, json};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(2);

/// Adds a drain and gives its token.
fn drain(platform: &Platform, app: &str, url: &str) -> String {
    let drain = platform.post(&format!("/apps/{app}/log-drains"), &json!({"url": url}));
    drain["token"].as_str().unwrap().to_owned()
}

fn counts(platform: &Platform, app: &str) -> Value {
    let (status, counts) = platform.api("GET", &format!("/apps/{app}/log-counts"), &Value::Null);
    assert_eq!(status, 200, "{counts}");
    let of = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(of("emitted"), of("stored") + of("evicted") + of("dropped"), "{counts}");
    for drain in counts["drains"].as_array().unwrap() {
        let of = |name: &str| drain[name].as_u64().unwrap();
        assert_eq!(of("taken"), of("delivered") + of("dropped") + of("pending"), "{counts}");
    }
    counts
}
