//! The drills of the product, as short as they get.

use lathe_tests::host;
use lathe_tests::{lathe, unique_network};
use serde_json::Value;
use std::process::Command;

/// fault R14: keeper, platform, spawner and router die again and again, alone and together.
#[test]
fn no_visitor_notices_that_the_platforms_parts_are_killed() {
    host::needs(host::PLATFORM);
    let mut drill = Command::new(lathe());
    drill.args(["--set", &format!("network={}", unique_network()), "drill", "kill", "--json"]);
    let output = drill.args(["--for", "1", "--visitors", "4"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(report.is_object(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["keeper", "platform", "spawner", "router"] {
        assert!(report["kills"][part].as_u64() > Some(0), "{part}: {said}");
    }
    assert!(report["visits"]["right"].as_u64() > Some(100), "{said}");
    for failed in ["cut", "refused", "other_status", "wrong_app"] {
        assert_eq!(report["visits"][failed], 0, "{failed}: {said}");
    }
    assert_eq!(report["dynos_lost"], serde_json::json!([]), "{said}");
}
