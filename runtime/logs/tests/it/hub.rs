//! The hub as the platform uses it: lines in at the door, tails out, a restart in between.

use crate::support::{ALL, line, next, rest, start, start_with};
use lathe_logs::{AppId, Filter, Ledger, Policy, TailError, channel, counted_channel, human};

#[tokio::test]
async fn backlog_then_what_comes_without_gap_or_repeat() {
    let (running, app) = (start(None, Policy::default()), AppId::new("a"));
    let mut first = running.hub.tail(&app, ALL, true).unwrap();
    for n in 0..2000 {
        running.lines.send(line(&app, &n));
        running.lines.send(line(&AppId::new("other"), &n));
        if n % 500 == 499 {
            for n in n - 499..=n {
                assert_eq!(next(&mut first).await, n.to_string());
            }
        }
    }
    let mut second = running.hub.tail(&app, Filter { lines: 3, ..ALL }, true).unwrap();
    running.lines.send(line(&app, &2000));
    for n in 1997..=2000 {
        assert_eq!(next(&mut second).await, n.to_string());
    }
    let counts = running.hub.counts(&app);
    assert_eq!((counts.emitted, counts.stored, counts.evicted), (2001, 1500, 501));
    running.hub.forget(&app);
    assert_eq!(second.next().await, None);
    running.stop().await;
}

#[tokio::test]
async fn what_was_handed_over_can_be_waited_for() {
    let (running, app) = (start(None, Policy::default()), AppId::new("a"));
    for n in 0..100 {
        running.lines.send(line(&AppId::new("other"), &n));
        running.lines.send(line(&app, &n));
        running.hub.settled().await;
        assert_eq!(running.hub.counts(&app).stored, n + 1);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_lines_and_cursors_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let app = AppId::new("a");
    let running = start(Some(journal.clone()), Policy::default());
    for n in 0..10 {
        running.lines.send(line(&app, &n));
    }
    let mut tail = running.hub.tail(&app, ALL, true).unwrap();
    let mut seen = None;
    for _ in 0..6 {
        seen = tail.next().await;
    }
    running.stop().await;

    let running = start(Some(journal), Policy::default());
    running.lines.send(line(&app, &10));
    let after = seen.map(|entry| entry.cursor);
    let mut tail = running.hub.tail(&app, Filter { after, lines: 0, ..ALL }, true).unwrap();
    for n in 6..=10 {
        assert_eq!(next(&mut tail).await, n.to_string());
    }
    assert_eq!(running.hub.counts(&app).stored, 11);
    running.stop().await;
    assert_eq!(tail.next().await, None);
}

#[tokio::test]
async fn what_a_killed_platform_had_taken_in_is_kept_and_the_rest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ledger) = (dir.path().join("journal"), dir.path().join("ledger"));
    let door = || counted_channel(100, Ledger::open(&ledger).unwrap());
    let app = AppId::new("a");
    let (lines, receiver) = door();
    let running = start_with(lines, receiver, Some(journal.clone()), Policy::default());
    let mut tail = running.hub.tail(&app, ALL, true).unwrap();
    for n in 0..10 {
        running.lines.send(line(&app, &n));
        assert_eq!(next(&mut tail).await, n.to_string());
    }
    running.kill().await;
    // Sent, and never taken in: the next kill comes at once.
    let (lines, receiver) = door();
    (10..15).for_each(|n| lines.send(line(&app, &n)));
    drop((lines, receiver));

    for round in 0..2 {
        let (lines, receiver) = door();
        let running = start_with(lines, receiver, Some(journal.clone()), Policy::default());
        let mut tail = running.hub.tail(&app, ALL, true).unwrap();
        for n in 0..10 {
            assert_eq!(next(&mut tail).await, n.to_string());
        }
        let told = "Error L13: 5 messages lost since 1970-01-01T00:00:00+00:00.";
        assert_eq!(next(&mut tail).await, told);
        if round == 0 {
            running.lines.send(line(&app, "on"));
        }
        assert_eq!(next(&mut tail).await, "on", "it is told once");
        let counts = running.hub.counts(&app);
        assert_eq!((counts.emitted, counts.dropped), (17, 5), "{counts:?}");
        running.kill().await;
    }
}

#[tokio::test]
async fn stopping_takes_in_what_was_queued_and_tells_what_was_lost() {
    let (lines, receiver) = channel(100);
    let app = AppId::new("a");
    for n in 0..130 {
        lines.send(line(&app, &n));
    }
    let running = start_with(lines, receiver, None, Policy::default());
    let (hub, lines) = (running.hub.clone(), running.lines.clone());
    running.stop().await;
    let texts = rest(hub.tail(&app, ALL, true).unwrap()).await;
    assert_eq!(texts.len(), 101);
    assert_eq!(texts[100], "Error L12: 30 messages dropped since 1970-01-01T00:00:00+00:00.");
    let counts = hub.counts(&app);
    assert_eq!((counts.emitted, counts.dropped, counts.stored), (131, 30, 101));
    lines.send(line(&app, "late"));
    assert_eq!(lines.dropped(), 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_everywhere_is_counted_to_the_last_line() {
    let (lines, receiver) = channel(64);
    let running = start_with(lines, receiver, None, Policy::default());
    let apps: Vec<_> = (0..3).map(|n| AppId::new(n.to_string())).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..15_000 {
                    running.lines.send(line(&apps[n % 3], &n));
                }
            });
        }
    });
    let (hub, lines) = (running.hub.clone(), running.lines.clone());
    running.stop().await;
    let mut dropped = 0;
    for app in &apps {
        let counts = hub.counts(app);
        assert_eq!(counts.emitted, counts.dropped + counts.stored + counts.evicted);
        let mut notices = 0;
        for text in rest(hub.tail(app, ALL, false).unwrap()).await {
            notices += u64::from(text.starts_with("Error L12"));
        }
        let notices_evicted = counts.emitted - 20_000 - notices;
        assert!(notices_evicted <= counts.evicted, "{counts:?}");
        dropped += counts.dropped;
    }
    assert_eq!(dropped, lines.dropped());
}

#[tokio::test]
async fn one_flood_costs_itself_only() {
    let policy = Policy { total_bytes: 1 << 20, ..Policy::default() };
    let running = start(None, policy);
    let (loud, quiet) = (AppId::new("loud"), AppId::new("quiet"));
    running.lines.send(line(&quiet, "here"));
    for _ in 0..500 {
        running.lines.send(line(&loud, &"x".repeat(25_000)));
    }
    running.lines.send(line(&quiet, "still"));
    let mut tail = running.hub.tail(&quiet, ALL, true).unwrap();
    assert_eq!(next(&mut tail).await, "here");
    assert_eq!(next(&mut tail).await, "still");
    let counts = running.hub.counts(&loud);
    assert_eq!((counts.emitted, counts.stored + counts.evicted), (1500, 1500));
    assert!(counts.stored < 100, "half of 1 MiB holds no {} lines", counts.stored);
    running.stop().await;
}

#[tokio::test]
async fn tails_of_one_app_are_bounded() {
    let running = start(None, Policy { tails_per_app: 2, ..Policy::default() });
    let app = AppId::new("a");
    let tail = || running.hub.tail(&app, ALL, true);
    let (first, _second) = (tail().unwrap(), tail().unwrap());
    assert!(matches!(tail(), Err(TailError::TooMany { max: 2, .. })));
    drop(first);
    assert!(tail().is_ok());
    running.stop().await;
}

#[tokio::test]
async fn a_hostile_line_stays_one_line_for_a_person() {
    let (running, app) = (start(None, Policy::default()), AppId::new("a"));
    running.lines.send(line(&app, "one\r\u{1b}[2J\ntwo"));
    let mut tail = running.hub.tail(&app, ALL, true).unwrap();
    let first = tail.next().await.unwrap();
    assert_eq!(human(&first.line), "1970-01-01T00:00:00.000000+00:00 app[web.1]: one^M^[[2J");
    assert_eq!(next(&mut tail).await, "two");
    running.stop().await;
}
