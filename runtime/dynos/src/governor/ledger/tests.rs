//! What is written down when, and that looking seldom decides nothing later.

use super::*;
use crate::class::Classes;
use proptest::prelude::*;

const FULL: Treatment = Treatment::Enforce { strength: 100 };

fn entry(class: &str, treatment: Treatment) -> Entry {
    let class = Classes::standard().named(class).unwrap();
    let place = (AppId::new("app"), "web.1".to_owned());
    Entry::new(place, class, treatment, Reading::default(), None).unwrap()
}

fn at(entry: &Entry, used_ms: u64, elapsed_ms: u64) -> Reading {
    Reading {
        used: entry.read.used + Duration::from_millis(used_ms),
        at: entry.read.at + Duration::from_millis(elapsed_ms),
    }
}

#[test]
fn a_quota_is_written_when_it_changes_and_only_then() {
    let mut entry = entry("shared-cpu-1x", FULL);
    assert_eq!(entry.quota_to_write(), Some(100_000));
    assert_eq!(entry.quota_to_write(), None);
    entry.book(at(&entry, 5000, 5000));
    assert_eq!(entry.quota_to_write(), None, "it has saved 0.3 s meanwhile");
    entry.book(at(&entry, 400, 400));
    assert_eq!(entry.quota_to_write(), Some(6250));
    entry.not_written();
    assert_eq!(entry.quota_to_write(), Some(6250), "tried again");
    let booked = entry.book(at(&entry, 0, 1100));
    assert!(booked.held);
    assert_eq!(entry.quota_to_write(), Some(100_000));
}

#[test]
fn strength_takes_a_part_and_observation_nothing() {
    for (treatment, safe) in [
        (Treatment::Observe, 100_000),
        (Treatment::Enforce { strength: 0 }, 100_000),
        (Treatment::Enforce { strength: 50 }, 53_125),
        (FULL, 6250),
    ] {
        assert_eq!(entry("shared-cpu-1x", treatment).safe_us(), safe, "{treatment:?}");
    }
    assert_eq!(entry("shared-cpu-8x", FULL).safe_us(), 50_000);
    assert_eq!(entry("standard-2x", FULL).safe_us(), 50_000);
}

#[test]
fn what_is_kept_goes_on_as_if_nobody_had_been_away() {
    let mut one = entry("shared-cpu-1x", FULL);
    one.book(at(&one, 1000, 1000));
    let kept = one.keep();
    let class = one.class.clone();
    let place = (one.app.clone(), one.name.clone());
    let text = serde_json::to_vec(&kept).unwrap();
    let kept = serde_json::from_slice(&text).unwrap();
    let mut other = Entry::new(place, class, FULL, Reading::default(), Some(kept)).unwrap();
    let later = at(&one, 700, 9000);
    one.book(later);
    other.book(later);
    assert_eq!(one.keep(), other.keep());
}

proptest! {
    /// A dyno that is looked at as seldom as `due` allows is held back at the same tick as one that
    /// is looked at every tick.
    #[test]
    fn looking_seldom_decides_nothing_later(
        demands in proptest::collection::vec((0..=1000u64, 1..400u32), 1..20),
    ) {
        let tick_ms = u64::try_from(TICK.as_millis()).unwrap();
        let mut often = entry("shared-cpu-1x", Treatment::Observe);
        let mut seldom = often.clone();
        let mut since = (0, 0);
        for (permille, ticks) in demands {
            for _ in 0..ticks {
                let used_ms = tick_ms * permille / 1000;
                often.book(at(&often, used_ms, tick_ms));
                since = (since.0 + used_ms, since.1 + tick_ms);
                if seldom.is_due(often.read.at) {
                    seldom.book(at(&seldom, since.0, since.1));
                    since = (0, 0);
                }
                prop_assert_eq!(seldom.is_held(), often.is_held());
            }
        }
    }
}
