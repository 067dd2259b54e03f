//! The outbox against given times and outcomes.

use super::*;
use crate::AppId;
use crate::block::tests::block;
use crate::drain::Mark;
use proptest::prelude::*;

fn entry(at: u64, length: usize) -> Block {
    block(at, &["x".repeat(length)])
}

fn entries(first: u64, lines: usize) -> Block {
    block(first, &vec!["xxxxx"; lines])
}

/// Without room for a burst.
fn policy() -> Policy {
    Policy { burst: 0, ..Policy::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn outbox() -> Outbox {
    Outbox::new("d.1".to_owned(), Wire::Http)
}

fn filled(lines: u64) -> Outbox {
    let mut outbox = outbox();
    for n in 0..lines {
        outbox.offer(entry(n, 5), at(0), &policy());
    }
    outbox
}

fn body(frame: &Frame) -> &str {
    std::str::from_utf8(&frame.body).unwrap()
}

#[test]
fn a_stalled_drain_keeps_the_newest_1024_and_tells_how_many_went() {
    let mut outbox = filled(1100);
    assert_eq!(
        outbox.counts(),
        DrainCounts { taken: 1100, delivered: 0, dropped: 76, pending: 1024 }
    );
    let frame = outbox.frame(at(7)).unwrap();
    assert!(body(&frame).contains(
        "Error L10 (output buffer overflow): 76 messages dropped since 1970-01-01T00:00:00+00:00."
    ));
    assert!(body(&frame).contains("<172>1 1970-01-01T00:00:07+00:00 host heroku logplex - "));
    assert_eq!(frame.messages, 1025);
    outbox.settle(Outcome::Delivered, at(8), &policy());
    assert_eq!(
        outbox.counts(),
        DrainCounts { taken: 1100, delivered: 1024, dropped: 76, pending: 0 }
    );
    outbox.offer(entry(2000, 5), at(9), &policy());
    assert!(!body(&outbox.frame(at(9)).unwrap()).contains("L10"));
}

#[test]
fn a_burst_finds_room_at_a_drain_that_keeps_up() {
    let (mut outbox, policy) = (outbox(), Policy::default());
    let dropped = |outbox: &Outbox| outbox.counts().dropped;
    outbox.offer(entry(0, 5), at(0), &policy);
    outbox.frame(at(0));
    outbox.offer(entries(1, 6000), at(0), &policy);
    assert_eq!(dropped(&outbox), 0, "it may answer yet");
    outbox.settle(Outcome::Delivered, at(2), &policy);
    while outbox.frame(at(2)).is_some() {
        outbox.settle(Outcome::Delivered, at(2), &policy);
    }
    assert_eq!(outbox.counts().delivered, 6001);

    outbox.offer(entries(7000, 20_000), at(3), &policy);
    assert_eq!(dropped(&outbox), 20_000 - 16_384, "not for any burst");
    outbox.frame(at(3));
    let before =
        dropped(&outbox) + 16_384 - outbox.under_way.as_ref().unwrap().lines.lines() as u64;
    outbox.offer(entry(30_000, 5), at(4), &policy);
    assert_eq!(dropped(&outbox), before + 1 - 1024, "it is late");
    outbox.settle(Outcome::Failed, at(4), &policy);
    outbox.settle(Outcome::Delivered, at(5), &policy);
    outbox.offer(entries(31_000, 5000), at(5), &policy);
    assert_eq!(outbox.counts().pending, 6024, "it works again");
}

#[test]
fn three_tries_with_one_id_then_the_loss_is_told() {
    let (mut outbox, policy) = (filled(3), policy());
    let first = outbox.frame(at(1)).unwrap();
    for second in 1..=3 {
        let frame = outbox.frame(at(second)).unwrap();
        assert_eq!((&frame.id, &frame.body), (&first.id, &first.body));
        outbox.settle(Outcome::Failed, at(second), &policy);
    }
    assert!(outbox.frame(at(4)).is_none());
    assert_eq!(outbox.counts().dropped, 3);
    outbox.offer(entry(9, 5), at(5), &policy);
    let frame = outbox.frame(at(5)).unwrap();
    assert_ne!(frame.id, first.id);
    assert_eq!(frame.messages, 2);
    assert!(body(&frame).contains("3 messages dropped since 1970-01-01T00:00:03+00:00."));
}

#[test]
fn a_loss_is_told_until_the_telling_arrives() {
    let (mut outbox, policy) = (filled(1), policy());
    outbox.frame(at(1));
    outbox.settle(Outcome::Refused, at(1), &policy);
    for n in 2..5 {
        outbox.offer(entry(n, 5), at(5), &policy);
        let frame = outbox.frame(at(5)).unwrap();
        let told = format!("{} messages dropped since 1970-01-01T00:00:01+00:00.", n - 1);
        assert!(body(&frame).contains(&told), "{}", body(&frame));
        outbox.settle(Outcome::Refused, at(5), &policy);
    }
    assert_eq!(outbox.failures(), 0);
}

#[test]
fn a_drain_failing_for_five_minutes_keeps_ten() {
    let (mut outbox, policy) = (filled(1000), policy());
    outbox.settle(Outcome::Unreachable, at(100), &policy);
    outbox.settle(Outcome::Unreachable, at(399), &policy);
    assert_eq!(outbox.counts().pending, 1000);
    outbox.settle(Outcome::Unreachable, at(400), &policy);
    assert_eq!(outbox.counts().pending, 10);
    assert_eq!(outbox.failures(), 3);
    outbox.frame(at(401));
    outbox.settle(Outcome::Delivered, at(401), &policy);
    (0..50).for_each(|n| outbox.offer(entry(5000 + n, 5), at(402), &policy));
    assert_eq!(outbox.counts().pending, 50);
}

#[test]
fn frames_are_filled_to_their_target() {
    let policy = policy();
    let mut outbox = filled(0);
    (0..60).for_each(|n| outbox.offer(entry(n, 10_000), at(0), &policy));
    let frame = outbox.frame(at(0)).unwrap();
    assert_eq!(frame.messages, 10);
    assert!(frame.body.len() <= 102_400);

    outbox.rewire(Wire::Syslog { token: "d.1".to_owned() });
    assert_eq!(outbox.counts().pending, 60);
    let frame = outbox.frame(at(0)).unwrap();
    assert_eq!(frame.messages, 6);
    assert!(body(&frame).contains(" d.1 app web.1 - - x"));

    let mut outbox = filled(0);
    outbox.offer(block(0, &vec!["x".repeat(30_000); 20]), at(0), &policy);
    for want in [3, 3, 3, 3, 3, 3, 2] {
        assert_eq!(
            outbox.frame(at(0)).unwrap().messages,
            want,
            "a block is cut where it has to be"
        );
        outbox.settle(Outcome::Delivered, at(0), &policy);
    }
}

#[test]
fn what_is_left_is_taken_up_again_with_the_same_frame_first() {
    let (mut before, policy) = (filled(1030), policy());
    let first = before.frame(at(1)).unwrap();
    before.settle(Outcome::Failed, at(1), &policy);
    (0..10).for_each(|n| before.offer(entry(5000 + n, 5), at(2), &policy));
    let (under_way, waiting, untold) = before.place();
    let drain = "one".to_owned();
    let (app, counts) = (AppId::new("a"), before.counts());
    let mark = Mark { drain, app, under_way, waiting, untold, counts };
    let lines = [entries(0, 1030), entries(5000, 10)];
    let left = Left::new(mark, lines.iter());
    let mut after = outbox();
    after.restore(left, at(9), &policy);
    assert_eq!(after.counts(), counts);
    let again = after.frame(at(9)).unwrap();
    assert_eq!(again.id, first.id);
    assert!(body(&again).contains("6 messages dropped"));
    after.settle(Outcome::Delivered, at(9), &policy);
    assert_eq!(after.frame(at(9)).unwrap().messages, 10);
}

/// The journal is a moment behind: what it takes for waiting may have been sent.
#[test]
fn what_was_sent_after_the_mark_is_sent_again_as_the_same_frames() {
    let policy = policy();
    let mut before = outbox();
    let lines = block(1, &vec!["x".repeat(30_000); 5]);
    before.offer(lines.clone(), at(0), &policy);
    let (under_way, waiting, untold) = before.place();
    let (drain, app, counts) = ("one".to_owned(), AppId::new("a"), before.counts());
    let mark = Mark { drain, app, under_way, waiting, untold, counts };
    let sent = (0..2).map(|_| {
        let frame = before.frame(at(1)).unwrap();
        before.settle(Outcome::Delivered, at(1), &policy);
        frame.id.clone()
    });
    let sent: Vec<_> = sent.collect();

    let mut after = outbox();
    after.restore(Left::new(mark, [lines].iter()), at(9), &policy);
    after.offer(entry(6, 5), at(9), &policy);
    let again = (0..3).map(|_| {
        let frame = after.frame(at(9)).unwrap();
        after.settle(Outcome::Delivered, at(9), &policy);
        (frame.id.clone(), frame.messages)
    });
    let again: Vec<_> = again.collect();
    assert_eq!(again.iter().map(|(_, messages)| *messages).collect::<Vec<_>>(), [3, 2, 1]);
    assert!(sent.iter().eq(again[..2].iter().map(|(id, _)| id)), "{sent:?} {again:?}");
}

#[derive(Clone, Debug)]
enum Step {
    /// So many lines of this length.
    Offer(usize, usize),
    Frame,
    Settle(Outcome),
    Rewire,
}

fn step() -> impl Strategy<Value = Step> {
    use Outcome::{Delivered, Failed, Refused, Unreachable};
    prop_oneof![
        6 => (1usize..30, 0usize..20_000).prop_map(|(lines, length)| Step::Offer(lines, length)),
        3 => Just(Step::Frame),
        1 => proptest::sample::select(vec![Delivered, Refused, Failed, Failed, Unreachable])
            .prop_map(Step::Settle),
        1 => Just(Step::Rewire),
    ]
}

proptest! {
    /// Whatever happens: taken = delivered + dropped + pending, the bounds hold, and a receiver
    /// that adds up lines and L10 counts misses nothing.
    #[test]
    fn nothing_is_unaccounted_for(
        steps in proptest::collection::vec((step(), 0i64..200), 0..200), burst in 0usize..60,
    ) {
        let policy = Policy { lines: 20, burst, bytes: 100_000, lines_failing: 3, ..policy() };
        let (mut outbox, mut now, mut taken, mut received, mut told) = (outbox(), 0, 0, 0, 0);
        for (step, seconds) in steps {
            now += seconds;
            match step {
                Step::Offer(lines, length) => {
                    let texts = vec!["x".repeat(length); lines];
                    outbox.offer(block(taken, &texts), at(now), &policy);
                    taken += lines as u64;
                    prop_assert!(outbox.waiting.lines() <= burst.max(20));
                    prop_assert!(outbox.waiting.bytes() <= 100_000);
                }
                Step::Frame => drop(outbox.frame(at(now))),
                Step::Settle(outcome) => {
                    if let (Outcome::Delivered, Some(sent)) = (outcome, &outbox.under_way) {
                        received += sent.lines.lines() as u64;
                        told += sent.told.lines;
                    }
                    outbox.settle(outcome, at(now), &policy);
                }
                Step::Rewire => outbox.rewire(Wire::Http),
            }
            let counts = outbox.counts();
            prop_assert_eq!(counts.taken, taken);
            prop_assert_eq!(counts.delivered, received);
            prop_assert_eq!(counts.taken, counts.delivered + counts.dropped + counts.pending);
            let untold = outbox.loss.lines + outbox.under_way.as_ref().map_or(0, |f| f.told.lines);
            prop_assert_eq!(counts.dropped, told + untold);
            let pending: Vec<_> = outbox.pending().collect();
            prop_assert!(pending.windows(2).all(|two| two[0].last() < two[1].first));
        }
    }
}
