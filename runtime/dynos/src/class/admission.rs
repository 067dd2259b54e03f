//! Whether one more dyno fits on the machine. Pure.

use super::{Class, SHARES_OF_CPU};
use std::collections::HashMap;
use std::fmt;
use std::ops::AddAssign;

/// What a machine may promise to dynos, all together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    pub memory_bytes: u64,
    /// 1024 for each CPU that may be promised.
    pub shares: u64,
    /// CPUs that may be set aside for dynos that have them to themselves.
    pub own_cpus: u32,
}

/// What dynos were promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    pub memory_bytes: u64,
    pub shares: u64,
    pub own_cpus: u32,
}

/// What there is not enough of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Bytes.
    Memory,
    /// Shares of the machine's CPUs.
    Cpu,
    /// Whole CPUs.
    OwnCpus,
}

/// Why a dyno does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortage {
    pub class: String,
    pub want: Want,
    pub wanted: u64,
    pub promised: u64,
    pub total: u64,
}

/// A dyno as far as room is concerned: its app, its name, its class.
pub type Tenant<'a> = (&'a str, &'a str, &'a Class);

/// What everybody but `new` is promised.
///
/// Dynos of one app and one name are one place: a new release's `web.1` starts beside the old one,
/// and takes its room over.
pub fn promised_beside<'a>(new: Tenant<'a>, living: impl Iterator<Item = Tenant<'a>>) -> Demand {
    let mut places: HashMap<(&str, &str), Demand> = HashMap::new();
    for (app, name, class) in living.filter(|(app, name, _)| (*app, *name) != (new.0, new.1)) {
        let demand = places.entry((app, name)).or_default();
        *demand = demand.or(Demand::from(class));
    }
    places.values().copied().sum()
}

impl Capacity {
    /// Of a machine with so much memory and so many CPUs. More than there is may be promised, since
    /// few dynos use at once what they may: `memory_percent` and `cpu_percent` say how much. So
    /// many CPUs are never set aside as `shared_cpus` says.
    pub fn of(memory_bytes: u64, cpus: u32, policy: Policy) -> Self {
        let percent = |amount: u64, percent: u32| amount.saturating_mul(percent.into()) / 100;
        Self {
            memory_bytes: percent(memory_bytes, policy.memory_percent),
            shares: percent(u64::from(cpus) * u64::from(SHARES_OF_CPU), policy.cpu_percent),
            own_cpus: cpus.saturating_sub(policy.shared_cpus),
        }
    }

    /// No limits: for engines that somebody else keeps within theirs.
    pub const UNLIMITED: Self =
        Self { memory_bytes: u64::MAX, shares: u64::MAX, own_cpus: u32::MAX };

    /// Whether a dyno of `class` fits beside what was promised.
    ///
    /// # Errors
    /// The first thing of which there is not enough.
    pub fn admit(&self, promised: &Demand, class: &Class) -> Result<(), Shortage> {
        let more = Demand::from(class);
        let questions = [
            (Want::OwnCpus, more.own_cpus.into(), promised.own_cpus.into(), self.own_cpus.into()),
            (Want::Memory, more.memory_bytes, promised.memory_bytes, self.memory_bytes),
            (Want::Cpu, more.shares, promised.shares, self.shares),
        ];
        for (want, wanted, promised, total) in questions {
            if wanted > 0 && promised.saturating_add(wanted) > total {
                let class = class.name.clone();
                return Err(Shortage { class, want, wanted, promised, total });
            }
        }
        Ok(())
    }
}

/// How much of a machine may be promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    pub memory_percent: u32,
    pub cpu_percent: u32,
    pub shared_cpus: u32,
}

impl From<&Class> for Demand {
    fn from(class: &Class) -> Self {
        Self {
            memory_bytes: class.memory_bytes,
            shares: class.cpu_shares.into(),
            own_cpus: class.own_cpus,
        }
    }
}

impl Demand {
    /// What two dynos need of which one replaces the other: never both at once for long.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            shares: self.shares.max(other.shares),
            own_cpus: self.own_cpus.max(other.own_cpus),
        }
    }

    /// What is left when these are gone.
    #[must_use]
    pub fn without(self, gone: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_sub(gone.memory_bytes),
            shares: self.shares.saturating_sub(gone.shares),
            own_cpus: self.own_cpus.saturating_sub(gone.own_cpus),
        }
    }

    /// So many of the same.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_mul(count.into()),
            shares: self.shares.saturating_mul(count.into()),
            own_cpus: self.own_cpus.saturating_mul(count),
        }
    }
}

impl AddAssign for Demand {
    fn add_assign(&mut self, other: Self) {
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.shares = self.shares.saturating_add(other.shares);
        self.own_cpus = self.own_cpus.saturating_add(other.own_cpus);
    }
}

impl std::iter::Sum for Demand {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let mut sum = Self::default();
        all.for_each(|one| sum += one);
        sum
    }
}

impl std::error::Error for Shortage {}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.total.saturating_sub(self.promised);
        let Self { class, wanted, total, .. } = self;
        match self.want {
            Want::Memory => {
                let mib = |bytes: u64| bytes >> 20;
                write!(
                    f,
                    "no room for a dyno of class {class}: it has {} MB of memory, and of the {} MB \
                     that may be promised {} MB are left",
                    mib(*wanted),
                    mib(*total),
                    mib(left)
                )
            }
            Want::Cpu => {
                let of = u64::from(SHARES_OF_CPU);
                let cpus = |shares: u64| {
                    let hundredths = shares * 100 / of;
                    format!("{}.{:02}", hundredths / 100, hundredths % 100)
                };
                write!(
                    f,
                    "no room for a dyno of class {class}: it may count on {} CPUs, and of the {} \
                     CPUs that may be promised {} are left",
                    cpus(*wanted),
                    cpus(*total),
                    cpus(left)
                )
            }
            Want::OwnCpus => write!(
                f,
                "no room for a dyno of class {class}: it has {wanted} CPUs to itself, and of the \
                 {total} that this machine can set aside {left} are left"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Classes;
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy { memory_percent: 200, cpu_percent: 1600, shared_cpus: 0 };

    fn class(name: &str) -> Class {
        Classes::standard().named(name).unwrap()
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let small = Capacity::of(1 << 30, 2, POLICY);
        let full = Demand { memory_bytes: 1_700 << 20, shares: 32_600, own_cpus: 1 };
        for (name, promised, said) in [
            (
                "performance-l",
                Demand::default(),
                "it has 8 CPUs to itself, and of the 2 that this machine can set aside 2 are left",
            ),
            (
                "performance-m",
                full,
                "it has 2 CPUs to itself, and of the 2 that this machine can set aside 1 are left",
            ),
            (
                "standard-1x",
                full,
                "it has 512 MB of memory, and of the 2048 MB that may be promised 348 MB are left",
            ),
            (
                "shared-cpu-4x",
                Demand { memory_bytes: 0, ..full },
                "it may count on 0.25 CPUs, and of the 32.00 CPUs that may be promised 0.16 are left",
            ),
        ] {
            let refused = small.admit(&promised, &class(name)).unwrap_err().to_string();
            assert!(refused.ends_with(said), "{refused}");
        }
    }

    #[test]
    fn a_replacement_needs_no_more_than_the_larger_of_the_two() {
        let (one, two) = (Demand::from(&class("1x")), Demand::from(&class("2x")));
        assert_eq!(one.or(two), two);
        assert_eq!(two.or(one), two);
    }

    proptest! {
        #[test]
        fn what_is_admitted_one_by_one_fits_together(
            memory_gib in 1..200u64,
            cpus in 1..64u32,
            wanted in proptest::collection::vec(0..20usize, 0..200),
        ) {
            let capacity = Capacity::of(memory_gib << 30, cpus, POLICY);
            let classes: Vec<Class> = Classes::standard().all().collect();
            let mut promised = Demand::default();
            for index in wanted {
                let class = &classes[index % classes.len()];
                let before = promised;
                match capacity.admit(&promised, class) {
                    Ok(()) => promised += Demand::from(class),
                    Err(shortage) => {
                        prop_assert!(shortage.promised + shortage.wanted > shortage.total);
                        prop_assert_eq!(before, promised);
                    }
                }
                prop_assert!(promised.memory_bytes <= capacity.memory_bytes);
                prop_assert!(promised.shares <= capacity.shares);
                prop_assert!(promised.own_cpus <= capacity.own_cpus);
            }
        }
    }
}
