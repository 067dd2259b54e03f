//! The Platform API from outside: who may do what, what it refuses, and what it answers.

mod access;
mod archives;
mod lists;
mod logs;
mod malformed;
mod resources;
mod secrets;
mod shapes;
mod slugs;
mod tokens;

use lathe_tests::{Answer, Platform, request, until};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);

/// A web process that answers with its dyno's name and the config var `GREETING`.
const WEB: &str = "\
import http.server, os
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (os.environ['DYNO'] + ' ' + os.environ.get('GREETING', 'none')).encode()
        print('served', self.path, flush=True)
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Hello).serve_forever()
";

/// A call with everything that comes back. `body` is sent as it is.
fn call(
    platform: &Platform,
    token: Option<&str>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut all = vec![("Content-Type", "application/json")];
    all.extend(bearer.iter().map(|value| ("Authorization", value.as_str())));
    all.extend(headers);
    let answer = request(platform.address("api_plain"), method, "localhost", path, &all, body);
    answer.unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

/// A call as the owner that has to succeed; gives the answer's JSON.
fn owner(platform: &Platform, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = platform.api(method, path, body);
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

fn create(platform: &Platform, name: &str) -> Value {
    owner(platform, "POST", "/apps", &json!({"name": name}))
}

/// A token of somebody else's, made by the operator.
fn token_of(platform: &Platform, email: &str) -> String {
    let made = owner(platform, "POST", "/oauth/authorizations", &json!({"user": email}));
    text(&made["access_token"]["token"])
}

/// The same address on the plain door: what the API gives away is an https URL.
fn path_of(url: &Value) -> String {
    let (_, rest) = url.as_str().unwrap().split_once("://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// A gzip tar of files below `./<top>`, as a slug (`app`) or a source archive.
fn archive(top: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(top).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tar = Command::new("tar").args(["-czf", "-", "-C"]).arg(dir.path()).arg(".").output();
    tar.unwrap().stdout
}

/// Describes and uploads a slug that serves [`WEB`]; gives its id.
fn upload_slug(platform: &Platform, app: &str) -> String {
    let described = json!({"process_types": {"web": "python3 web.py", "worker": "sleep 1000"}});
    let slug = owner(platform, "POST", &format!("/apps/{app}/slugs"), &described);
    let blob = archive("app", &[("web.py", WEB)]);
    let put = call(platform, None, "PUT", &path_of(&slug["blob"]["url"]), &[], &blob);
    assert_eq!(put.status, 200, "{}", put.body);
    text(&slug["id"])
}

/// An app that serves, made without git.
fn deploy(platform: &Platform, app: &str) -> Value {
    create(platform, app);
    let slug = upload_slug(platform, app);
    let release = owner(platform, "POST", &format!("/apps/{app}/releases"), &json!({"slug": slug}));
    until("the app serves", BOUND, || (platform.app(app, "/").status == 200).then_some(()));
    release
}
