//! Log sessions in both forms, and drains that deliver where they may and nowhere else.

use super::{BOUND, call, deploy, owner, path_of, text};
use lathe_tests::{Platform, Receiver, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

fn session(platform: &Platform, app: &str, wishes: &Value) -> String {
    let session = owner(platform, "POST", &format!("/apps/{app}/log-sessions"), wishes);
    path_of(&session["logplex_url"])
}

/// An app whose last line is the request it has served; the router's line of it is there, too.
fn serving(platform: &Platform, app: &str, path: &str) {
    deploy(platform, app);
    platform.app(app, path);
    until("the lines are there", BOUND, || {
        let lines = platform.logs(app);
        let both = [format!("served {path}"), format!("method=GET path=\"{path}\"")];
        both.iter().all(|text| lines.contains(text)).then_some(())
    });
}

#[test]
fn a_session_gives_lines_as_text_or_events_and_resumes() {
    let platform = Platform::start();
    serving(&platform, "spoken", "/first");
    let read = |wishes: &Value, headers: &[(&str, &str)]| {
        call(&platform, None, "GET", &session(&platform, "spoken", wishes), headers, b"")
    };
    let plain = read(&json!({"lines": 1500}), &[]);
    assert_eq!(plain.headers["content-type"], "application/logplex-1");
    for part in [
        "app[api]: Initial release by user owner@lathe.local",
        "app[web.1]: served /first",
        "heroku[router]: at=info method=GET path=\"/first\"",
    ] {
        assert!(plain.body.contains(part), "no {part:?} in\n{}", plain.body);
    }
    for line in plain.body.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 32 && time.ends_with("+00:00"), "{line}");
        assert!(rest.starts_with("app[") || rest.starts_with("heroku["), "{line}");
    }
    assert_eq!(read(&json!({"lines": 2}), &[]).body.lines().count(), 2);
    let router = read(&json!({"source": "heroku", "dyno": "router"}), &[]).body;
    assert!(!router.is_empty() && router.lines().all(|line| line.contains("heroku[router]")));

    let url = session(&platform, "spoken", &json!({"dyno_name": "web.1"}));
    let events = call(&platform, None, "GET", &url, &[EVENTS], b"");
    assert_eq!(events.headers["content-type"], "text/event-stream");
    let ids: Vec<&str> = events.body.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let event = events.body.split("\n\n").find(|event| event.contains("served /first")).unwrap();
    let (id, data) = event.split_once("\ndata: ").unwrap();
    assert!(id.starts_with("id: ") && data.contains("app[web.1]: served"), "{event}");
    let last = ids.last().unwrap();
    let again = call(&platform, None, "GET", &url, &[EVENTS, ("Last-Event-ID", last)], b"");
    assert_eq!((again.status, again.body.as_str()), (200, ""), "nothing is told twice");
    platform.app("spoken", "/second");
    until("only what is new", BOUND, || {
        let again = call(&platform, None, "GET", &url, &[EVENTS, ("Last-Event-ID", last)], b"");
        assert!(!again.body.contains("/first"), "{}", again.body);
        again.body.contains("served /second").then_some(())
    });

    assert_eq!(platform.api("POST", "/apps/spoken/log-sessions", &json!({"source": "x"})).0, 422);
    assert_eq!(call(&platform, None, "GET", "/log-sessions/guessed", &[], b"").status, 404);
}

/// Follows a session: every line that comes, of the events and of what is around them.
fn follow(platform: &Platform, url: &str, last: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(platform.address("api_plain")).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let head =
        format!("GET {url} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{last}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    BufReader::new(stream).lines().map_while(Result::ok)
}

#[test]
fn a_tail_goes_on_until_its_reader_goes_away() {
    let platform = Platform::start();
    serving(&platform, "tailed", "/first");
    let url = session(&platform, "tailed", &json!({"tail": true, "lines": 1, "source": "app"}));
    let mut lines = follow(&platform, &url, "");
    assert!(lines.any(|line| line.contains("served /first")));
    for path in ["/second", "/third"] {
        platform.app("tailed", path);
        assert!(lines.any(|line| line.contains(&format!("served {path}"))), "{path} is told");
    }
}

#[test]
fn a_tail_that_was_cut_goes_on_after_the_last_event_even_on_another_platform() {
    let mut platform = Platform::start();
    serving(&platform, "resumed", "/first");
    let wishes = json!({"tail": true, "source": "app", "dyno": "web.1"});
    let url = session(&platform, "resumed", &wishes);
    let mut lines = follow(&platform, &url, "");
    let mut last = String::new();
    for line in lines.by_ref() {
        if let Some(id) = line.strip_prefix("id: ") {
            last = format!("Last-Event-ID: {id}\r\n");
        }
        if line.contains("served /first") {
            break;
        }
    }
    platform.app("resumed", "/missed-1");
    assert!(lines.any(|line| line.contains("served /missed-1")), "the log has it");
    platform.writes_down("served /missed-1");
    platform.kill();
    assert!(lines.all(|line| !line.contains("/missed-2")), "it ends with the platform");
    platform.up();
    until("the app answers", BOUND, || {
        (platform.app("resumed", "/missed-2").status == 200).then_some(())
    });
    let mut told = follow(&platform, &url, &last).filter_map(|line| {
        line.strip_prefix("data: ")?.split_once("served ").map(|(_, path)| path.to_owned())
    });
    let first = told.next();
    assert_eq!(first.as_deref(), Some("/missed-1"), "neither before nor after");
    assert_eq!(told.next().as_deref(), Some("/missed-2"));
    platform.app("resumed", "/fresh");
    assert!(told.any(|path| path == "/fresh"), "and it follows");
}

#[test]
fn a_drain_delivers_where_the_operator_allows_and_nowhere_else() {
    let platform = Platform::start_with(&["drains.allow=127.0.0.1"]);
    deploy(&platform, "drained");
    let allowed = Receiver::start("127.0.0.1");
    let elsewhere = Receiver::start("127.0.0.2");
    let add =
        |url: String| owner(&platform, "POST", "/apps/drained/log-drains", &json!({"url": url}));
    let drain = add(format!("http://ada:secret@{}/in", allowed.address()));
    add(elsewhere.url());
    let number = std::cell::Cell::new(0);
    until("a line is delivered", BOUND, || {
        number.set(number.get() + 1);
        platform.app("drained", &format!("/{}", number.get()));
        allowed.texts().iter().any(|text| text.starts_with("served /")).then_some(())
    });
    let heads = allowed.heads().to_ascii_lowercase();
    for part in [
        "post /in http/1.1",
        "content-type: application/logplex-1",
        "logplex-msg-count: ",
        &format!("logplex-drain-token: {}", text(&drain["token"])),
        "authorization: basic ",
    ] {
        assert!(heads.contains(part), "no {part:?} in\n{heads}");
    }
    let framed = allowed.messages();
    assert!(framed.iter().any(|line| line.contains(" host app web.1 - served /")), "{framed:?}");

    let url = format!("/apps/drained/log-drains/{}", text(&drain["id"]));
    owner(&platform, "DELETE", &url, &Value::Null);
    platform.app("drained", "/after");
    let mark = session(&platform, "drained", &json!({"dyno": "web"}));
    until("the line is in the log", BOUND, || {
        call(&platform, None, "GET", &mark, &[], b"").body.contains("/after").then_some(())
    });
    assert_eq!(elsewhere.heads(), "", "127.0.0.2 is not allowed");
}

#[test]
fn what_dynos_use_is_told_when_the_app_s_owner_wants_it() {
    let platform = Platform::start();
    deploy(&platform, "measured");
    let path = "/apps/measured/features/log-runtime-metrics";
    let features = || owner(&platform, "GET", "/apps/measured/features", &Value::Null);
    let off = features()[0].clone();
    assert_eq!((&off["name"], &off["enabled"]), (&json!("log-runtime-metrics"), &json!(false)));
    assert_eq!(off["state"], "beta", "the CLI lists it among its labs");
    let on = owner(&platform, "PATCH", path, &json!({"enabled": true}));
    assert_eq!((&on["id"], &on["enabled"]), (&off["id"], &json!(true)));
    assert_eq!(owner(&platform, "GET", path, &Value::Null), on);
    assert_eq!(features(), json!([on]));
    let unknown = "/apps/measured/features/frontend-larger-dynos";
    assert_eq!(platform.api("GET", unknown, &Value::Null).0, 404);
    assert_eq!(platform.api("PATCH", unknown, &json!({"enabled": true})).0, 404);

    let app = text(&owner(&platform, "GET", "/apps/measured", &Value::Null)["id"]);
    // Twenty seconds after the start at the soonest.
    let logs = until("the metrics are told", BOUND * 2, || {
        let logs = platform.logs("measured");
        logs.contains("sample#memory_quota").then_some(logs)
    });
    let head = format!("heroku[web.1]: source=web.1 dyno=heroku.{app}.");
    let told: Vec<_> = logs.lines().filter_map(|line| line.split_once(&head)).collect();
    for (samples, (_, line)) in [
        (&["load_avg_1m", "load_avg_5m", "load_avg_15m"][..], told[0]),
        (&["memory_total", "memory_rss", "memory_cache", "memory_swap"], told[1]),
    ] {
        let mut words = line.split(' ').skip(1);
        for sample in samples {
            let (name, value) = words.next().unwrap().split_once('=').unwrap();
            assert_eq!(name, format!("sample#{sample}"), "{line}");
            assert!(value.trim_end_matches("MB").parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }
    let memory = told[1].1;
    assert!(!memory.contains("memory_rss=0.00MB") && memory.ends_with("=512.00MB"), "{memory}");
    let off = owner(&platform, "PATCH", path, &json!({"enabled": false}));
    assert_eq!(off["enabled"], false);
}
