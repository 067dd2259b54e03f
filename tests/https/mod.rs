//! HTTPS for apps: which certificate a client gets, and what becomes of those that are handed in.

mod acme;

use crate::clock::Clock;
use lathe_tests::{Authority, Platform, get, until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);
/// Answers with what it was told about the request.
const WEB: &str = "import http.server, os
class Told(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = (self.headers['X-Forwarded-Proto'] + ' ' + self.headers['X-Forwarded-Port']).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Told).serve_forever()
";

fn deploy(platform: &Platform, app: &str) {
    platform.release(app, &json!({"web": "python3 web.py"}), &[("web.py", WEB)]);
    until("it serves", BOUND, || (platform.app(app, "/").status == 200).then_some(()));
}

/// What curl gets for `https://HOST/`, trusting `roots` alone; or why it does not.
fn fetch(platform: &Platform, host: &str, roots: &Path) -> Result<String, String> {
    let address = platform.address("router_tls");
    let output = Command::new("curl")
        .args(["--disable", "--silent", "--show-error", "--fail", "--max-time", "30", "--cacert"])
        .arg(roots)
        .args(["--connect-to", &format!("::{address}"), &format!("https://{host}/")])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn gets(platform: &Platform, host: &str, roots: &Path) {
    let told = format!("https {}", platform.address("router_tls").port());
    until(&format!("{host} is served by TLS"), BOUND, || {
        (fetch(platform, host, roots).ok()? == told).then_some(())
    });
}

/// The app's whole log.
fn log(platform: &Platform) -> String {
    let session = platform.post("/apps/shop/log-sessions", &json!({"lines": 1500}));
    let url = session["logplex_url"].as_str().unwrap().split_once("://").unwrap().1;
    let path = &url[url.find('/').unwrap()..];
    get(platform.address("api_plain"), "localhost", path).body
}

fn given((chain, key): &(String, String)) -> Value {
    json!({"certificate_chain": chain, "private_key": key})
}

/// An app that is served at a name of its own, by a certificate of an authority whose own comes to `roots`.
/// The certificate, and its key.
fn open_shop(platform: &Platform, roots: &Path) -> (String, String) {
    deploy(platform, "shop");
    let ours = Authority::new("ours");
    std::fs::write(roots, ours.pem()).unwrap();
    platform.post("/apps/shop/domains", &json!({"hostname": "www.lathe.example"}));
    let pair = ours.issue(&["www.lathe.example"], (-1, 30));
    platform.post("/apps/shop/sni-endpoints", &given(&pair));
    gets(platform, "www.lathe.example", roots);
    pair
}

/// A call that has to be refused; why it is.
fn refused(platform: &Platform, method: &str, path: &str, body: &Value) -> String {
    let (status, answer) = platform.api(method, path, body);
    assert_eq!(status, 422, "{method} {path}: {answer}");
    answer["message"].as_str().unwrap().to_owned()
}

/// fault H13: names that nobody knows, and certificates that are no use.
#[test]
fn each_name_has_its_certificate_and_a_bad_one_replaces_none() {
    let platform = Platform::start();
    deploy(&platform, "shop");
    let room = tempfile::tempdir().unwrap();
    let (ours, own) = (Authority::new("ours"), platform.data().join("tls/ca.pem"));
    let roots = room.path().join("roots.pem");
    std::fs::write(&roots, ours.pem()).unwrap();

    // By the platform's own authority, before anybody has brought anything.
    gets(&platform, "shop.localhost", &own);
    let line = until("the line says how it came", BOUND, || {
        let log = log(&platform);
        log.lines().find(|line| line.contains("protocol=https")).map(str::to_owned)
    });
    assert!(line.ends_with(" protocol=https tls=true tls_version=tls1.3"), "{line}");

    for host in ["www.lathe.example", "api.lathe.example", "other.lathe.example"] {
        platform.post("/apps/shop/domains", &json!({"hostname": host}));
    }
    let good = ours.issue(&["www.lathe.example", "api.lathe.example"], (-1, 30));
    let added = platform.post("/apps/shop/sni-endpoints", &given(&good));
    gets(&platform, "www.lathe.example", &roots);
    gets(&platform, "api.lathe.example", &roots);
    // Neither has one; that they are answered at all is the default certificate's.
    for host in ["other.lathe.example", "nobody.lathe.example"] {
        let why = fetch(&platform, host, &own).unwrap_err();
        assert!(why.contains("no alternative certificate subject name matches"), "{host}: {why}");
    }

    let path = format!("/apps/shop/sni-endpoints/{}", added["name"].as_str().unwrap());
    let (other, late) =
        (ours.issue(&["x.example"], (-1, 30)), ours.issue(&["x.example"], (-9, -1)));
    let elsewhere = ours.issue(&["elsewhere.example"], (-1, 30));
    let chosen = json!({"sni_endpoint": added["name"]});
    let (status, domain) = platform.api("PATCH", "/apps/shop/domains/www.lathe.example", &chosen);
    assert_eq!((status, &domain["sni_endpoint"]["id"]), (200, &added["id"]), "{domain}");
    for (method, path, body, reason) in [
        ("PATCH", &*path, given(&(good.0.clone(), other.1.clone())), "does not match"),
        ("PATCH", &path, given(&late), "expired at"),
        ("PATCH", &path, given(&("junk".into(), "junk".into())), "no certificate"),
        ("PATCH", &path, given(&elsewhere), "not for www.lathe.example"),
        ("POST", "/apps/shop/sni-endpoints", given(&(good.0.clone(), other.1)), "does not match"),
        ("PATCH", "/apps/shop/domains/other.lathe.example", chosen, "not for other.lathe.example"),
        ("POST", "/apps/shop/acm", Value::Null, "acme.email"),
    ] {
        let why = refused(&platform, method, path, &body);
        assert!(why.contains(reason), "{method} {path}: {reason:?} is not in {why:?}");
    }
    gets(&platform, "www.lathe.example", &roots);

    // Another one; and when that is gone, the default certificate.
    let renewed = ours.issue(&["www.lathe.example"], (-1, 60));
    let (status, shown) = platform.api("PATCH", &path, &given(&renewed));
    assert_eq!((status, &shown["ssl_cert"]["cert_domains"]), (200, &json!(["www.lathe.example"])));
    until("the other name has none any more", BOUND, || {
        fetch(&platform, "api.lathe.example", &roots).is_err().then_some(())
    });
    gets(&platform, "www.lathe.example", &roots);
    assert_eq!(platform.api("DELETE", &path, &Value::Null).0, 200);
    until("it is gone", BOUND, || fetch(&platform, "www.lathe.example", &roots).err());
}

/// fault H13: everything but the router is dead, and then the router has to start alone.
#[test]
fn certificates_outlive_the_platform() {
    let mut platform = Platform::start();
    let room = tempfile::tempdir().unwrap();
    let roots = room.path().join("roots.pem");
    let (_, key) = open_shop(&platform, &roots);
    let door = platform.address("router_tls");

    let told = format!("https {}", door.port());
    let serves = || {
        let output = Command::new("curl")
            .args(["--disable", "--silent", "--fail", "--max-time", "30", "--cacert"])
            .arg(&roots)
            .args(["--connect-to", &format!("::{door}"), "https://www.lathe.example/"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout) == told
    };
    platform.kill();
    assert!(serves(), "the router goes on");
    // A state that cannot be read: what routers have to know is in their own file.
    let state = platform.data().join("state.db");
    let sound = std::fs::read(&state).unwrap();
    std::fs::write(&state, b"damaged ".repeat(1000)).unwrap();
    platform.up();
    assert_eq!(platform.address("router_tls"), door, "the socket is the same");
    assert!(serves(), "with a state that cannot be read");
    platform.kill();
    std::fs::write(&state, sound).unwrap();
    platform.up();
    gets(&platform, "www.lathe.example", &roots);
    let key = key.lines().nth(1).unwrap();
    let holds = |file: &str| {
        let text = std::fs::read(platform.data().join(file)).unwrap();
        text.windows(key.len()).any(|window| window == key.as_bytes())
    };
    assert!(holds("cell/router/keyring.json") && !holds("state.db"));
}

/// fault H13: a certificate that nobody has renewed. It is served on, and both the app's owner and
/// whoever looks after the machine are told.
#[test]
fn an_expired_certificate_is_served_and_told_of() {
    let clock = Clock::right();
    let mut platform = Platform::start_within(&clock.environment());
    let room = tempfile::tempdir().unwrap();
    let roots = room.path().join("roots.pem");
    open_shop(&platform, &roots);
    let doctor = |platform: &Platform| {
        let output = platform.command().arg("doctor").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!doctor(&platform).contains("www.lathe.example"));

    // For the platform; clients have their own clock, and see which one is served.
    clock.set("+40d");
    platform.stop();
    platform.up();
    until("its owner is told", BOUND, || {
        let log = log(&platform);
        (log.contains("for www.lathe.example expired at") && log.contains("served all the same"))
            .then_some(())
    });
    gets(&platform, "www.lathe.example", &roots);
    let said = doctor(&platform);
    assert!(said.contains("hm   certificates: www.lathe.example has expired"), "{said}");
}
