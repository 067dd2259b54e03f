//! Requests and responses that go well.

use crate::world::{Client, Dyno, GET, OK, World, patient};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_request_is_answered_and_logged() {
    let dyno =
        Dyno::saying("web.1", "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let answer = world.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let line = world.line().await;
    assert!(line.starts_with("at=info method=GET path=\"/\" host=app.test request_id="), "{line}");
    assert!(line.contains(" fwd=\"127.0.0.1\" dyno=web.1 connect="), "{line}");
    assert!(line.ends_with("ms status=201 bytes=5 protocol=http"), "{line}");
}

#[tokio::test]
async fn a_dyno_sees_who_asked_and_nothing_forged() {
    let dyno = Dyno::echo("web.1").await;
    let world = World::new(patient(), &[&dyno]).await;
    let seen = world
        .exchange(
            "GET http://App.test/a/..%2fb?q=1 HTTP/1.1\r\nHost: App.test:80\r\nConnection: close, X-Forwarded-Proto\r\n\
             X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nX-Request-Start: 1\r\n\
             X-Request-ID: short\r\nProxy: evil\r\nKeep-Alive: 5\r\nX_Forwarded_Proto: gopher\r\nAccept: */*\r\n\r\n",
        )
        .await;
    let (_, seen) = seen.split_once("\r\n\r\n").unwrap();
    assert!(seen.starts_with("GET /a/..%2fb?q=1 HTTP/1.1\r\n"), "{seen}");
    for part in [
        "host: App.test:80\r\n",
        "x-forwarded-for: 6.6.6.6, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-port: 80\r\n",
        "via: 1.1 lathe\r\n",
        "accept: */*\r\n",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    for part in ["gopher", "proxy:", "keep-alive", "short", "close", "x-request-start: 1\r\n"] {
        assert!(!seen.contains(part), "{part}: {seen}");
    }
}

#[tokio::test]
async fn a_body_reaches_the_dyno_whole_however_it_is_framed() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        let head = client.head().await.unwrap();
        let body = if head.contains("transfer-encoding: chunked") {
            client.head().await.unwrap()
        } else {
            String::from_utf8(client.bytes(11).await).unwrap()
        };
        client.send(format!("HTTP/1.1 200 OK\r\n\r\n{body}")).await;
    })
    .await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let fixed = world
        .exchange("POST / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nContent-Length: 11\r\n\r\nhello world")
        .await;
    assert!(fixed.contains("hello world"), "{fixed}");
    assert!(world.line().await.ends_with("status=200 bytes=11 protocol=http"));
    // Also with a method that mostly has none.
    for method in ["POST", "GET", "DELETE"] {
        let chunked = world
            .exchange(&format!(
                "{method} / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\
                 Transfer-Encoding: chunked\r\n\r\n\
                 5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
            ))
            .await;
        assert!(chunked.contains("hello") && chunked.contains(" world"), "{method}: {chunked}");
        assert!(!chunked.contains("ext=1") && !chunked.contains("Trailer"), "{method}: {chunked}");
    }
}

#[tokio::test]
async fn expect_is_answered_when_a_dyno_takes_the_body() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        let head = client.head().await.unwrap();
        let body = String::from_utf8(client.bytes(4).await).unwrap();
        assert!(!head.contains("expect"), "{head}");
        client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{body}")).await;
    })
    .await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client
        .send(
            "PUT / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert!(client.response().await.ends_with("body"));
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let dyno = Dyno::saying("web.1", OK).await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    for _ in 0..5 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert!(client.response().await.ends_with("ok"));
    }
    assert_eq!(dyno.connections(), 1);
    // What may not be sent twice gets a connection of its own.
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.response().await.ends_with("ok"));
    assert_eq!(dyno.connections(), 2);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let dyno = Dyno::echo("web.1").await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    let request = |n| format!("GET /{n} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.send((0..3).map(request).collect::<String>()).await;
    for n in 0..3 {
        assert!(client.response().await.contains(&format!("GET /{n} HTTP/1.1")));
        assert!(world.line().await.contains(&format!("path=\"/{n}\"")));
    }
}

#[tokio::test]
async fn http_1_0_clients_get_what_they_understand() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        while client.head().await.is_some() {
            client
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
                .await;
        }
    })
    .await;
    let world = World::new(patient(), &[&dyno]).await;
    let answer = world.exchange("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    assert!(!answer.to_lowercase().contains("chunked"), "{answer}");
    let kept = Dyno::saying("web.1", OK).await;
    let world = World::new(patient(), &[&kept]).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n").await;
        assert!(client.response().await.to_lowercase().contains("connection: keep-alive"));
    }
}

#[tokio::test]
async fn an_http_1_0_dyno_does_not_show() {
    let dyno = Dyno::closing_after("web.1", "HTTP/1.0 200 Fine\r\n\r\nold").await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert_eq!(client.bytes(13).await, b"3\r\nold\r\n0\r\n\r\n");
        assert!(world.line().await.starts_with("at=info"));
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    for (method, response) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
    ] {
        let dyno = Dyno::saying("web.1", response).await;
        let mut world = World::new(patient(), &[&dyno]).await;
        let mut client = world.connect().await;
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: app.test\r\n\r\n")).await;
            let head = client.head().await.unwrap();
            assert_eq!(head.lines().next(), response.lines().next());
            assert_eq!(head.contains("ontent-length: 1000"), response.contains("1000"), "{head}");
            let line = world.line().await;
            assert!(line.starts_with("at=info") && line.contains(" bytes=0 "), "{line}");
        }
        assert_eq!(dyno.connections(), 1, "{response}");
    }
}

#[tokio::test]
async fn a_response_streams_as_it_is_made() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\n\r\none").await;
        // The second part follows only when the client has the first and says so.
        client.bytes(4).await;
        client.send("two").await;
    })
    .await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(client.bytes(8).await, b"3\r\none\r\n");
    client.send("next").await;
    assert_eq!(client.bytes(8).await, b"3\r\ntwo\r\n");
}

/// A client that sends all of its request before it reads the answer, and a dyno that answers meanwhile.
#[tokio::test]
async fn what_goes_up_does_not_wait_for_what_comes_down() {
    const BYTES: usize = 16 << 20;
    let dyno = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        let (mut from, mut to) = client.0.into_split();
        let said = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
            to.write_all(head.as_bytes()).await.unwrap();
            to.write_all(&vec![b'x'; BYTES]).await.unwrap();
        });
        from.read_exact(&mut vec![0; BYTES]).await.unwrap();
        said.await.unwrap();
    })
    .await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {BYTES}\r\n\r\n");
    client.send(head).await;
    client.send(vec![b'y'; BYTES]).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(client.bytes(BYTES).await.len(), BYTES);
}

/// Memory stays bounded because a slow client slows the dyno down.
#[tokio::test]
async fn a_slow_client_holds_the_dyno_back() {
    // More than twice what the kernel keeps of it: up to 36 MiB on each of the two ways.
    const TOTAL: usize = 192 << 20;
    let (progress, mut sent) = tokio::sync::watch::channel(0);
    let dyno = Dyno::new("web.1", move |mut client: Client| {
        let progress = progress.clone();
        async move {
            client.head().await;
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n")).await;
            for _ in 0..TOTAL >> 16 {
                client.send(vec![b'x'; 1 << 16]).await;
                progress.send_modify(|sent| *sent += 1 << 16);
            }
        }
    })
    .await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    client.head().await.unwrap();
    let quiet = Duration::from_millis(300);
    while tokio::time::timeout(quiet, sent.changed()).await.is_ok() {}
    assert!(*sent.borrow() < TOTAL / 2, "{} bytes left the dyno unread", *sent.borrow());
    for _ in 0..TOTAL >> 16 {
        client.bytes(1 << 16).await;
    }
    assert_eq!(client.rest().await, "");
}
