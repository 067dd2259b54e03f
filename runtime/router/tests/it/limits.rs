//! Every dimension a client controls has an end.

use crate::world::{Client, Dyno, GET, OK, World, patient};
use lathe_router::RouterConfig;
use std::time::{Duration, Instant};

/// Long enough to be told from nothing; every other limit of the same router is longer than a test.
const SHORT: Duration = Duration::from_millis(400);

/// The end of a connection comes by itself, and not early. How late is the machine's affair.
async fn cut_off(mut client: Client, start: Instant) {
    assert_eq!(client.rest().await, "");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

/// A connection on which a request was answered.
async fn answered(world: &World) -> Client {
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert!(client.response().await.ends_with("ok"));
    client
}

#[tokio::test]
async fn clients_that_say_nothing_lose_their_connection() {
    let dyno = Dyno::saying("web.1", OK).await;
    let config = RouterConfig { silent_timeout: SHORT, ..patient() };
    let world = World::new(config, &[&dyno]).await;
    let start = Instant::now();
    cut_off(world.connect().await, start).await;

    let config = RouterConfig { keep_alive_timeout: SHORT, ..patient() };
    let world = World::new(config, &[&dyno]).await;
    let start = Instant::now();
    cut_off(answered(&world).await, start).await;
}

#[tokio::test]
async fn clients_that_never_end_a_head_lose_their_connection_and_nobody_else_does() {
    let dyno = Dyno::saying("web.1", OK).await;
    let config = RouterConfig { header_timeout: SHORT, ..patient() };
    let world = World::new(config, &[&dyno]).await;
    let slow_head = async {
        let mut client = world.connect().await;
        let start = Instant::now();
        for byte in GET.bytes().take(20) {
            client.send([byte]).await;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        cut_off(client, start).await;
    };
    let half_head = async {
        let mut client = world.connect().await;
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: app.te").await;
        cut_off(client, start).await;
    };
    let second_half_head = async {
        let mut client = answered(&world).await;
        let start = Instant::now();
        client.send("GET /").await;
        cut_off(client, start).await;
    };
    let others = async {
        for _ in 0..20 {
            assert!(world.exchange(GET).await.ends_with("ok"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(slow_head, half_head, second_half_head, others);
}

#[tokio::test]
async fn heads_have_a_size() {
    let dyno = Dyno::saying("web.1", OK).await;
    let world = World::new(patient(), &[&dyno]).await;
    let head = |line: String| format!("{line}Host: app.test\r\nConnection: close\r\n\r\n");
    let path = |length| head(format!("GET /{} HTTP/1.1\r\n", "p".repeat(length)));
    let value = |length| head(format!("GET / HTTP/1.1\r\nCookie: {}\r\n", "c".repeat(length)));
    let name = |length| head(format!("GET / HTTP/1.1\r\n{}: x\r\n", "n".repeat(length)));
    let count = |count| head(format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(count)));
    for (what, request, status) in [
        ("line at the limit", path(8192 - "GET / HTTP/1.1".len()), "200"),
        ("line over it", path(8193 - "GET / HTTP/1.1".len()), "414"),
        ("enormous line", path(100_000), "414"),
        ("value at the limit", value(8192), "200"),
        ("value over it", value(8193), "431"),
        ("name at the limit", name(1000), "200"),
        ("name over it", name(1001), "431"),
        ("98 fields and two", count(98), "200"),
        ("99 fields and two", count(99), "431"),
        ("half a megabyte", value(500_000), "431"),
        ("long method", head(format!("{} / HTTP/1.1\r\n", "M".repeat(128))), "400"),
    ] {
        let answer = world.exchange(request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{what}");
    }
}

#[tokio::test]
async fn connections_have_a_number() {
    let dyno = Dyno::saying("web.1", OK).await;
    let config = RouterConfig { max_connections: 2, ..patient() };
    let world = World::new(config, &[&dyno]).await;
    let (first, second) = (world.connect().await, world.connect().await);
    let mut third = world.connect().await;
    third.send(GET).await;
    let early = tokio::time::timeout(Duration::from_millis(100), third.0.peek(&mut [0])).await;
    assert!(early.is_err(), "served beyond the limit");
    drop(first);
    assert!(third.rest().await.ends_with("ok"));
    drop(second);
}

#[tokio::test]
async fn a_backlog_has_an_end() {
    let (slow, go_on) = Dyno::held("web.1").await;
    let config = RouterConfig { backlog_per_dyno: 2, ..patient() };
    let mut world = World::new(config, &[&slow]).await;
    let mut waiting = [world.connect().await, world.connect().await];
    for client in &mut waiting {
        client.send(GET.replace("/ ", "/held ")).await;
    }
    slow.called(2).await;
    let answer = world.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("<!-- H11 -->"), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
    let line = world.line().await;
    assert!(line.starts_with("at=error code=H11 desc=\"Backlog too deep\" "), "{line}");
    go_on.send_replace(true);
    for mut client in waiting {
        assert!(client.rest().await.ends_with("ok"));
    }
    assert!(world.exchange(GET).await.ends_with("ok"));
}
