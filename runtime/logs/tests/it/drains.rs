//! Drains against receivers that work, refuse, stall, cut, lie and come back.

use crate::receiver::{Answer, Receiver, listener};
use crate::support::{ALL, PATIENCE, Running, line, next, start, start_draining};
use lathe_logs::drain::{self, Reach};
use lathe_logs::{AppId, Drain, DrainCounts, DrainTable, Policy, channel};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Nobody is given up within a test: on a crowded machine everybody is slow now and then.
pub(crate) fn policy() -> Policy {
    let millis = Duration::from_millis;
    let drain = drain::Policy {
        reach: Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()], refused: Vec::new() },
        burst: 0,
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
        write_timeout: PATIENCE,
        reconnect: (millis(10), millis(40)),
        grace: millis(500),
        ..drain::Policy::default()
    };
    Policy { drain, ..Policy::default() }
}

pub(crate) fn app() -> AppId {
    AppId::new("a")
}

pub(crate) fn drain(id: &str, url: String) -> Drain {
    Drain { id: id.to_owned(), app: app(), token: format!("d.{id}"), url }
}

/// Makes these the drains and waits until the hub knows.
pub(crate) async fn set(running: &Running, generation: u64, drains: Vec<Drain>) {
    let ids: Vec<_> = drains.iter().map(|drain| drain.id.clone()).collect();
    running.table.send_replace(Arc::new(DrainTable { generation, drains }));
    until(|| running.hub.counts(&app()).drains.into_keys().eq(ids.iter().cloned())).await;
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

fn counts(running: &Running, id: &str) -> DrainCounts {
    let counts = running.hub.counts(&app()).drains[id];
    assert_eq!(counts.taken, counts.delivered + counts.dropped + counts.pending);
    counts
}

/// The counts once all of `taken` lines have come and gone.
pub(crate) async fn settled(running: &Running, id: &str, taken: u64) -> DrainCounts {
    until(|| counts(running, id).taken >= taken && counts(running, id).pending == 0).await;
    counts(running, id)
}

/// A hub with one drain, at a receiver that answers as listed.
async fn one(answers: &[Answer]) -> (Running, Receiver) {
    one_with(policy(), answers).await
}

async fn one_with(policy: Policy, answers: &[Answer]) -> (Running, Receiver) {
    let receiver = Receiver::start(answers).await;
    let running = start(None, policy);
    set(&running, 1, vec![drain("one", format!("http://{}/in?k=1", receiver.address))]).await;
    (running, receiver)
}

#[tokio::test]
async fn frames_are_posted_as_logplex_does() {
    let mut receiver = Receiver::start(&[Answer::Status(200)]).await;
    let running = start(None, policy());
    let url = format!("http://me:p%40ss@{}/in?k=1", receiver.address);
    set(&running, 1, vec![drain("one", url)]).await;
    running.lines.send(line(&app(), "Hi é"));
    let posted = receiver.next().await;
    assert_eq!(posted.request, "POST /in?k=1 HTTP/1.1");
    let headers = &posted.headers;
    assert_eq!(headers["content-type"], "application/logplex-1");
    assert_eq!(headers["logplex-drain-token"], "d.one");
    assert_eq!(headers["logplex-msg-count"], "1");
    assert_eq!(headers["authorization"], "Basic bWU6cEBzcw==");
    assert_eq!(headers["host"], receiver.address.to_string());
    assert!(headers["user-agent"].starts_with("Logplex/"));
    assert_eq!(headers["logplex-frame-id"].len(), 32);
    assert_eq!(posted.body, "63 <190>1 1970-01-01T00:00:00.000000+00:00 host app web.1 - Hi é\n");
    let want = DrainCounts { taken: 1, delivered: 1, dropped: 0, pending: 0 };
    assert_eq!(settled(&running, "one", 1).await, want);
    running.stop().await;
}

#[tokio::test]
async fn drains_known_at_the_start_get_the_first_line() {
    let mut receiver = Receiver::start(&[Answer::Status(200)]).await;
    let (lines, queue) = channel(10);
    lines.send(line(&app(), "first"));
    let drains = vec![drain("one", format!("http://{}/", receiver.address))];
    let table = DrainTable { generation: 1, drains };
    let running = start_draining(lines, queue, None, policy(), table);
    assert!(receiver.next().await.body.ends_with("first\n"));
    running.stop().await;
}

#[tokio::test]
async fn a_refused_frame_is_not_sent_twice_and_its_loss_is_told() {
    let (running, mut receiver) = one(&[Answer::Status(400), Answer::Status(200)]).await;
    running.lines.send(line(&app(), "unwanted"));
    let refused = receiver.next().await;
    assert_eq!(settled(&running, "one", 1).await.dropped, 1);
    running.lines.send(line(&app(), "wanted"));
    let posted = receiver.next().await;
    assert_ne!(posted.headers["logplex-frame-id"], refused.headers["logplex-frame-id"]);
    let messages = posted.messages();
    assert!(
        messages[0]
            .contains("host heroku logplex - Error L10 (output buffer overflow): 1 messages")
    );
    assert!(messages[1].ends_with("wanted\n"));
    running.stop().await;
}

#[tokio::test]
async fn a_failing_frame_is_sent_three_times_with_one_id() {
    let elsewhere = "127.0.0.1:9".parse().unwrap();
    let cases: [&[Answer]; 8] = [
        &[Answer::Status(500); 3],
        &[Answer::Status(429); 3],
        &[Answer::Cut; 3],
        &[Answer::Silence; 3],
        &[Answer::EndlessHead; 3],
        &[Answer::Trickle; 3],
        &[Answer::Redirect(elsewhere); 3],
        &[Answer::Status(503), Answer::Cut, Answer::Status(101)],
    ];
    // An answer that comes too late is as bad as these.
    let mut short = policy();
    short.drain.request_timeout = Duration::from_millis(200);
    for answers in cases {
        let (running, mut receiver) = one_with(short.clone(), answers).await;
        running.lines.send(line(&app(), "lost"));
        let first = receiver.next().await;
        for _ in 0..2 {
            let again = receiver.next().await;
            assert_eq!(again.headers["logplex-frame-id"], first.headers["logplex-frame-id"]);
            assert_eq!(again.body, first.body);
        }
        let want = DrainCounts { taken: 1, delivered: 0, dropped: 1, pending: 0 };
        assert_eq!(settled(&running, "one", 1).await, want, "{answers:?}");
        assert!(receiver.posted.try_recv().is_err(), "{answers:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_an_answer_still() {
    let (running, mut receiver) = one(&[Answer::EndlessBody, Answer::Status(200)]).await;
    for text in ["first", "second"] {
        running.lines.send(line(&app(), text));
        assert!(receiver.next().await.body.ends_with(&format!("{text}\n")));
        assert_eq!(settled(&running, "one", 1).await.dropped, 0);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_stalled_drain_costs_itself_only() {
    let mut stalled = Receiver::start(&[Answer::Silence, Answer::Status(200)]).await;
    let mut working = Receiver::start(&[Answer::Status(200)]).await;
    let running = start(None, policy());
    let drains = vec![
        drain("stalled", format!("http://{}/", stalled.address)),
        drain("working", format!("http://{}/", working.address)),
    ];
    set(&running, 1, drains).await;
    running.lines.send(line(&app(), "first"));
    let first = stalled.next().await;
    let mut arrived = working.next().await.messages().len();
    for n in 0..1100 {
        running.lines.send(line(&app(), &n));
        while n % 100 == 99 && arrived < n + 2 {
            arrived += working.next().await.messages().len();
        }
    }
    let lost = counts(&running, "stalled").dropped;
    assert_eq!(lost, 76);

    stalled.hang_up();
    // It wakes: the frame it sat on, then what happened meanwhile, then the newest 1024 in order.
    let again = stalled.next().await;
    assert_eq!(again.headers["logplex-frame-id"], first.headers["logplex-frame-id"]);
    let messages = stalled.next().await.messages();
    assert!(messages[0].contains("Error L10 (output buffer overflow): 76 messages dropped since"));
    assert!(messages[1].ends_with(" - 76\n"), "{}", messages[1]);
    let want = DrainCounts { taken: 1101, delivered: 1025, dropped: 76, pending: 0 };
    assert_eq!(settled(&running, "stalled", 1101).await, want);
    assert_eq!(counts(&running, "working").delivered, 1101);
    running.stop().await;
}

#[tokio::test]
async fn what_a_receiver_adds_up_is_what_was_emitted() {
    let answers: &[Answer] = &[
        Answer::Status(200),
        Answer::Status(500),
        Answer::Status(200),
        Answer::Status(413),
        Answer::Cut,
        Answer::Cut,
        Answer::Cut,
        Answer::Status(200),
    ];
    let (running, mut receiver) = one(answers).await;
    let (mut sent, mut got) = (0, 0);
    for round in 0..12 {
        for _ in 0..round * 50 {
            running.lines.send(line(&app(), "x"));
            sent += 1;
        }
        settled(&running, "one", sent).await;
    }
    running.lines.send(line(&app(), "last"));
    settled(&running, "one", sent + 1).await;
    let mut n = 0;
    while let Ok(posted) = receiver.posted.try_recv() {
        let answer = answers[n.min(answers.len() - 1)];
        n += 1;
        if matches!(answer, Answer::Status(200)) {
            got += posted.messages().iter().map(|message| told(message)).sum::<u64>();
        }
    }
    assert_eq!(got, sent + 1);
    running.stop().await;
}

/// How many lines a message accounts for.
fn told(message: &str) -> u64 {
    match message.split_once("overflow): ") {
        Some((_, rest)) => rest.split_once(' ').unwrap().0.parse().unwrap(),
        None => 1,
    }
}

#[tokio::test]
async fn inside_addresses_are_refused_when_connecting_and_the_app_is_told() {
    let mut receiver = Receiver::start(&[Answer::Status(200)]).await;
    let port = receiver.address.port();
    for host in
        ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"]
    {
        let mut policy = policy();
        policy.drain.reach = Reach::default();
        let running = start(None, policy);
        set(&running, 1, vec![drain("one", format!("http://{host}:{port}/"))]).await;
        running.lines.send(line(&app(), "secret"));
        let mut tail = running.hub.tail(&app(), ALL, true).unwrap();
        assert_eq!(next(&mut tail).await, "secret");
        let told = next(&mut tail).await;
        assert!(told.starts_with("Drain http://") && told.contains(" is "), "{told}");
        assert!(receiver.posted.try_recv().is_err());
        running.stop().await;
    }
}

#[tokio::test]
async fn a_redirect_inside_is_not_followed() {
    let mut inside = Receiver::start(&[Answer::Status(200)]).await;
    let (running, mut receiver) = one(&[Answer::Redirect(inside.address)]).await;
    running.lines.send(line(&app(), "secret"));
    for _ in 0..3 {
        receiver.next().await;
    }
    assert_eq!(settled(&running, "one", 1).await.dropped, 1);
    assert!(inside.posted.try_recv().is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_url_nobody_understands_is_told_and_others_are_served() {
    let mut receiver = Receiver::start(&[Answer::Status(200)]).await;
    let running = start(None, policy());
    let drains = vec![
        drain("bad", "file:///etc/passwd".to_owned()),
        drain("one", format!("http://{}/", receiver.address)),
    ];
    running.table.send_replace(Arc::new(DrainTable { generation: 1, drains }));
    let told = receiver.next().await.messages();
    assert!(
        told[0].contains("Drain bad is not served: a drain URL begins with https://"),
        "{told:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn drains_come_move_and_go_with_the_table() {
    let (mut old, mut new) =
        (Receiver::start(&[Answer::Silence]).await, Receiver::start(&[Answer::Status(200)]).await);
    let running = start(None, policy());
    set(&running, 1, vec![drain("one", format!("http://{}/", old.address))]).await;
    running.lines.send(line(&app(), "moved"));
    old.next().await;
    set(&running, 2, vec![drain("one", format!("http://{}/", new.address))]).await;
    assert!(new.next().await.body.ends_with("moved\n"));
    let want = DrainCounts { taken: 1, delivered: 1, dropped: 0, pending: 0 };
    assert_eq!(settled(&running, "one", 1).await, want);
    // A table that is older says nothing.
    running.table.send_replace(Arc::new(DrainTable { generation: 1, drains: Vec::new() }));
    running.lines.send(line(&app(), "more"));
    assert!(new.next().await.body.ends_with("more\n"));
    set(&running, 3, Vec::new()).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_drain_had_pending_is_sent_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Some(dir.path().join("journal"));
    let gone = listener().await;
    let running = start(journal.clone(), policy());
    set(&running, 1, vec![drain("one", format!("syslog://{}", gone.local_addr().unwrap()))]).await;
    drop(gone);
    for n in 0..1100 {
        running.lines.send(line(&app(), &n));
    }
    until(|| counts(&running, "one").taken == 1100).await;
    let before = counts(&running, "one");
    running.stop().await;

    let mut receiver = Receiver::start(&[Answer::Status(200)]).await;
    let running = start(journal, policy());
    set(&running, 1, vec![drain("one", format!("http://{}/", receiver.address))]).await;
    let mut total = 0;
    while total < 1100 {
        let messages = receiver.next().await.messages();
        total += messages.iter().map(|message| told(message)).sum::<u64>();
    }
    let after = settled(&running, "one", 1).await;
    assert_eq!((after.taken, after.delivered), (1100, before.pending));
    running.stop().await;
}

#[tokio::test]
async fn a_frame_under_way_when_the_platform_was_killed_is_sent_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Some(dir.path().join("journal"));
    let mut receiver = Receiver::start(&[Answer::Silence, Answer::Status(200)]).await;
    let table = |port| vec![drain("one", format!("http://127.0.0.1:{port}/"))];
    let running = start(journal.clone(), policy());
    set(&running, 1, table(receiver.address.port())).await;
    running.lines.send(line(&app(), "under way"));
    let first = receiver.next().await;
    running.lines.send(line(&app(), "waiting"));
    until(|| counts(&running, "one").taken == 2).await;
    // Whatever is said next is taken in after what was said before is written.
    let mut tail = running.hub.tail(&app(), ALL, true).unwrap();
    running.lines.send(line(&AppId::new("other"), "written"));
    assert_eq!(next(&mut tail).await, "under way");
    until(|| running.hub.counts(&AppId::new("other")).emitted == 1).await;
    running.kill().await;

    let running = start(journal, policy());
    set(&running, 1, table(receiver.address.port())).await;
    let again = receiver.next().await;
    assert_eq!(again.headers["logplex-frame-id"], first.headers["logplex-frame-id"]);
    assert_eq!(again.body, first.body);
    assert!(receiver.next().await.body.ends_with("waiting\n"));
    let want = DrainCounts { taken: 2, delivered: 2, dropped: 0, pending: 0 };
    assert_eq!(settled(&running, "one", 2).await, want);
    running.stop().await;
}

pub(crate) async fn read_frames(mut stream: impl AsyncRead + Unpin, until: &str) -> String {
    let read = async {
        let mut text = Vec::new();
        while !text.ends_with(until.as_bytes()) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
        }
        String::from_utf8(text).unwrap()
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test]
async fn syslog_reconnects_and_keeps_what_waits() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let running = start(None, policy());
    set(&running, 1, vec![drain("one", format!("syslog://{address}"))]).await;
    running.lines.send(line(&app(), "one"));
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(
        read_frames(&mut stream, "one\n").await,
        "64 <190>1 1970-01-01T00:00:00.000000+00:00 d.one app web.1 - - one\n"
    );
    // The receiver hangs up and is gone for a while.
    drop(listener);
    stream.shutdown().await.unwrap();
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "the drain hangs up too");
    for n in 0..100 {
        running.lines.send(line(&app(), &n));
    }
    until(|| counts(&running, "one").taken == 101).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let text = read_frames(stream, "- 99\n").await;
    assert_eq!(text.lines().count(), 100);
    let want = DrainCounts { taken: 101, delivered: 101, dropped: 0, pending: 0 };
    assert_eq!(settled(&running, "one", 1).await, want);
    running.stop().await;
}

/// fault L1: a receiver that takes connections and never reads.
#[tokio::test]
async fn a_syslog_server_that_never_reads_costs_itself_only() {
    let listener = listener().await;
    let working = Receiver::start(&[Answer::Status(200)]).await;
    let running = start(None, policy());
    let drains = vec![
        drain("stuck", format!("syslog://{}", listener.local_addr().unwrap())),
        drain("working", format!("http://{}/", working.address)),
    ];
    set(&running, 1, drains).await;
    let text = "x".repeat(10_000);
    let mut sent = 0;
    // Until no buffer between here and there takes more.
    while counts(&running, "stuck").dropped == 0 {
        assert!(sent < 10_000, "somebody reads");
        (0..50).for_each(|_| running.lines.send(line(&app(), &text)));
        sent += 50;
        assert_eq!(settled(&running, "working", sent).await.delivered, sent);
    }
    let stuck = counts(&running, "stuck");
    assert!(stuck.pending * 10_000 <= (1 << 20) + 65_536, "{stuck:?}");
    running.stop().await;
}
