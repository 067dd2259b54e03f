//! Log sessions in both forms, and drains that deliver where they may and nowhere else.

use super::{BOUND, call, deploy, owner, path_of, text};
use lathe_tests::{Platform, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

fn session(platform: &Platform, app: &str, wishes: &Value) -> String {
    let session = owner(platform, "POST", &format!("/apps/{app}/log-sessions"), wishes);
    path_of(&session["logplex_url"])
}

/// An app whose last line is the request it has served.
fn serving(platform: &Platform, app: &str, path: &str) {
    deploy(platform, app);
    platform.app(app, path);
    until("the line is there", BOUND, || {
        let url = session(platform, app, &json!({"source": "app", "dyno": "web"}));
        let lines = call(platform, None, "GET", &url, &[], b"").body;
        lines.contains(&format!("served {path}")).then_some(())
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

#[test]
fn a_tail_goes_on_until_its_reader_goes_away() {
    let platform = Platform::start();
    serving(&platform, "tailed", "/first");
    let url = session(&platform, "tailed", &json!({"tail": true, "lines": 1, "source": "app"}));
    let mut stream = TcpStream::connect(platform.address("api_plain")).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let head =
        format!("GET {url} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("served /first")));
    for path in ["/second", "/third"] {
        platform.app("tailed", path);
        assert!(lines.any(|line| line.contains(&format!("served {path}"))), "{path} is told");
    }
}

/// A receiver of `application/logplex-1` frames; all bodies in one text, and all heads.
fn receiver(address: &str) -> (u16, Arc<Mutex<(String, String)>>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = Arc::new(Mutex::new((String::new(), String::new())));
    let shared = received.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let received = shared.clone();
            std::thread::spawn(move || receive(stream, &received));
        }
    });
    (port, received)
}

/// Answers one frame after the other until the connection ends.
fn receive(stream: TcpStream, received: &Mutex<(String, String)>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ")?;
        let mut body = vec![0; length.lines().next()?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        {
            let mut received = received.lock().unwrap();
            received.0 += &head;
            received.1 += &String::from_utf8_lossy(&body);
        }
        writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

#[test]
fn a_drain_delivers_where_the_operator_allows_and_nowhere_else() {
    let platform = Platform::start_with(&["drains.allow=127.0.0.1"]);
    deploy(&platform, "drained");
    let (port, received) = receiver("127.0.0.1");
    let (elsewhere, never) = receiver("127.0.0.2");
    let add =
        |url: String| owner(&platform, "POST", "/apps/drained/log-drains", &json!({"url": url}));
    let drain = add(format!("http://ada:secret@127.0.0.1:{port}/in"));
    add(format!("http://127.0.0.2:{elsewhere}/in"));
    let number = std::cell::Cell::new(0);
    until("a line is delivered", BOUND, || {
        number.set(number.get() + 1);
        platform.app("drained", &format!("/{}", number.get()));
        received.lock().unwrap().1.contains("served /").then_some(())
    });
    let (heads, bodies) = received.lock().unwrap().clone();
    for part in [
        "post /in http/1.1",
        "content-type: application/logplex-1",
        "logplex-msg-count: ",
        &format!("logplex-drain-token: {}", text(&drain["token"])),
        "authorization: basic ",
    ] {
        assert!(heads.contains(part), "no {part:?} in\n{heads}");
    }
    assert!(bodies.contains(" app web.1 - served /"), "RFC 5424 framed: {bodies}");

    let url = format!("/apps/drained/log-drains/{}", text(&drain["id"]));
    owner(&platform, "DELETE", &url, &Value::Null);
    platform.app("drained", "/after");
    let mark = session(&platform, "drained", &json!({"dyno": "web"}));
    until("the line is in the log", BOUND, || {
        call(&platform, None, "GET", &mark, &[], b"").body.contains("/after").then_some(())
    });
    assert_eq!(*never.lock().unwrap(), (String::new(), String::new()), "127.0.0.2 is not allowed");
}
