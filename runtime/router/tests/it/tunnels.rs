//! Connections that leave HTTP: nothing leaks before, everything passes after.

use crate::world::{Dyno, OK, World, patient};
use lathe_router::RouterConfig;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Switches, then sends everything back.
async fn echo() -> Dyno {
    Dyno::new("web.1", |mut client| async move {
        let head = client.head().await.unwrap();
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        client.send(SWITCH).await;
        let (mut reader, mut writer) = client.0.split();
        drop(tokio::io::copy(&mut reader, &mut writer).await);
    })
    .await
}

/// fault H5: one side of a tunnel ends before the other.
#[tokio::test]
async fn bytes_pass_both_ways_and_the_end_is_passed_on() {
    let dyno = echo().await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(UPGRADE).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    for _ in 0..3 {
        client.send("ping").await;
        assert_eq!(client.bytes(4).await, b"ping");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!world.has_line(), "a tunnel is logged when it ends");
    // Half-close: the dyno sees the end, and what it still says arrives.
    client.send("last").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "last");
    let line = world.line().await;
    assert!(line.starts_with("at=info method=GET path=\"/chat\""), "{line}");
    assert!(line.ends_with("ms status=101 bytes=16 protocol=http"), "{line}");
}

/// fault H5: a message larger than any buffer.
#[tokio::test]
async fn a_large_message_passes_whole() {
    const SIZE: usize = 64 << 20;
    let dyno = echo().await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    let (mut reader, mut writer) = client.0.into_split();
    let write = async {
        let chunk = vec![7; 1 << 20];
        for _ in 0..SIZE >> 20 {
            writer.write_all(&chunk).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let mut sink = tokio::io::sink();
    let ((), copied) = tokio::join!(write, tokio::io::copy(&mut reader, &mut sink));
    assert_eq!(copied.unwrap(), SIZE as u64);
}

/// fault H5. The class of CVE-2026-2833: what follows an `Upgrade` must wait for the 101.
#[tokio::test]
async fn no_byte_goes_ahead_of_the_101() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        let early = tokio::time::timeout(Duration::from_millis(100), client.0.peek(&mut [0])).await;
        assert!(early.is_err(), "bytes before the 101");
        client.send(SWITCH).await;
        assert_eq!(client.bytes(5).await, b"early");
        client.send("late").await;
    })
    .await;
    let world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(format!("{UPGRADE}early")).await;
    client.head().await.unwrap();
    assert_eq!(client.rest().await, "late");
}

#[tokio::test]
async fn a_declined_upgrade_is_an_ordinary_request() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        let first = client.head().await.unwrap();
        assert!(first.starts_with("GET /chat "), "{first}");
        client.send(OK).await;
        if let Some(second) = client.head().await {
            // Judged and rewritten as any request, not copied.
            assert!(second.contains("x-request-id: "), "{second}");
            client.send(OK).await;
        }
    })
    .await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(format!("{UPGRADE}GET /next HTTP/1.1\r\nHost: x@evil\r\n\r\n")).await;
    assert!(client.response().await.ends_with("ok"));
    assert!(client.response().await.starts_with("HTTP/1.1 400 "));
    assert!(world.line().await.ends_with(" status=200 bytes=2 protocol=http"));
}

/// fault H5: nobody says anything any more.
#[tokio::test]
async fn silence_ends_a_tunnel() {
    let dyno = echo().await;
    let idle_timeout = Duration::from_millis(500);
    let config = RouterConfig { idle_timeout, ..patient() };
    let mut world = World::new(config, &[&dyno]).await;
    let mut client = world.connect().await;
    let start = Instant::now();
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    assert_eq!(client.rest().await, "");
    assert!(start.elapsed() >= idle_timeout, "{:?}", start.elapsed());
    let line = world.line().await;
    assert!(line.starts_with("at=error code=H15 desc=\"Idle connection\" "), "{line}");
}

/// fault H5: the dyno of a tunnel dies.
#[tokio::test]
async fn a_dyno_that_dies_takes_its_tunnel_along() {
    let dyno = Dyno::closing_after("web.1", SWITCH).await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    assert_eq!(client.rest().await, "");
    drop(client);
    assert!(world.line().await.contains(" status=101 bytes=0 "));
}

#[tokio::test]
async fn an_ending_router_cuts_tunnels_after_the_grace() {
    let dyno = echo().await;
    let config = RouterConfig { shutdown_grace: Duration::from_secs(2), ..patient() };
    let mut world = World::new(config, &[&dyno]).await;
    let mut client = world.connect().await;
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    world.stop();
    client.send("ping").await;
    assert_eq!(client.bytes(4).await, b"ping");
    assert_eq!(client.rest().await, "");
    world.ended().await;
    assert!(world.line().await.starts_with("at=error code=H24 "));
}
