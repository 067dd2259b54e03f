//! The same app on our own engine and on a Docker daemon's; images of our own registry; a daemon
//! that is killed and stopped.

use lathe_tests::{Answer, Checkout, Dockerd, OneOff, Platform, cpu_quota, get, request, until};
use serde_json::{Value, json};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);
/// The first image on a machine waits for the stack's layer to be made.
const PULL_BOUND: Duration = Duration::from_mins(5);

const WEB: &str = "import http.server, os, sys\n\
    class Hello(http.server.BaseHTTPRequestHandler):\n\
    \x20   def do_GET(self):\n\
    \x20       body = (os.environ.get('GREETING', 'hello') + ' ' + os.environ['DYNO']).encode()\n\
    \x20       self.send_response(200)\n\
    \x20       self.send_header('Content-Length', str(len(body)))\n\
    \x20       self.end_headers()\n\
    \x20       self.wfile.write(body)\n\
    print('ready to serve', flush=True)\n\
    http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Hello).serve_forever()\n";

const GROUP: &str = "{{.HostConfig.CgroupParent}}";

/// All that it may write; and its slug is there, to be changed too.
const FILL: &str =
    "head -c 9G /dev/zero 2>&1 >fill | grep -o 'No space'; rm fill lines.txt; ls *.*";

const HOG: &str = "python3 -c \"x = bytearray(900 << 20); input()\"";

/// What the app's log holds.
fn log(platform: &Platform) -> String {
    let body = json!({"lines": 1500});
    let (status, session) = platform.api("POST", "/apps/ship/log-sessions", &body);
    assert_eq!(status, 201, "{session}");
    let url = session["logplex_url"].as_str().unwrap();
    let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
    get(platform.address("api_plain"), "localhost", &path).body
}

fn log_has(platform: &Platform, line: &str) {
    until(&format!("the log has {line:?}"), BOUND, || log(platform).contains(line).then_some(()));
}

fn serves(platform: &Platform, text: &str) {
    until(&format!("{text:?} is served"), PULL_BOUND, || {
        (platform.app("ship", "/").body == text).then_some(())
    });
}

/// Everything that a user sees of an app must be the same, whoever runs it.
fn push_serve_log_and_run(platform: &Platform) {
    let (status, app) = platform.api("POST", "/apps", &json!({"name": "ship"}));
    assert_eq!(status, 201, "{app}");
    let files = [("Procfile", "web: python3 web.py\n"), ("web.py", WEB), ("lines.txt", "a\nb\n")];
    Checkout::new(platform, "ship", &files).push().accepted();
    assert_eq!(platform.app("ship", "/").body, "hello web.1");
    log_has(platform, "app[web.1]: ready to serve");
    log_has(platform, "State changed from starting to up");

    for (command, pipes, input, output, status) in [
        ("stty size; cat lines.txt; exit 3", false, "", "50 132\r\na\r\nb\r\n", 3),
        ("read line; echo \"<$line>\"", false, "word\r", "word\r\n<word>\r\n", 0),
        ("wc -l; pwd", true, "a\nb\nc\n\x04", "3\n/app\n", 0),
        // One stream at a time: a daemon reads each by itself, and promises no order between them.
        ("echo out; kill -TERM $$", true, "", "out\n", 143),
        ("echo err >&2; exit 4", true, "", "err\n", 4),
        (FILL, true, "", "No space\nweb.py\n", 0),
    ] {
        let env = json!({"LINES": 50, "COLUMNS": 132});
        let body = json!({"env": env, "force_no_tty": pipes});
        let one_off = OneOff::ask(platform, "ship", command, &body);
        let mut session = one_off.attach(platform);
        session.send(input.as_bytes());
        assert_eq!(session.end(), output, "{command}");
        let name = &one_off.name;
        log_has(platform, &format!("heroku[{name}]: Process exited with status {status}"));
    }
    let hog = OneOff::ask(platform, "ship", HOG, &json!({"force_no_tty": true, "size": "basic"}));
    drop(hog.attach(platform).end());
    log_has(platform, &format!("heroku[{}]: Error R15 (Memory quota vastly exceeded)", hog.name));

    let (status, _) = platform.api("PATCH", "/apps/ship/config-vars", &json!({"GREETING": "hej"}));
    assert_eq!(status, 200);
    serves(platform, "hej web.1");
}

#[test]
fn an_app_is_the_same_on_our_own_engine() {
    push_serve_log_and_run(&Platform::start());
}

/// fault R9, R11: the governor is killed with the platform; the daemon is killed, stopped and asked to come back; nothing of others is touched.
#[test]
fn an_app_is_the_same_on_a_docker_daemon_which_may_be_killed_and_stopped() {
    let Some(daemon) = Dockerd::up() else { return };
    let mut platform = Platform::start_with(&[
        "engine=docker",
        &format!("docker.socket={}", daemon.socket().display()),
        &format!("docker.network={}", daemon.subnet(0)),
        &format!("docker.registry={}", daemon.host()),
        "listen.api_tls=0.0.0.0:0",
        "governor.load_percent=1000000",
    ]);
    push_serve_log_and_run(&platform);
    assert!(platform.dynos().is_empty(), "our own engine runs none: {:?}", platform.dynos());
    let dynos = || daemon.says(&["ps", "--quiet", "--no-trunc", "--filter", "label=lathe.dyno"]);
    let before = until("the old dyno has ended", BOUND, || {
        Some(dynos()).filter(|dynos| dynos.lines().count() == 1)
    });

    images_are_pulled_by_those_who_may_see_the_app(&platform, &daemon);

    let id = |container: &str| daemon.says(&["inspect", "--format", GROUP, container]);
    let group = id(before.trim()).rsplit('/').next().unwrap().trim().to_owned();
    let quota_is = |wanted: u64| {
        until("its quota is that", BOUND, || (cpu_quota(&group) == Some(wanted)).then_some(()));
    };
    let enforce = ["cpu:set", "enforce", "100", "--app", "ship", "--for", "1h"];
    assert!(platform.command().args(enforce).status().unwrap().success());
    log_has(&platform, "CPU credits are enforced");
    quota_is(100_000);
    platform.kill();
    quota_is(25_000);
    platform.up();
    serves(&platform, "hej web.1");
    daemon.kill();
    assert_eq!(platform.app("ship", "/").body, "hej web.1", "without a daemon");
    daemon.revive();
    daemon.signal("STOP");
    assert_eq!(platform.app("ship", "/").body, "hej web.1", "beside a daemon that hangs");
    daemon.signal("CONT");
    assert_eq!(dynos(), before, "the same dyno all the time");
    assert_eq!(platform.api("DELETE", "/apps/ship/dynos/web.1", &Value::Null).0, 202);
    until("another dyno", BOUND, || {
        assert_eq!(platform.app("ship", "/").status, 200, "a restart must not blink");
        let now = dynos();
        (now.lines().count() == 1 && now != before).then_some(())
    });

    // The other engine chosen: the dyno goes on until it is replaced.
    let before = dynos();
    platform.stop();
    platform.set("engine=native");
    platform.up();
    serves(&platform, "hej web.1");
    assert_eq!((dynos(), platform.dynos().len()), (before, 0));
    assert_eq!(platform.api("DELETE", "/apps/ship/dynos/web.1", &Value::Null).0, 202);
    until("our own engine runs it", BOUND, || {
        assert_eq!(platform.app("ship", "/").status, 200, "a change of engines must not blink");
        (platform.dynos().len() == 1 && dynos().is_empty()).then_some(())
    });

    drop(platform);
    let left = daemon.says(&["ps", "--all", "--format", "{{.Names}}"]);
    assert_eq!(left, "stranger", "what is not ours stays, and nothing else");
    let networks = daemon.says(&["network", "ls", "--filter", "label=lathe.instance", "--quiet"]);
    assert_eq!(networks, "");
}

fn images_are_pulled_by_those_who_may_see_the_app(platform: &Platform, daemon: &Dockerd) {
    let host = format!("{}:{}", daemon.host(), platform.address("api_tls").port());
    let image = format!("{host}/ship:v2");
    let log_in = |token: &str| {
        daemon.docker(&["login", "--username", "x", "--password", token, &host]).output().unwrap()
    };
    let pull = || daemon.docker(&["pull", &image]).output().unwrap();
    assert!(!pull().status.success(), "nobody is logged in");
    assert!(!log_in("wrong").status.success());
    assert!(log_in(&platform.token()).status.success());
    let pulled = pull();
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let missing = daemon.docker(&["pull", &format!("{host}/other:v2")]).output().unwrap();
    assert!(!missing.status.success(), "there is no such app");

    let command = "cat lines.txt; echo $PORT ${GREETING:-none}";
    let said = daemon.says(&["run", "--rm", "--network=none", &image, command]);
    assert_eq!(said, "a\nb\n5000 none", "as in a dyno, but without its config");
    let sleeping = ["run", "--detach", "--name=stranger", "--network=none", &image, "sleep 1000"];
    daemon.says(&sleeping);
}

fn registry(platform: &Platform, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let token = format!("Bearer {}", platform.token());
    let headers = [&[("Authorization", token.as_str())], headers].concat();
    let address = platform.address("api_plain");
    request(address, method, "localhost", path, &headers, b"").expect("the registry answers")
}

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn images_are_described_in_both_forms_and_layers_come_in_pieces() {
    let platform = Platform::start();
    let (status, app) = platform.api("POST", "/apps", &json!({"name": "ship"}));
    assert_eq!(status, 201, "{app}");
    let files = [("Procfile", "worker: sleep 1000\n")];
    Checkout::new(&platform, "ship", &files).push().accepted();
    platform.awaits_image("ship", "v2");
    for form in [DOCKER, OCI] {
        let by_tag = registry(&platform, "GET", "/v2/ship/manifests/v2", &[("Accept", form)]);
        assert_eq!((by_tag.status, by_tag.headers["content-type"].as_str()), (200, form));
        let digest = &by_tag.headers["docker-content-digest"];
        let path = format!("/v2/ship/manifests/{digest}");
        let by_digest = registry(&platform, "GET", &path, &[]);
        assert_eq!((by_digest.status, &by_digest.body), (200, &by_tag.body));
        assert_eq!(by_digest.headers["content-type"], form);
        let latest = registry(&platform, "HEAD", "/v2/ship/manifests/latest", &[("Accept", form)]);
        assert_eq!((latest.status, latest.body.as_str()), (200, ""));
        assert_eq!(&latest.headers["docker-content-digest"], digest);

        let manifest: Value = serde_json::from_str(&by_tag.body).unwrap();
        let parts = [&manifest["config"], &manifest["layers"][0], &manifest["layers"][1]];
        for part in parts {
            let path = format!("/v2/ship/blobs/{}", part["digest"].as_str().unwrap());
            let head = registry(&platform, "HEAD", &path, &[]);
            let length = part["size"].as_u64().unwrap();
            assert_eq!((head.status, &head.headers["content-length"]), (200, &length.to_string()));
            for (range, status, of) in [
                ("bytes=0-1".to_owned(), 206, format!("bytes 0-1/{length}")),
                (
                    format!("bytes={}-", length - 2),
                    206,
                    format!("bytes {}-{}/{length}", length - 2, length - 1),
                ),
                (format!("bytes={length}-"), 416, format!("bytes */{length}")),
            ] {
                let piece = registry(&platform, "GET", &path, &[("Range", &range)]);
                assert_eq!((piece.status, &piece.headers["content-range"]), (status, &of));
            }
        }
    }
    for (method, path, status, code) in [
        ("GET", "/v2/ship/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/ship/manifests/v9", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/ship/manifests/..%2f", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/other/manifests/v2", 404, "NAME_UNKNOWN"),
        ("PUT", "/v2/ship/manifests/v2", 405, "UNSUPPORTED"),
        ("POST", "/v2/ship/blobs/uploads/", 405, "UNSUPPORTED"),
    ] {
        let refused = registry(&platform, method, path, &[]);
        assert_eq!(refused.status, status, "{method} {path}: {}", refused.body);
        let said: Value = serde_json::from_str(&refused.body).unwrap();
        assert_eq!(said["errors"][0]["code"], code, "{path}");
    }
}
