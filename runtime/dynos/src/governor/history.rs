//! What dynos used and how long they were held, in quarters of an hour, for a day. Pure, bounded.

use super::ledger::Booked;
use lathe_logs::AppId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Minutes of one slice.
const SLICE_MIN: u64 = 15;
const SLICES_MAX: usize = 24 * 60 / 15;
/// Places remembered; more than one machine ever has at once.
const TRACKS_MAX: usize = 10_000;

/// A dyno's place: it outlives the dynos that fill it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Place {
    pub app: AppId,
    /// `web.1`.
    pub name: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    tracks: Vec<(Place, Track)>,
    #[serde(skip)]
    index: BTreeMap<Place, usize>,
    /// Places that were too many.
    dropped: u64,
}

/// One place's day.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Track {
    /// Of the dyno that filled it last.
    pub class: String,
    slices: VecDeque<Slice>,
}

/// A quarter of an hour, as far as a dyno was seen in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Slice {
    /// Quarters of an hour since 1970.
    number: u64,
    #[serde(flatten)]
    pub spell: Spell,
}

/// What happened to a dyno in some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Spell {
    pub seen: Duration,
    pub used: Duration,
    /// Held to its baseline, or it would have been.
    pub held: Duration,
}

impl Spell {
    /// Adds what was between two looks.
    pub fn book(&mut self, booked: Booked) {
        let held = if booked.held { booked.elapsed } else { Duration::ZERO };
        self.add(Self { seen: booked.elapsed, used: booked.used, held });
    }

    fn add(&mut self, more: Self) {
        self.seen += more.seen;
        self.used += more.used;
        self.held += more.held;
    }
}

impl History {
    /// Adds what happened just before `now_ms` (Unix time).
    pub fn note(&mut self, place: &Place, class: &str, spell: Spell, now_ms: u64) {
        if self.index.len() != self.tracks.len() {
            let places = self.tracks.iter().map(|(place, _)| place.clone());
            self.index = places.zip(0..).collect();
        }
        let index = match self.index.get(place) {
            Some(index) => *index,
            None if self.tracks.len() >= TRACKS_MAX => {
                self.dropped += 1;
                return;
            }
            None => {
                self.tracks.push((place.clone(), Track::default()));
                self.index.insert(place.clone(), self.tracks.len() - 1);
                self.tracks.len() - 1
            }
        };
        let track = &mut self.tracks[index].1;
        if track.class != class {
            class.clone_into(&mut track.class);
        }
        track.note(spell, now_ms);
    }

    /// Forgets places of which nothing was seen for a day.
    pub fn sweep(&mut self, now_ms: u64) {
        let first = (number(now_ms) + 1).saturating_sub(SLICES_MAX as u64);
        self.tracks
            .retain(|(_, track)| track.slices.back().is_some_and(|slice| slice.number >= first));
        self.index.clear();
    }

    pub fn tracks(&self) -> impl Iterator<Item = (&Place, &Track)> {
        self.tracks.iter().map(|(place, track)| (place, track))
    }
}

impl Track {
    fn note(&mut self, spell: Spell, now_ms: u64) {
        let number = number(now_ms);
        if self.slices.back().is_none_or(|slice| slice.number != number) {
            self.slices.push_back(Slice { number, ..Slice::default() });
        }
        while self.slices.len() > SLICES_MAX
            || self.slices.front().is_some_and(|s| s.number + (SLICES_MAX as u64) <= number)
        {
            self.slices.pop_front();
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.spell.add(spell);
        }
    }

    /// The last day's, the oldest first.
    pub fn slices(&self, now_ms: u64) -> impl Iterator<Item = &Slice> {
        let first = (number(now_ms) + 1).saturating_sub(SLICES_MAX as u64);
        self.slices.iter().filter(move |slice| slice.number >= first)
    }
}

fn number(now_ms: u64) -> u64 {
    now_ms / (SLICE_MIN * 60 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(name: &str) -> Place {
        Place { app: AppId::new("app"), name: name.into() }
    }

    fn second(held: bool) -> Spell {
        let (second, mut spell) = (Duration::from_secs(1), Spell::default());
        spell.book(Booked { elapsed: second, used: second / 2, held });
        spell
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let mut history = History::default();
        let hour = 3_600_000;
        for at in 0..50 {
            history.note(&place("web.1"), "Eco", second(at % 2 == 0), at * hour);
        }
        let (_, track) = history.tracks().next().unwrap();
        let slices: Vec<&Slice> = track.slices(49 * hour).collect();
        assert_eq!(slices.len(), 24);
        let held: Duration = slices.iter().map(|slice| slice.spell.held).sum();
        assert_eq!(held, Duration::from_secs(12));
        assert_eq!(track.slices(60 * hour).count(), 13, "time alone makes slices old");
        history.sweep(60 * hour);
        assert_eq!(history.tracks().count(), 1);
        history.sweep(80 * hour);
        assert_eq!(history.tracks().count(), 0);
    }

    #[test]
    fn what_is_written_is_read_and_goes_on() {
        let mut history = History::default();
        history.note(&place("web.1"), "Eco", second(true), 0);
        let text = serde_json::to_string(&history).unwrap();
        let mut back: History = serde_json::from_str(&text).unwrap();
        for name in ["web.1", "web.2"] {
            back.note(&place(name), "Eco", second(true), 1);
        }
        let seen: Vec<_> = back
            .tracks()
            .map(|(p, t)| (p.name.clone(), t.slices(1).next().unwrap().spell.seen))
            .collect();
        let secs = Duration::from_secs;
        assert_eq!(seen, [("web.1".into(), secs(2)), ("web.2".into(), secs(1))]);
    }

    proptest! {
        #[test]
        fn it_never_grows_beyond_its_bounds(steps in proptest::collection::vec(0..100_000_000u64, 1..500)) {
            let mut history = History::default();
            let mut now = 0;
            for step in steps {
                now += step;
                history.note(&place("web.1"), "Eco", second(false), now);
                let (_, track) = history.tracks().next().unwrap();
                prop_assert!(track.slices.len() <= SLICES_MAX);
                prop_assert!(track.slices(now).count() >= 1);
            }
        }
    }
}
