//! What cargo says while it compiles, counted: crates begun, of how many.

use crate::program::Heard;
use std::fmt;
use std::time::{Duration, Instant};

/// How often somebody who waits hears of it.
const INTERVAL: Duration = Duration::from_secs(10);

/// Crates that cargo has begun to compile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Crates {
    pub begun: usize,
    pub total: Total,
}

/// How many there will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Total {
    #[default]
    Unknown,
    /// As many as the lock file has; some are for other systems.
    AtMost(usize),
    /// As many as an earlier stage compiled.
    Exactly(usize),
}

impl fmt::Display for Crates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            Total::Unknown => write!(f, "{} crates", self.begun),
            Total::AtMost(total) => write!(f, "{} of at most {total} crates", self.begun),
            Total::Exactly(total) => write!(f, "{} of {total} crates", self.begun),
        }
    }
}

/// Counts crates in what a program says, and says so itself from time to time.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) crates: Crates,
    next: Instant,
}

impl Counting {
    pub(crate) fn begin(total: Total, now: Instant) -> Self {
        Self { crates: Crates { begun: 0, total }, next: now + INTERVAL }
    }

    /// Whether it is time to tell how far it is.
    pub(crate) fn hear(&mut self, heard: Heard<'_>, now: Instant) -> bool {
        if let Heard::Line(line) = heard
            && is_compiling(line)
        {
            self.crates.begun += 1;
        }
        let due = now >= self.next && self.crates.begun > 0;
        if due {
            self.next = now + INTERVAL;
        }
        due
    }
}

/// `Compiling NAME vVERSION`, from cargo itself or through a push.
fn is_compiling(line: &str) -> bool {
    let line = line.strip_prefix("remote:").unwrap_or(line).trim_start();
    let mut words = line.split(' ');
    words.next() == Some("Compiling")
        && words.next().is_some()
        && words.next().is_some_and(|version| version.starts_with('v'))
}

/// Packages in a `Cargo.lock`.
pub(crate) fn locked(text: &str) -> usize {
    text.lines().filter(|line| *line == "[[package]]").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_and_told_of_now_and_then() {
        let begin = Instant::now();
        let mut counting = Counting::begin(Total::AtMost(9), begin);
        let after = |seconds| begin + Duration::from_secs(seconds);
        let cases = [
            (Heard::Silence, 20, false, 0),
            (Heard::Line("remote:        Compiling libc v0.2.1"), 1, false, 1),
            (Heard::Line("   Compiling lathe v0.1.0 (/tmp/build/platform)"), 2, false, 2),
            (Heard::Line("remote:        Compiling with love"), 3, false, 2),
            (Heard::Line("remote: -----> Compiling"), 4, false, 2),
            (Heard::Silence, 11, true, 2),
            (Heard::Silence, 12, false, 2),
            (Heard::Line("   Compiling cc v1.0.0"), 22, true, 3),
        ];
        for (heard, at, due, begun) in cases {
            assert_eq!(counting.hear(heard, after(at)), due, "{heard:?} at {at}");
            assert_eq!(counting.crates.begun, begun, "{heard:?}");
        }
        assert_eq!(counting.crates.to_string(), "3 of at most 9 crates");
    }

    #[test]
    fn a_lock_file_names_its_packages() {
        let text = "version = 4\n\n[[package]]\nname = \"a\"\n\n[[package]]\nname = \"b\"\n";
        assert_eq!(locked(text), 2);
    }
}
