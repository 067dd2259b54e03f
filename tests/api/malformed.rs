//! What no honest client sends: refused with a reason, never an internal error, and forgotten.

use super::{call, create, owner, token_of};
use lathe_tests::{Answer, Platform, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Routes that read a body, with something in every place that a body can have.
const BODIES: &[(&str, &str)] = &[
    ("POST", "/apps"),
    ("PATCH", "/apps/target"),
    ("PATCH", "/apps/target/config-vars"),
    ("POST", "/apps/target/collaborators"),
    ("POST", "/apps/target/domains"),
    ("POST", "/apps/target/log-drains"),
    ("POST", "/apps/target/log-sessions"),
    ("POST", "/apps/target/releases"),
    ("PATCH", "/apps/target/formation"),
    ("PATCH", "/apps/target/formation/web"),
    ("POST", "/apps/target/dynos"),
    ("POST", "/apps/target/builds"),
    ("PUT", "/apps/target/buildpack-installations"),
    ("POST", "/apps/target/slugs"),
    ("POST", "/oauth/authorizations"),
];

/// Every field that some route reads.
const FIELDS: &[&str] = &[
    "name",
    "maintenance",
    "build_stack",
    "user",
    "hostname",
    "url",
    "lines",
    "tail",
    "source",
    "dyno",
    "release",
    "slug",
    "description",
    "updates",
    "quantity",
    "size",
    "command",
    "attach",
    "env",
    "type",
    "force_no_tty",
    "source_blob",
    "buildpacks",
    "process_types",
    "commit",
    "checksum",
    "expires_in",
];

fn ask(platform: &Platform, method: &str, path: &str, body: &[u8]) -> Answer {
    call(platform, Some(&platform.token()), method, path, &[], body)
}

/// Refused by the API's own words.
fn told(answer: &Answer) -> bool {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (400..500).contains(&answer.status) && body["id"].is_string() && body["message"].is_string()
}

fn nothing_panicked(platform: &Platform) {
    let log = platform.log();
    assert!(!log.contains("panicked") && !log.contains("an API request failed"), "{log}");
}

#[test]
fn bodies_that_are_no_objects_are_refused_everywhere() {
    let platform = Platform::start();
    create(&platform, "target");
    let nested = [b"{\"name\": ".as_slice(), &vec![b'['; 100_000]].concat();
    let objects = b"{\"a\":".repeat(100_000);
    let long = [b"{\"name\": \"".as_slice(), &vec![b'a'; 3 << 20], b"\"}"].concat();
    let bodies: [(&str, &[u8], u16); 11] = [
        ("half an object", b"{", 400),
        ("a list", b"[\"stolen\"]", 400),
        ("null", b"null", 400),
        ("a text", b"\"name\"", 400),
        ("no JSON", b"name=target", 400),
        ("two objects", b"{} {}", 400),
        ("NaN", b"{\"lines\": NaN}", 400),
        ("invalid UTF-8", b"{\"name\": \"\xff\xfe\"}", 400),
        ("deep lists", &nested, 400),
        ("deep objects", &objects, 400),
        ("three megabytes", &long, 413),
    ];
    for (method, path) in BODIES {
        for (what, body, status) in bodies {
            let answer = ask(&platform, method, path, body);
            assert_eq!(answer.status, status, "{what} to {method} {path}: {}", answer.body);
            assert!(told(&answer), "{what} to {method} {path}: {}", answer.body);
        }
    }
    nothing_panicked(&platform);
}

#[test]
fn fields_of_the_wrong_kind_are_refused_and_unknown_ones_are_ignored() {
    let platform = Platform::start();
    create(&platform, "target");
    let values = [
        json!(9_223_372_036_854_775_808_u64),
        json!(-1),
        json!(1.5e300),
        json!([]),
        json!([[]]),
        json!({"a": {}}),
        json!(true),
        json!(""),
        json!("\0"),
        json!("../../etc/passwd"),
        json!("a".repeat(100_000)),
        Value::Null,
    ];
    for (method, path) in BODIES {
        for value in &values {
            let all = FIELDS.iter().map(|field| ((*field).to_owned(), value.clone()));
            let body = Value::Object(all.collect()).to_string();
            let answer = ask(&platform, method, path, body.as_bytes());
            let value: String = value.to_string().chars().take(40).collect();
            let tolerated = (200..300).contains(&answer.status);
            assert!(tolerated || told(&answer), "{value} to {method} {path}: {}", answer.body);
        }
    }
    let (status, app) = platform.api("POST", "/apps", &json!({"name": "known", "color": {"r": 1}}));
    assert_eq!((status, app["name"].as_str()), (201, Some("known")));
    // The last of equal names counts in a map; in an object of known fields there is one of each.
    let twice = ask(&platform, "PATCH", "/apps/known/config-vars", br#"{"A": "1", "A": "2"}"#);
    assert_eq!((twice.status, twice.body.as_str()), (200, r#"{"A":"2"}"#));
    let twice = ask(&platform, "POST", "/apps", br#"{"name": "one", "name": "two"}"#);
    assert!(twice.status == 400 && twice.body.contains("duplicate"), "{}", twice.body);
    nothing_panicked(&platform);
}

#[test]
fn names_outside_their_alphabet_are_refused() {
    let platform = Platform::start();
    create(&platform, "target");
    let cases: &[(&str, &str, Value)] = &[
        ("POST", "/apps", json!({"name": "../up"})),
        ("POST", "/apps", json!({"name": "a;reboot"})),
        ("POST", "/apps", json!({"name": "Target"})),
        ("POST", "/apps", json!({"name": "target"})),
        ("POST", "/apps", json!({"name": "a".repeat(31)})),
        ("PATCH", "/apps/target", json!({"name": "-x"})),
        ("PATCH", "/apps/target/config-vars", json!({"A=B": "1"})),
        ("PATCH", "/apps/target/config-vars", json!({"A": "a\0b"})),
        ("PATCH", "/apps/target/config-vars", json!({"A": "a".repeat(70_000)})),
        ("POST", "/apps/target/domains", json!({"hostname": "a b.example.com"})),
        ("POST", "/apps/target/domains", json!({"hostname": "other.localhost"})),
        ("POST", "/apps/target/collaborators", json!({"user": "a@b\r\nX: y"})),
        ("POST", "/apps/target/log-drains", json!({"url": "file:///etc/passwd"})),
        ("POST", "/apps/target/slugs", json!({"process_types": {"../web": "true"}})),
        ("POST", "/apps/target/slugs", json!({"process_types": {"web": "true\nworker: false"}})),
        ("POST", "/apps/target/slugs", json!({"process_types": {"web": ""}})),
        ("POST", "/apps/target/dynos", json!({"command": "true", "type": "../x"})),
        ("POST", "/apps/target/dynos", json!({"command": "true", "type": ""})),
        ("POST", "/apps/target/dynos", json!({"command": "true", "env": {"A=B": "1"}})),
        ("POST", "/apps/target/dynos", json!({"command": "true", "size": "planet"})),
        ("POST", "/oauth/authorizations", json!({"expires_in": 0})),
        ("POST", "/oauth/authorizations", json!({"user": "nobody"})),
    ];
    for (method, path, body) in cases {
        let (status, answer) = platform.api(method, path, body);
        assert_eq!(status, 422, "{method} {path} {body}: {answer}");
    }
    assert_eq!(owner(&platform, "GET", "/apps", &Value::Null).as_array().unwrap().len(), 1);
}

#[test]
fn paths_lead_nowhere_else() {
    let platform = Platform::start();
    create(&platform, "target");
    let long = format!("/apps/{}", "a".repeat(60_000));
    let paths = [
        "/apps/..%2f..%2fetc%2fpasswd",
        "/apps/target%2fconfig-vars",
        "/apps/target%00",
        "/apps/%ff%fe",
        "/apps/%2e%2e/account",
        "/apps/../account",
        "/apps/．．／account",
        "/apps/target/",
        "/apps//config-vars",
        "//apps",
        "/APPS/target",
        "/apps/target/releases/..%2f1",
        "/apps/target/releases/99999999999999999999",
        "/apps/target/releases/-1",
        "/oauth/authorizations/%ff",
        "/log-sessions/%ff",
        "/log-sessions/..%2f..%2fowner-token",
        "/sources/..%2fowner-token",
        "/sources/..%2f..%2fowner-token",
        "/slugs/x/..%2fowner-token",
        "/owner-token",
        "/%",
        "/apps/%zz",
        &long,
    ];
    for path in paths {
        let answer = ask(&platform, "GET", path, b"");
        let shown: String = path.chars().take(60).collect();
        assert!(matches!(answer.status, 400 | 404 | 414), "{shown}: {}", answer.status);
        assert!(!answer.body.contains("lth_"), "{shown}: {}", answer.body);
    }
    for (method, path) in [("PUT", "/apps/target"), ("TRACE", "/account"), ("POST", "/account")] {
        let answer = ask(&platform, method, path, b"");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(told(&answer), "{method} {path}: {}", answer.body);
    }
    nothing_panicked(&platform);
}

/// Sends requests one after the other on one connection and counts the answers by status.
fn flood(platform: &Platform, token: &str, count: usize) -> (usize, usize, String) {
    let mut stream = TcpStream::connect(platform.address("api_plain")).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let one = format!(
        "GET /account/rate-limits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    );
    let last = format!("{one}Connection: close\r\n\r\n");
    let all = format!("{one}\r\n").repeat(count - 1) + &last;
    let sender = std::thread::spawn(move || writer.write_all(all.as_bytes()));
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    sender.join().unwrap().unwrap();
    let refused = answers.split("HTTP/1.1 ").filter(|answer| answer.starts_with("429"));
    let (last, refused) = (refused.clone().last().unwrap_or_default().to_owned(), refused.count());
    (answers.matches("HTTP/1.1 200").count(), refused, last)
}

#[test]
fn who_asks_too_much_waits_and_nobody_else_does() {
    let platform = Platform::start();
    let token = token_of(&platform, "busy@example.com");
    let (served, refused, last) = flood(&platform, &token, 4700);
    assert_eq!(served + refused, 4700);
    // 4500, and what comes back while they are served.
    assert!((4500..4700).contains(&served), "{served} were served");
    let last = last.to_ascii_lowercase();
    for part in ["retry-after: 60", "ratelimit-remaining: 0", "\"id\":\"rate_limit\"", "request-id"]
    {
        assert!(last.contains(part), "no {part} in {last}");
    }
    let others = call(&platform, Some(&platform.token()), "GET", "/account", &[], b"");
    assert_eq!(others.status, 200);
    assert!(others.headers["ratelimit-remaining"].parse::<u32>().unwrap() > 4000);
    // What has come back meanwhile is soon spent by what takes no time, and then there is nothing left.
    until("it has to wait again", Duration::from_mins(1), || {
        let (status, why) = platform.api_as(Some(&token), "GET", "/account", &Value::Null);
        (status == 429).then(|| assert_eq!(why["id"], "rate_limit"))
    });
}

/// Whoever is nobody takes no place for as long as he likes: he is answered before what he has to say comes.
#[test]
fn who_is_nobody_is_not_listened_to() {
    let platform = Platform::start();
    let mut stream = TcpStream::connect(platform.address("api_plain")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head =
        "POST /oauth/authorizations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}
