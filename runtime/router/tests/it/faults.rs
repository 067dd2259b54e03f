//! Dynos and clients that misbehave: the right code, status and line each time.

use crate::world::{Client, Dyno, GET, OK, TRIES, World, listener, patient, target};
use lathe_router::{Availability, RouterConfig};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// Long enough to be told from nothing, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(400);

async fn check(world: &mut World, request: &str, status: &str, comment: &str, line: &[&str]) {
    let answer = world.exchange(request).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(answer.contains(comment), "{answer}");
    let logged = world.line().await;
    for part in line {
        assert!(logged.contains(part), "{part} in {logged}");
    }
}

#[tokio::test]
async fn an_app_without_dynos_says_why() {
    const NOWHERE: &str = " dyno= connect= service= status=503 bytes= protocol=http";
    let config = RouterConfig { boot_timeout: SHORT, ..patient() };
    let mut world = World::empty(config).await;
    for (availability, code, start) in [
        (
            Availability::Crashed,
            "<!-- H10 -->",
            "at=error code=H10 desc=\"App crashed\" method=GET ",
        ),
        (
            Availability::NoWeb,
            "<!-- H14 -->",
            "at=error code=H14 desc=\"No web processes running\"",
        ),
        (Availability::Maintenance, "<!-- H80 -->", "at=info code=H80 desc=\"Maintenance mode\""),
        (Availability::Blank, "<!-- H81 -->", "at=info code=H81 desc=\"Blank app\""),
        (Availability::Booting, "<!-- H20 -->", "at=error code=H20 desc=\"App boot timeout\""),
    ] {
        world.publish(availability, Vec::new()).await;
        check(&mut world, GET, "503", code, &[start, NOWHERE]).await;
    }
}

#[tokio::test]
async fn an_unknown_host_is_no_app() {
    let mut world = World::empty(patient()).await;
    let answer =
        world.exchange("GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("No such app"), "{answer}");
    assert!(!world.has_line());
}

#[tokio::test]
async fn a_dyno_that_gives_no_response() {
    let closing = Dyno::closing_after("web.1", "").await;
    let garbage = Dyno::closing_after("web.1", "SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let partial = Dyno::closing_after("web.1", "HTTP/1.1 200 OK\r\nContent-Le").await;
    let switching = Dyno::closing_after("web.1", "HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    let lengths = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    let lengths = Dyno::closing_after("web.1", lengths).await;
    let length = Dyno::closing_after("web.1", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").await;
    let reason = format!("HTTP/1.1 200 {}\r\n\r\n", "r".repeat(8193));
    let reason = Dyno::closing_after("web.1", reason).await;
    let cookie = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\n\r\n", "c".repeat(8193));
    let cookie = Dyno::closing_after("web.1", cookie).await;
    let header = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "h".repeat(600_000));
    let header = Dyno::closing_after("web.1", header).await;
    for (dyno, status, comment, code) in [
        (&closing, "503", "<!-- H13 -->", "code=H13 desc=\"Connection closed without response\" "),
        (&garbage, "503", "<!-- H17 -->", "code=H17 desc=\"Poorly formatted HTTP response\" "),
        (&partial, "503", "<!-- H13 -->", "code=H13 "),
        (&switching, "503", "<!-- H17 -->", "code=H17 "),
        (&lengths, "502", "<!-- H25 -->", "H25 desc=\"HTTP restriction: invalid content length\""),
        (&length, "502", "<!-- H25 -->", "H25 desc=\"HTTP restriction: invalid content length\""),
        (&reason, "502", "<!-- H25 -->", "H25 desc=\"HTTP restriction: oversized status line\""),
        (&cookie, "502", "<!-- H25 -->", "code=H25 desc=\"HTTP restriction: oversized cookie\""),
        (&header, "502", "<!-- H25 -->", "code=H25 desc=\"HTTP restriction: oversized header\""),
    ] {
        let mut world = World::new(patient(), &[dyno]).await;
        let bytes = format!("ms status={status} bytes=0 protocol=http");
        check(&mut world, GET, status, comment, &[code, "dyno=web.1 connect=", &bytes]).await;
    }
}

#[tokio::test]
async fn a_slow_dyno_is_given_up_in_time_and_the_place_is_free_again() {
    let slow = Dyno::new("web.1", |mut client| async move {
        client.rest().await;
    })
    .await;
    let config = RouterConfig { backlog_per_dyno: 1, first_byte_timeout: SHORT, ..patient() };
    let mut world = World::new(config, &[&slow]).await;
    let line = [
        "at=error code=H12 desc=\"Request timeout\" ",
        "dyno=web.1 connect=",
        "ms status=503 bytes=0 protocol=http",
    ];
    for _ in 0..2 {
        let start = Instant::now();
        check(&mut world, GET, "503", "<!-- H12 -->", &line).await;
        assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_dyno_that_breaks_off_its_response() {
    let short =
        Dyno::closing_after("web.1", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let chunked = Dyno::closing_after("web.1", chunk).await;
    let bad = format!("{chunk}zz\r\n");
    let bad = Dyno::closing_after("web.1", bad).await;
    let stalled = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        client.rest().await;
    })
    .await;
    let interrupted = "sock=backend at=error code=H18 desc=\"Server Request Interrupted\" ";
    for (dyno, start) in [
        (&short, interrupted),
        (&chunked, interrupted),
        (&bad, interrupted),
        (&stalled, "at=error code=H15 desc=\"Idle connection\" "),
    ] {
        let idle_timeout = if start == interrupted { patient().idle_timeout } else { SHORT };
        let config = RouterConfig { idle_timeout, ..patient() };
        let mut world = World::new(config, &[dyno]).await;
        let answer = world.exchange(GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "the client must see the cut: {answer}");
        let line = world.line().await;
        assert!(line.starts_with(start), "{line}");
        assert!(line.ends_with("ms status=503 bytes=4 protocol=http"), "{line}");
    }
}

#[tokio::test]
async fn a_trickle_lives() {
    // The whole takes longer, each pause much less.
    const IDLE: Duration = Duration::from_secs(2);
    let trickle = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
        for _ in 0..5 {
            tokio::time::sleep(IDLE / 4).await;
            client.send("x").await;
        }
    })
    .await;
    let config = RouterConfig { idle_timeout: IDLE, ..patient() };
    let mut world = World::new(config, &[&trickle]).await;
    for _ in 0..TRIES {
        let answer = world.exchange(GET).await;
        let line = world.line().await;
        if answer.ends_with("xxxxx") {
            assert!(line.starts_with("at=info"), "{line}");
            return;
        }
    }
    panic!("it never came to its end");
}

#[tokio::test]
async fn a_second_response_is_never_delivered() {
    let double =
        Dyno::saying("web.1", format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
            .await;
    let world = World::new(patient(), &[&double]).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert!(client.response().await.ends_with("\r\n\r\nok"));
    }
    assert_eq!(double.connections(), 3);
}

/// A port nobody listens on, until the listener is made.
async fn closed_port() -> SocketAddr {
    listener().await.local_addr().unwrap()
}

#[tokio::test]
async fn a_refusing_dyno_is_passed_over() {
    let good = Dyno::saying("web.2", OK).await;
    let mut world = World::empty(patient()).await;
    let targets = vec![target("web.1", closed_port().await), good.target.clone()];
    world.publish(Availability::Serving, targets).await;
    for _ in 0..8 {
        assert!(world.exchange(GET).await.ends_with("ok"));
        assert!(world.line().await.contains("dyno=web.2 "));
    }
}

#[tokio::test]
async fn an_app_of_refusing_dynos_is_h21() {
    let config = RouterConfig { connect_attempts: 3, ..patient() };
    let mut world = World::empty(config).await;
    world.publish(Availability::Serving, vec![target("web.1", closed_port().await)]).await;
    let line = [
        "at=error code=H21 desc=\"Backend connection refused\"",
        "dyno=web.1 connect=",
        "ms service= status=503 bytes= ",
    ];
    check(&mut world, GET, "503", "<!-- H21 -->", &line).await;
}

/// A listener whose queue is full: the kernel drops further connection attempts.
#[tokio::test]
async fn a_dyno_that_never_accepts_is_h19_and_then_h99() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queue = Vec::new();
    // Nobody who is let in waits as long, on whatever machine.
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT * 5, TcpStream::connect(address)).await {
        queue.push(stream);
    }
    let impatient = RouterConfig { connect_attempts: 2, connect_timeout: SHORT, ..patient() };
    let mut world = World::empty(impatient.clone()).await;
    world.publish(Availability::Serving, vec![target("web.1", address)]).await;
    let line = [
        "at=error code=H19 desc=\"Backend connection timeout\"",
        "dyno=web.1 connect=",
        "ms service= status=503 bytes= ",
    ];
    let start = Instant::now();
    check(&mut world, GET, "503", "<!-- H19 -->", &line).await;
    assert!(start.elapsed() >= SHORT * 2, "{:?}", start.elapsed());
    let short = RouterConfig { connect_budget: SHORT, ..impatient };
    let mut world = World::empty(short).await;
    world.publish(Availability::Serving, vec![target("web.1", address)]).await;
    let line = ["at=error code=H99 desc=\"Platform error\""];
    check(&mut world, GET, "503", "<!-- H99 -->", &line).await;
}

#[tokio::test]
async fn a_dyno_back_from_quarantine_serves() {
    let port = closed_port().await;
    let mut world = World::empty(patient()).await;
    world.publish(Availability::Serving, vec![target("web.1", port)]).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let listener = TcpListener::bind(port).await.unwrap();
    let serve = async {
        let mut dyno = Client(listener.accept().await.unwrap().0);
        dyno.head().await;
        dyno.send(OK).await;
    };
    let ((), answer) = tokio::join!(serve, client.rest());
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn a_dead_kept_connection_is_replaced_unseen() {
    let once = Dyno::closing_after("web.1", OK).await;
    let mut world = World::new(patient(), &[&once]).await;
    let mut client = world.connect().await;
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert!(client.response().await.ends_with("ok"));
        assert!(world.line().await.starts_with("at=info"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_or_stalls() {
    let slow = Dyno::new("web.1", |mut client| async move {
        client.rest().await;
    })
    .await;
    let mut world = World::new(patient(), &[&slow]).await;

    let mut client = world.connect().await;
    client.send(GET).await;
    slow.called(1).await;
    drop(client);
    let line = world.line().await;
    assert!(
        line.starts_with("sock=client at=warning code=H27 desc=\"Client Request Interrupted\" "),
        "{line}"
    );
    assert!(line.ends_with("ms status=499 bytes=0 protocol=http"), "{line}");

    let half_post = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9\r\n\r\nhalf";
    let mut client = world.connect().await;
    client.send(half_post).await;
    slow.called(2).await;
    drop(client);
    assert!(world.line().await.contains("code=H27 "));

    let config = RouterConfig { idle_timeout: SHORT, ..patient() };
    let mut world = World::new(config, &[&slow]).await;
    for _ in 0..TRIES {
        let mut client = world.connect().await;
        client.send(half_post).await;
        let answer = client.rest().await;
        let line = world.line().await;
        if line.contains("code=H28 ") {
            assert_eq!(answer, "");
            let start = "at=warning code=H28 desc=\"Client Connection Idle\" ";
            assert!(line.starts_with(start), "{line}");
            assert!(line.contains(" status=499 bytes=0 "), "{line}");
            return;
        }
        assert!(line.contains("code=H15 "), "{line}");
    }
    panic!("the client was never to blame");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_h28() {
    let endless = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\n\r\n").await;
        for _ in 0..1000 {
            client.send(vec![b'x'; 1 << 16]).await;
        }
    })
    .await;
    let config = RouterConfig { idle_timeout: SHORT, ..patient() };
    let mut world = World::new(config, &[&endless]).await;
    for _ in 0..TRIES {
        let mut client = world.connect().await;
        client.send(GET).await;
        client.head().await;
        let line = world.line().await;
        if line.contains("code=H28 ") {
            assert!(line.starts_with("at=warning code=H28 "), "{line}");
            return;
        }
        assert!(line.contains("code=H15 "), "{line}");
    }
    panic!("the client was never to blame");
}

#[tokio::test]
async fn a_bad_chunk_is_refused() {
    let dyno = Dyno::new("web.1", |mut client| async move {
        client.rest().await;
    })
    .await;
    let mut world = World::new(patient(), &[&dyno]).await;
    let request = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    let answer = world.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{answer}");
    let line = world.line().await;
    assert!(line.contains("code=H26 desc=\"Request Error\" cause=\"bad chunk\""), "{line}");
}
