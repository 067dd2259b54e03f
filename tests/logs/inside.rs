//! Drains that lead to where only the platform could get: to the machine itself and what is around it.

use super::{BOUND, drain};
use lathe_tests::{Platform, Receiver, host, until};
use serde_json::{Value, json};
use std::process::Command;

/// An address that this machine has for others.
fn own_address() -> String {
    let output = Command::new("ip").args(["-json", "-4", "address"]).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut addresses = links.as_array().unwrap().iter().flat_map(|link| {
        let addresses = link["addr_info"].as_array().unwrap().iter();
        addresses.filter(|address| address["scope"] == "global")
    });
    addresses.next().expect("an address")["local"].as_str().unwrap().to_owned()
}

/// fault L3: an app's log says why nothing goes there, and nothing does.
#[test]
fn a_drain_leads_nowhere_inside() {
    host::needs(&[host::IP]);
    let own = own_address();
    let platform = Platform::start();
    let receivers = ["127.0.0.1", &own].map(Receiver::start);
    platform.post("/apps", &json!({"name": "curious"}));
    let port = receivers[0].address().port();
    let mut refusals = Vec::new();
    for (url, reason) in [
        (receivers[0].url(), "127.0.0.1 is "),
        (format!("http://localhost:{port}/"), " is "),
        (format!("syslog://2130706433:{port}"), "127.0.0.1 is "),
        (receivers[1].url(), "is the platform's own"),
        ("http://169.254.169.254/".to_owned(), "is a link-local address"),
    ] {
        drain(&platform, "curious", &url);
        refusals.push((format!("Drain {}", url.trim_end_matches('/')), reason));
    }
    // Something to be sent there.
    let vars = json!({"SAID": "yes"});
    assert_eq!(platform.api("PATCH", "/apps/curious/config-vars", &vars).0, 200);
    for (drain, reason) in refusals {
        until(&format!("{drain} is refused"), BOUND, || {
            let log = platform.logs("curious");
            log.lines().any(|line| line.contains(&drain) && line.contains(reason)).then_some(())
        });
    }
    for receiver in receivers {
        assert_eq!(receiver.messages(), Vec::<String>::new());
    }
}
