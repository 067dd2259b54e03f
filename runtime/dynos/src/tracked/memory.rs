//! R14 and R15: what a dyno's memory says about it. Pure.
//! Source: Heroku Dev Center, "Heroku Error Codes".

use crate::class::Class;
use crate::containers::{Ended, Usage};
use crate::output::state_line as line;

/// What is remembered of one dyno's memory between two samples.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    class: Class,
    /// Out-of-memory kills seen so far; none before the first sample.
    oom_kills: Option<u64>,
}

/// What a sample comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) lines: Vec<String>,
    /// R15: it shall be ended.
    pub(crate) vast: bool,
}

/// Whether the kernel's out-of-memory killer took the dyno's own process, not just a child of it.
pub(crate) fn was_fatal(ended: &Ended) -> bool {
    ended.oom_killed && ended.status == 128 + 9
}

impl Memory {
    pub(crate) fn of(class: &Class) -> Self {
        Self { class: class.clone(), oom_kills: None }
    }

    pub(crate) fn quota_bytes(&self) -> u64 {
        self.class.memory_bytes
    }

    /// R14 while resident memory, cache and swap together are above the quota, or when a child
    /// was killed for memory; R15 when resident memory and swap are above twice the quota.
    pub(crate) fn judge(&mut self, usage: &Usage) -> Verdict {
        let quota = self.class.memory_bytes;
        let held = usage.memory_rss_bytes.saturating_add(usage.memory_swap_bytes);
        let used = held.saturating_add(usage.memory_cache_bytes);
        let seen = self.oom_kills.replace(usage.oom_kills);
        let lost_child = seen.is_some_and(|seen| usage.oom_kills > seen);
        if held > quota.saturating_mul(2) {
            let lines = vec![line::memory(held, &self.class), line::R15.to_owned()];
            return Verdict { lines, vast: true };
        }
        if used > quota || lost_child {
            let shown = if lost_child { usage.memory_peak_bytes.max(used) } else { used };
            let lines = vec![line::memory(shown, &self.class), line::R14.to_owned()];
            return Verdict { lines, vast: false };
        }
        Verdict::default()
    }

    /// The lines of a dyno that the kernel ended for its memory: its limit is the quota itself.
    pub(crate) fn death(&self, peak_bytes: u64) -> Vec<String> {
        vec![line::memory(peak_bytes, &self.class), line::R15.to_owned(), line::SIGKILL.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classes;

    const MIB: u64 = 1 << 20;

    #[test]
    fn quota_and_twice_the_quota() {
        let usage = |rss: u64, cache: u64, swap: u64| Usage {
            memory_rss_bytes: rss * MIB,
            memory_cache_bytes: cache * MIB,
            memory_swap_bytes: swap * MIB,
            ..Usage::default()
        };
        for (sample, code, vast) in [
            (usage(512, 0, 0), None, false),
            (usage(500, 13, 0), Some(line::R14), false),
            (usage(512, 0, 512), Some(line::R14), false),
            (usage(512, 4000, 512), Some(line::R14), false),
            (usage(512, 0, 513), Some(line::R15), true),
        ] {
            let mut memory = Memory::of(&Classes::standard().named("eco").unwrap());
            let verdict = memory.judge(&sample);
            assert_eq!(verdict.lines.get(1).map(String::as_str), code, "{sample:?}");
            assert_eq!(verdict.vast, vast);
        }
    }

    #[test]
    fn a_child_killed_for_memory_is_said_once() {
        let mut memory = Memory::of(&Classes::standard().named("eco").unwrap());
        let usage = |oom_kills| Usage { oom_kills, ..Usage::default() };
        assert!(memory.judge(&usage(3)).lines.is_empty());
        assert_eq!(memory.judge(&usage(4)).lines[1], line::R14);
        assert!(memory.judge(&usage(4)).lines.is_empty());
    }
}
