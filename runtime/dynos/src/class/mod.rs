//! Dyno classes: what a dyno of each size may use, and where classes are looked up.

mod admission;
mod table;

pub use admission::{Capacity, Demand, Policy, Shortage, Tenant, Want, promised_beside};

use crate::governor::credit::Terms;
use serde::{Deserialize, Serialize};

/// Weight of one whole CPU, in cgroup v1's `cpu.shares`: a class weighs as much as it may count on.
pub const SHARES_OF_CPU: u32 = 1024;

/// Fewest files of a writable layer.
const FILES_MIN: u64 = 65_536;

/// One class of dynos. All limits are per dyno.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Class {
    /// Canonical capitalisation, as the Heroku CLI prints it: `Standard-1X`.
    pub name: String,
    pub memory_bytes: u64,
    /// What it may have in swap beyond its memory.
    #[serde(default)]
    pub swap_bytes: u64,
    /// Relative weight under contention, 1024 for one CPU.
    pub cpu_shares: u32,
    /// Hard cap in thousandths of one CPU; none = no cap.
    pub cpu_millis_max: Option<u32>,
    /// What it earns, saves and spends below the cap; none: the cap is all there is.
    #[serde(default)]
    pub credit: Option<Terms>,
    /// Whole CPUs that it has to itself; 0: it shares them with all others that share.
    #[serde(default)]
    pub own_cpus: u32,
    /// Processes and threads together.
    pub pids_max: u32,
    /// What the dyno may write outside its memory: the size of its writable layer.
    pub disk_bytes: u64,
    /// US cents of a month, for reports; none where nobody pays.
    #[serde(default)]
    pub price_cents: Option<u32>,
}

impl Class {
    /// What it may count on, in thousandths of one CPU.
    pub fn baseline_millis(&self) -> u32 {
        self.cpu_shares.saturating_mul(1000) / SHARES_OF_CPU
    }

    /// How many files its writable layer holds, directories and links among them; more where there is
    /// more room.
    pub fn files_max(&self) -> u64 {
        (self.disk_bytes / 16_384).max(FILES_MIN)
    }

    /// Whether its web dynos sleep when nobody asks for them (Heroku Dev Center, "Eco Dyno Hours").
    pub fn sleeps(&self) -> bool {
        matches!(&*self.name, "Free" | "Eco")
    }

    /// Whether an app may ask for it; the builds' own class is the platform's.
    pub fn is_for_apps(&self) -> bool {
        self.name != table::BUILD
    }
}

/// Every class there is: the table, and what the operator has added.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Classes {
    added: Vec<Class>,
}

impl Classes {
    /// Adds a class of the operator's own.
    ///
    /// # Errors
    /// Gives it back when a class has that name already.
    pub fn add(&mut self, class: Class) -> Result<(), Class> {
        if self.named(&class.name).is_some() {
            return Err(class);
        }
        self.added.push(class);
        Ok(())
    }

    /// The class of that name, whatever its capitalisation.
    pub fn named(&self, name: &str) -> Option<Class> {
        let added = self.added.iter().find(|class| class.name.eq_ignore_ascii_case(name));
        added.cloned().or_else(|| table::named(name))
    }

    /// The table's, then those added.
    pub fn all(&self) -> impl Iterator<Item = Class> {
        table::all().chain(self.added.iter().cloned())
    }

    /// What every Lathe has.
    pub fn standard() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn names_are_found_in_any_case_and_printed_in_one() {
        let classes = Classes::standard();
        for (asked, printed, memory_mib) in [
            ("standard-1x", "Standard-1X", 512),
            ("1x", "Standard-1X", 512),
            ("2X", "Standard-2X", 1024),
            ("ECO", "Eco", 512),
            ("performance-m", "Performance-M", 2560),
            ("PERFORMANCE-L-RAM", "Performance-L-RAM", 30 * 1024),
            ("performance-2xl", "Performance-2XL", 126 * 1024),
            ("shared-cpu-8x", "shared-cpu-8x", 2048),
            ("performance-1x", "performance-1x", 2048),
            ("build", "build", 4096),
        ] {
            let class = classes.named(asked).unwrap();
            assert_eq!((class.name.as_str(), class.memory_bytes / MIB), (printed, memory_mib));
        }
        assert_eq!(classes.named("standard-3x"), None);
        assert_eq!(classes.named(""), None);
    }

    #[test]
    fn every_class_is_found_by_its_own_name_and_has_every_limit() {
        let classes = Classes::standard();
        for class in classes.all() {
            assert_eq!(classes.named(&class.name.to_uppercase()), Some(class.clone()));
            assert!(class.pids_max >= 256 && class.disk_bytes < class.memory_bytes);
            // The range of cgroup v1 `cpu.shares`.
            assert!((2..=262_144).contains(&class.cpu_shares), "{class:?}");
            if let Some(terms) = class.credit {
                assert_eq!(class.cpu_millis_max, Some(terms.cpus * 1000), "{class:?}");
                let baseline = u64::from(class.baseline_millis()) * 1000;
                assert!(terms.baseline_ppm_pooled().abs_diff(baseline) < 1000, "{class:?}");
                assert_eq!(class.own_cpus, 0, "credit is for those who share: {class:?}");
            }
            if class.own_cpus > 0 {
                assert_eq!(class.cpu_millis_max, Some(class.own_cpus * 1000), "{class:?}");
            }
        }
    }

    #[test]
    fn what_an_earlier_version_wrote_is_still_read() {
        let old = r#"{"name":"Eco","memory_bytes":536870912,"cpu_shares":1024,
            "cpu_millis_max":null,"pids_max":256,"disk_bytes":268435456}"#;
        let class: Class = serde_json::from_str(old).unwrap();
        assert_eq!((class.credit, class.own_cpus, class.swap_bytes), (None, 0, 0));
    }

    #[test]
    fn an_added_class_is_found_and_takes_no_name_twice() {
        let mut classes = Classes::standard();
        let tiny = Class { name: "Tiny".into(), ..classes.named("eco").unwrap() };
        classes.add(tiny.clone()).unwrap();
        assert_eq!(classes.named("TINY"), Some(tiny.clone()));
        assert_eq!(classes.add(tiny.clone()), Err(tiny.clone()));
        let taken = Class { name: "1x".into(), ..tiny };
        assert_eq!(classes.add(taken.clone()), Err(taken));
    }
}
