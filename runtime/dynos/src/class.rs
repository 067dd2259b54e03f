//! Dyno classes: what a dyno of each size may use. Numbers: Heroku's dyno types (2024).

use serde::{Deserialize, Serialize};

/// One dyno size. All limits are per dyno.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Class {
    /// Canonical capitalisation, as the Heroku CLI prints it: `Standard-1X`.
    pub name: String,
    pub memory_bytes: u64,
    /// Relative weight under contention (cgroup v1 `cpu.shares`).
    pub cpu_shares: u32,
    /// Hard cap in thousandths of one CPU; none = no cap.
    pub cpu_millis_max: Option<u32>,
    /// Processes and threads together.
    pub pids_max: u32,
    /// What the dyno may write outside its memory: the size of its writable layer.
    pub disk_bytes: u64,
}

const MIB: u64 = 1024 * 1024;
const SHARES: u32 = 1024;

/// Names in canonical form, with what is given to each. Memory and the relations between the
/// CPU columns are Heroku's published figures; where it publishes none (processes above 256,
/// the writable layer) the figure is ours.
const TABLE: &[Row] = &[
    Row::shared("Free", 512, 1, 256),
    Row::shared("Eco", 512, 1, 256),
    Row::shared("Hobby", 512, 1, 256),
    Row::shared("Basic", 512, 1, 256),
    Row::shared("Standard-1X", 512, 1, 256),
    Row::shared("Standard-2X", 1024, 2, 512),
    Row::dedicated("Performance-M", 2560, 2, 12, 16_384),
    Row::dedicated("Performance-L", 14 * 1024, 8, 50, 32_768),
    Row::dedicated("Performance-L-RAM", 30 * 1024, 4, 24, 16_384),
    Row::dedicated("Performance-XL", 62 * 1024, 8, 50, 32_768),
    Row::dedicated("Performance-2XL", 126 * 1024, 16, 100, 32_768),
    // A build weighs as much as one small dyno, so that it never slows what serves; it may
    // take whatever CPU is idle.
    Row::shared("build", 4096, 1, 4096),
];

/// Other names by which the same class is asked for.
const ALIASES: &[(&str, &str)] = &[("1X", "Standard-1X"), ("2X", "Standard-2X")];

struct Row {
    name: &'static str,
    memory_mib: u64,
    /// Whole CPUs it may use at most; none = all that are idle.
    cpus: Option<u32>,
    /// Weight against one small dyno.
    weight: u32,
    pids: u32,
}

impl Row {
    const fn shared(name: &'static str, memory_mib: u64, weight: u32, pids: u32) -> Self {
        Self { name, memory_mib, cpus: None, weight, pids }
    }

    const fn dedicated(
        name: &'static str,
        memory_mib: u64,
        cpus: u32,
        weight: u32,
        pids: u32,
    ) -> Self {
        Self { name, memory_mib, cpus: Some(cpus), weight, pids }
    }

    fn class(&self) -> Class {
        Class {
            name: self.name.to_owned(),
            memory_bytes: self.memory_mib * MIB,
            cpu_shares: self.weight * SHARES,
            cpu_millis_max: self.cpus.map(|cpus| cpus * 1000),
            pids_max: self.pids,
            // Written files are memory here: half of it, so that a full disk is an error the
            // app sees (ENOSPC) and not its death.
            disk_bytes: self.memory_mib * MIB / 2,
        }
    }
}

impl Class {
    /// The class of that name, whatever its capitalisation.
    pub fn named(name: &str) -> Option<Self> {
        let canonical = ALIASES
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(name))
            .map_or(name, |(_, canonical)| canonical);
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(canonical)).map(Row::class)
    }

    /// Every class, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Row::class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_printed_in_one() {
        for (asked, printed, memory_mib) in [
            ("standard-1x", "Standard-1X", 512),
            ("1x", "Standard-1X", 512),
            ("2X", "Standard-2X", 1024),
            ("ECO", "Eco", 512),
            ("performance-m", "Performance-M", 2560),
            ("PERFORMANCE-L-RAM", "Performance-L-RAM", 30 * 1024),
            ("performance-2xl", "Performance-2XL", 126 * 1024),
            ("build", "build", 4096),
        ] {
            let class = Class::named(asked).unwrap();
            assert_eq!((class.name.as_str(), class.memory_bytes / MIB), (printed, memory_mib));
        }
        assert_eq!(Class::named("standard-3x"), None);
        assert_eq!(Class::named(""), None);
    }

    #[test]
    fn every_class_is_found_by_its_own_name_and_has_every_limit() {
        for class in Class::all() {
            assert_eq!(Class::named(&class.name.to_uppercase()), Some(class.clone()));
            assert!(class.pids_max >= 256 && class.disk_bytes < class.memory_bytes);
            // The range of cgroup v1 `cpu.shares`.
            assert!((2..=262_144).contains(&class.cpu_shares), "{class:?}");
        }
    }
}
