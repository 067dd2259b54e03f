//! What is counted of an app is counted as long as there is the app.

use super::{BOUND, counts};
use lathe_tests::{Checkout, Platform, request, until};
use serde_json::{Value, json};

const FILES: [(&str, &str); 1] = [("Procfile", "web: python3 -m http.server $PORT\n")];

#[test]
fn what_the_dynos_of_an_app_that_is_no_more_say_is_forgotten() {
    let mut platform = Platform::start();
    for app in ["kept", "gone"] {
        drop(platform.post("/apps", &json!({"name": app})));
        Checkout::new(&platform, app, &FILES).push().accepted();
    }
    let (_, gone) = platform.api("DELETE", "/apps/gone", &Value::Null);
    let gone = gone["id"].as_str().unwrap();
    // Their ends are told after the app was forgotten.
    until("it is counted again", BOUND, || metrics(&platform).contains(gone).then_some(()));
    until("one runs, and nothing is left of any other", BOUND, || {
        let places = std::fs::read_dir(platform.data().join("cell/dynos")).unwrap().count();
        let (of_apps, routers) = (platform.dynos().len(), platform.routers().len());
        (of_apps == 1 && places == of_apps + routers).then_some(())
    });
    let emitted = |platform: &Platform| counts(platform, "kept")["emitted"].as_u64().unwrap();
    let before = emitted(&platform);
    platform.stop();
    platform.up();
    until("it is forgotten", BOUND, || (!metrics(&platform).contains(gone)).then_some(()));
    assert!(emitted(&platform) >= before, "what is there keeps its count");
}

fn metrics(platform: &Platform) -> String {
    let token = format!("Bearer {}", platform.token());
    let (plain, headers) = (platform.address("api_plain"), [("Authorization", token.as_str())]);
    request(plain, "GET", "localhost", "/metrics", &headers, b"").unwrap().body
}
