//! Who would have been held back for most of the last day, at which class not, what that costs. Pure.

use super::credit::{Account, Allowance, Mode};
use super::history::{History, Place, Slice};
use crate::class::{Class, Classes};
use lathe_logs::AppId;
use std::collections::BTreeMap;
use std::time::Duration;

/// More than this share of the day is worth a line (Fly.io, autumn 2024).
const HELD_PERCENT: u64 = 50;
/// Less than this counts as not at all: a burst at its end, a slow start.
const UNHELD_PERMILLE: u64 = 10;
/// A slice is replayed in pieces of this length.
const PIECE: Duration = Duration::from_mins(1);

/// The dynos of one process type of an app, if some are held too long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub app: AppId,
    pub process_type: String,
    pub class: String,
    /// Dynos that were seen, and those of them that were held too long.
    pub dynos: u32,
    pub held_dynos: u32,
    /// Of the one that was held longest: held time over the time that it was seen.
    pub held_percent: u64,
    pub seen: Duration,
    /// Where the longest held one would not have been; none: nowhere.
    pub remedy: Option<Remedy>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remedy {
    pub class: String,
    /// US cents a month more, for all dynos of the type together.
    pub more_cents: Option<i64>,
}

/// Everybody who is held for more than half of the last 24 hours; the worst first.
pub fn report(history: &History, classes: &Classes, now_ms: u64) -> Vec<Finding> {
    let mut types: BTreeMap<(&AppId, &str), Vec<Dyno<'_>>> = BTreeMap::new();
    for (place, track) in history.tracks() {
        let dyno = Dyno::of(&track.class, track.slices(now_ms).copied().collect());
        types.entry((&place.app, process_type(place))).or_default().push(dyno);
    }
    let mut findings: Vec<Finding> =
        types.into_iter().filter_map(|(key, dynos)| finding(key, &dynos, classes)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.held_percent));
    findings
}

fn process_type(place: &Place) -> &str {
    place.name.rsplit_once('.').map_or(place.name.as_str(), |(process_type, _)| process_type)
}

struct Dyno<'a> {
    class: &'a str,
    slices: Vec<Slice>,
    seen: Duration,
    held: Duration,
}

impl<'a> Dyno<'a> {
    fn of(class: &'a str, slices: Vec<Slice>) -> Self {
        let seen = slices.iter().map(|slice| slice.spell.seen).sum();
        let held = slices.iter().map(|slice| slice.spell.held).sum();
        Self { class, slices, seen, held }
    }

    fn held_percent(&self) -> u64 {
        share(self.held, self.seen, 100)
    }
}

/// A part in so many parts of the whole; 0 of nothing.
fn share(part: Duration, whole: Duration, parts: u64) -> u64 {
    let share = part.as_nanos() * u128::from(parts) / whole.as_nanos().max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn finding(
    (app, process_type): (&AppId, &str),
    dynos: &[Dyno<'_>],
    classes: &Classes,
) -> Option<Finding> {
    let held = || dynos.iter().filter(|dyno| dyno.held_percent() > HELD_PERCENT);
    let worst = held().max_by_key(|dyno| dyno.held_percent())?;
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(Finding {
        app: app.clone(),
        process_type: process_type.to_owned(),
        class: worst.class.to_owned(),
        dynos: count(dynos.len()),
        held_dynos: count(held().count()),
        held_percent: worst.held_percent(),
        seen: worst.seen,
        remedy: remedy(worst, classes, dynos.len()),
    })
}

/// The cheapest class with no less memory at which the dyno would not have been held.
fn remedy(dyno: &Dyno<'_>, classes: &Classes, dynos: usize) -> Option<Remedy> {
    let now = classes.named(dyno.class);
    let memory = now.as_ref().map_or(0, |class| class.memory_bytes);
    let mut larger: Vec<Class> = classes
        .all()
        .filter(|class| class.is_for_apps() && class.memory_bytes >= memory)
        .filter(|class| class.price_cents.is_some_and(|cents| cents > 0))
        .collect();
    larger.sort_by_key(|class| (class.price_cents, class.baseline_millis()));
    let class = larger.into_iter().find(|class| suffices(class, dyno, now.as_ref()))?;
    let price = |class: &Class| class.price_cents.map(i64::from);
    let more = price(&class).zip(now.as_ref().and_then(price)).map(|(new, old)| new - old);
    let dynos = i64::try_from(dynos).unwrap_or(i64::MAX);
    Some(Remedy { class: class.name, more_cents: more.map(|more| more.saturating_mul(dynos)) })
}

/// Whether what the dyno did would have gone on at `class` with next to no hold.
fn suffices(class: &Class, dyno: &Dyno<'_>, now: Option<&Class>) -> bool {
    let Some(terms) = class.credit else {
        let cpus = class.own_cpus.max(1);
        return dyno.slices.iter().all(|slice| demand(slice, now) <= slice.spell.seen * cpus);
    };
    let mut account = Account::new(&terms, Mode::Observe);
    let mut held = Duration::ZERO;
    for slice in &dyno.slices {
        let wanted = demand(slice, now);
        let mut left = slice.spell.seen;
        while left > Duration::ZERO {
            let piece = left.min(PIECE);
            left -= piece;
            if account.allowance() == Allowance::Baseline {
                held += piece;
            }
            let nanos = wanted.as_nanos() * piece.as_nanos() / slice.spell.seen.as_nanos().max(1);
            let used = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            account.book(&terms, used, piece);
        }
    }
    share(held, dyno.seen, 1000) < UNHELD_PERMILLE
}

/// CPU time that the dyno wanted. One that was really held back used its baseline and no more:
/// how much it wanted nobody knows, and all that its class lets it burst to is assumed.
fn demand(slice: &Slice, class: Option<&Class>) -> Duration {
    let Some(terms) = class.and_then(|class| class.credit) else { return slice.spell.used };
    let baseline = Duration::from_nanos(
        u64::try_from(
            slice.spell.held.as_nanos() * u128::from(terms.baseline_ppm_pooled()) / 1_000_000,
        )
        .unwrap_or(u64::MAX),
    );
    let capped = share(slice.spell.used, baseline.max(Duration::from_millis(1)), 100) <= 105;
    let all_held = slice.spell.held > slice.spell.seen / 2;
    if capped && all_held { slice.spell.held * terms.cpus } else { slice.spell.used }
}

#[cfg(test)]
mod tests {
    use super::super::history::Spell;
    use super::super::ledger::Booked;
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    /// A dyno that used so many thousandths of a CPU for so many hours, held as observed.
    fn day(history: &mut History, name: &str, class: &str, hours: &[u32]) {
        let classes = Classes::standard();
        let terms = classes.named(class).unwrap().credit.unwrap();
        let mut account = Account::new(&terms, Mode::Observe);
        let place = Place { app: AppId::new("app"), name: name.into() };
        let mut now_ms = 0;
        for millis in hours {
            for _ in 0..60 {
                let elapsed = Duration::from_mins(1);
                let used = elapsed * *millis / 1000;
                let held = account.allowance() == Allowance::Baseline;
                account.book(&terms, used, elapsed);
                let mut spell = Spell::default();
                spell.book(Booked { elapsed, used, held });
                history.note(&place, class, spell, now_ms);
                now_ms += 60_000;
            }
        }
    }

    #[test]
    fn who_uses_more_than_it_has_is_told_where_it_would_not() {
        let mut history = History::default();
        day(&mut history, "web.1", "Standard-1X", &[400; 24]);
        day(&mut history, "web.2", "Standard-1X", &[100; 24]);
        day(&mut history, "calm.1", "Eco", &[50; 24]);
        let found = report(&history, &Classes::standard(), 24 * HOUR_MS - 1);
        assert_eq!(found.len(), 1, "{found:?}");
        let finding = &found[0];
        assert_eq!((finding.process_type.as_str(), finding.class.as_str()), ("web", "Standard-1X"));
        assert_eq!((finding.dynos, finding.held_dynos, finding.held_percent), (2, 1, 99));
        let remedy = finding.remedy.clone().unwrap();
        let class = Classes::standard().named(&remedy.class).unwrap();
        assert!(class.baseline_millis() >= 400 && class.memory_bytes >= 512 << 20, "{class:?}");
        let more = i64::from(class.price_cents.unwrap()) - 2500;
        assert_eq!(remedy.more_cents, Some(more * 2));
    }

    #[test]
    fn a_burst_that_the_balance_pays_for_is_no_finding() {
        let mut history = History::default();
        let mut hours = [10; 24];
        hours[3] = 400;
        day(&mut history, "web.1", "Standard-1X", &hours);
        assert!(report(&history, &Classes::standard(), 24 * HOUR_MS - 1).is_empty());
    }
}
