//! Quotas that nobody keeps account of: without an engine, dynos are held to what it has left as
//! safe.

use super::Spawner;
use crate::native::record::Files;
use crate::native::wills::{self, Wills};
use std::io;
use std::time::{Duration, Instant};

/// How long an engine may be away before what it has left is done: an upgrade that takes no
/// longer changes nothing, and a second is what is promised.
const PATIENCE: Duration = Duration::from_millis(500);

/// Since when there is no engine, until what it has left is done.
#[derive(Debug)]
pub(super) struct Alone(Option<Instant>);

impl Alone {
    /// A spawner begins without an engine.
    pub(super) fn since(now: Instant) -> Self {
        Self(Some(now))
    }

    pub(super) fn engine_came(&mut self) {
        self.0 = None;
    }

    pub(super) fn engine_went(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// How long it is until it is time; zero once, and none when nothing is to come.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Duration> {
        let left = (self.0? + PATIENCE).saturating_duration_since(now);
        if left.is_zero() {
            self.0 = None;
        }
        Some(left)
    }
}

impl Spawner {
    /// Does for every dyno that runs, of whichever engine, what was left for the case of the
    /// platform's absence.
    pub(super) fn make_safe(&self) {
        let running = self.held.iter().filter(|(_, held)| held.status.is_none());
        for (dyno, _) in running {
            // One that is ending has no group any more.
            drop(make_safe(&Files::of(&self.dir, *dyno)));
        }
        drop(Wills::of(&self.dir).execute());
    }
}

fn make_safe(files: &Files) -> io::Result<()> {
    let Some(will) = files.will() else { return Ok(()) };
    wills::execute(&will, &files.record()?.group().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_done_once_when_nobody_has_come_in_time() {
        let start = Instant::now();
        let mut alone = Alone::since(start);
        assert_eq!(alone.expire(start + PATIENCE / 2), Some(PATIENCE / 2));
        alone.engine_came();
        assert_eq!(alone.expire(start + PATIENCE * 2), None);
        alone.engine_went(start + PATIENCE * 2);
        assert_eq!(alone.expire(start + PATIENCE * 3), Some(Duration::ZERO));
        assert_eq!(alone.expire(start + PATIENCE * 3), None);
    }
}
