//! Route tables that come, go, shrink and are old; and the end of a router.

use crate::world::{Dyno, GET, OK, PATIENCE, World, patient, routes};
use lathe_router::{Availability, LastFile, RouterConfig, Routes, Successor};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_request_waits_for_a_booting_app() {
    let dyno = Dyno::saying("web.1", OK).await;
    let mut world = World::empty(patient()).await;
    world.publish(Availability::Booting, Vec::new()).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(dyno.connections(), 0);
    world.serve(&[&dyno]).await;
    assert!(client.rest().await.ends_with("ok"));
}

#[tokio::test]
async fn a_request_wakes_a_sleeping_app_and_waits_for_it() {
    let dyno = Dyno::echo("web.1").await;
    let config = patient();
    let demand = config.demand.clone();
    let mut world = World::new(config, &[]).await;
    world.publish(Availability::Asleep, Vec::new()).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    demand.rung().await;
    assert!(!demand.last_ms().is_empty());
    world.serve(&[&dyno]).await;
    assert!(client.response().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_waiting_request_hears_of_a_crash() {
    let mut world = World::empty(patient()).await;
    world.publish(Availability::Booting, Vec::new()).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.publish(Availability::Crashed, Vec::new()).await;
    assert!(client.rest().await.contains("<!-- H10 -->"));
}

#[tokio::test]
async fn a_dyno_that_left_the_table_finishes_what_it_has() {
    let old = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send("old one").await;
    })
    .await;
    let new = Dyno::saying("web.1", OK).await;
    let mut world = World::new(patient(), &[&old]).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    client.head().await.unwrap();
    world.serve(&[&new]).await;
    for _ in 0..10 {
        assert!(world.exchange(GET).await.ends_with("ok"));
    }
    assert_eq!(client.rest().await, "old one");
    assert_eq!(old.connections(), 1);
}

#[tokio::test]
async fn connections_kept_to_a_dyno_that_left_are_closed() {
    let (gone, mut closed) = tokio::sync::mpsc::channel(1);
    let old = Dyno::new("web.1", move |mut client| {
        let gone = gone.clone();
        async move {
            client.head().await;
            client.send(OK).await;
            client.rest().await;
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let mut world = World::new(patient(), &[&old]).await;
    assert!(world.exchange(GET).await.ends_with("ok"));
    world.publish(Availability::NoWeb, Vec::new()).await;
    tokio::time::timeout(PATIENCE, closed.recv()).await.unwrap();
}

/// Two dynos replaced by two others again and again while clients keep asking.
#[tokio::test]
async fn a_rolling_deploy_loses_no_request() {
    let mut dynos = Vec::new();
    for n in 0..6 {
        dynos.push(Dyno::saying(&format!("web.{n}"), OK).await);
    }
    let mut world = World::new(patient(), &[&dynos[0], &dynos[1]]).await;
    let address = world.address;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = crate::world::Client(TcpStream::connect(address).await.unwrap());
                for _ in 0..250 {
                    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
                    let answer = client.response().await;
                    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
                }
            })
        })
        .collect();
    let mut round = 0;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        round += 1;
        world.serve(&[&dynos[round % 6], &dynos[(round + 1) % 6]]).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(round > 2, "{round} rounds");
}

#[tokio::test]
async fn an_older_or_empty_table_changes_nothing() {
    let dyno = Dyno::saying("web.1", OK).await;
    let mut world = World::new(patient(), &[&dyno]).await;
    world.serve(&[&dyno]).await;
    for stale in [Routes::default(), routes(1, Availability::NoWeb, Vec::new())] {
        world.publish_raw(stale);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(world.exchange(GET).await.ends_with("ok"));
    }
}

#[tokio::test]
async fn a_router_starts_alone_from_its_last_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.json");
    let config = RouterConfig { last_table: Some(LastFile::Kept(path.clone())), ..patient() };
    let dyno = Dyno::saying("web.1", OK).await;
    let mut first = World::new(config.clone(), &[&dyno]).await;
    let saved = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saved).await.unwrap();
    first.stop();
    first.ended().await;
    // One that others feed reads it as well, and leaves it alone.
    for last_table in [LastFile::Kept(path.clone()), LastFile::Given(path.clone())] {
        let config = RouterConfig { last_table: Some(last_table), ..patient() };
        assert!(World::empty(config).await.exchange(GET).await.ends_with("ok"));
    }
}

#[tokio::test]
async fn an_ending_router_finishes_what_it_has() {
    let (slow, go_on) = Dyno::held("web.1").await;
    let config = RouterConfig { first_word_timeout: Duration::from_millis(300), ..patient() };
    let mut world = World::new(config, &[&slow]).await;
    let mut busy = world.connect().await;
    let mut idle = world.connect().await;
    busy.send("GET /held HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    slow.called(1).await;
    world.stop();
    assert_eq!(idle.rest().await, "");
    go_on.send_replace(true);
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer}");
    world.ended().await;
    assert!(TcpStream::connect(world.address).await.is_err());
    assert!(world.line().await.starts_with("at=info"));
}

/// A client that was let in is served, also when it has said nothing yet; and while something long
/// goes on, so is whoever comes.
#[tokio::test]
async fn an_ending_router_drops_nobody_it_has_accepted() {
    for busy in [false, true] {
        let (dyno, go_on) = Dyno::held("web.1").await;
        let mut world = World::new(patient(), &[&dyno]).await;
        let mut fresh = world.connect().await;
        let mut long = world.connect().await;
        // Accepted in order: with this answer the silent one is in, too.
        assert!(world.exchange(GET).await.ends_with("ok"));
        if busy {
            long.send(GET.replace("/ ", "/held ")).await;
            dyno.called(2).await;
        }
        world.stop();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if busy {
            assert!(world.exchange(GET).await.ends_with("ok"), "a new one beside the long one");
        }
        fresh.send(GET).await;
        assert!(fresh.rest().await.ends_with("ok"), "busy: {busy}");
        go_on.send_replace(true);
        drop(long);
        world.ended().await;
    }
}

/// A kept connection that were closed between two requests could cross with the next one, which would
/// be lost: its client is told with the answer to it.
#[tokio::test]
async fn a_router_with_a_successor_tells_kept_connections_with_their_next_answer() {
    let dyno = Dyno::saying("web.1", OK).await;
    let config = RouterConfig { successor: Successor::Present, ..patient() };
    let mut world = World::new(config, &[&dyno]).await;
    let mut kept = world.connect().await;
    kept.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let head = kept.head().await.unwrap();
    assert!(!head.contains("connection: close"), "{head}");
    assert_eq!(kept.bytes(2).await, b"ok");
    world.stop();
    let refused = async { while TcpStream::connect(world.address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    kept.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let answer = kept.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer}");
    world.ended().await;
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut_and_counted() {
    let endless = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\n\r\n").await;
        loop {
            client.send("x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let shutdown_grace = Duration::from_millis(600);
    let config = RouterConfig { shutdown_grace, ..patient() };
    let mut world = World::new(config, &[&endless]).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    client.head().await.unwrap();
    let start = Instant::now();
    world.stop();
    world.ended().await;
    assert!(start.elapsed() >= shutdown_grace, "{:?}", start.elapsed());
    let line = world.line().await;
    assert!(line.starts_with("at=error code=H24 desc=\"Forced close\" "), "{line}");
    assert!(line.contains("ms status= bytes="), "{line}");
}
