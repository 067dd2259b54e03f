//! Every dimension a client controls has an end.

use crate::world::{Dyno, GET, OK, World, quick};
use lathe_router::RouterConfig;
use std::time::{Duration, Instant};

/// Never early; late by no more than a busy machine explains.
fn about(start: Instant, expected_ms: u128) {
    let took = start.elapsed().as_millis();
    assert!((expected_ms..expected_ms + 1000).contains(&took), "{took} ms, not {expected_ms}");
}

#[tokio::test]
async fn clients_that_keep_a_connection_for_nothing_lose_it() {
    let dyno = Dyno::saying("web.1", OK).await;
    let config = RouterConfig {
        silent_timeout: Duration::from_millis(1400),
        keep_alive_timeout: Duration::from_millis(2500),
        ..quick()
    };
    let world = World::new(config, &[&dyno]).await;

    let silent = async {
        let start = Instant::now();
        assert_eq!(world.connect().await.rest().await, "");
        about(start, 1400);
    };
    let slow_head = async {
        let mut client = world.connect().await;
        let start = Instant::now();
        for byte in GET.bytes().take(20) {
            client.send([byte]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(client.rest().await, "");
        about(start, 300);
    };
    let half_head = async {
        let mut client = world.connect().await;
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: app.te").await;
        assert_eq!(client.rest().await, "");
        about(start, 300);
    };
    let idle = async {
        let mut client = world.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert!(client.response().await.ends_with("ok"));
        let start = Instant::now();
        assert_eq!(client.rest().await, "");
        about(start, 2500);
    };
    let second_half_head = async {
        let mut client = world.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert!(client.response().await.ends_with("ok"));
        client.send("GET /").await;
        let start = Instant::now();
        assert_eq!(client.rest().await, "");
        about(start, 300);
    };
    let others = async {
        for _ in 0..20 {
            assert!(world.exchange(GET).await.ends_with("ok"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(silent, slow_head, half_head, idle, second_half_head, others);
}

#[tokio::test]
async fn heads_have_a_size() {
    let dyno = Dyno::saying("web.1", OK).await;
    let world = World::new(quick(), &[&dyno]).await;
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
    let config = RouterConfig { max_connections: 2, ..quick() };
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
    let slow = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send(OK).await;
    })
    .await;
    let config = RouterConfig { backlog_per_dyno: 2, ..quick() };
    let mut world = World::new(config, &[&slow]).await;
    let mut waiting = [world.connect().await, world.connect().await];
    for client in &mut waiting {
        client.send(GET).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = world.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("<!-- H11 -->"), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
    let line = world.line().await;
    assert!(line.starts_with("at=error code=H11 desc=\"Backlog too deep\" "), "{line}");
    for mut client in waiting {
        assert!(client.rest().await.ends_with("ok"));
    }
    assert!(world.exchange(GET).await.ends_with("ok"));
}
