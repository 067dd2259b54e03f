//! The classes that every Lathe has, in Heroku's and in Fly.io's words.
//!
//! Memory, processes and prices are the published figures: Heroku Dev Center, "Dyno Types" (2024);
//! Fly.io documentation, "Machine sizing" and "CPU performance" (October 2024). What neither
//! publishes is ours: `docs/decisions/0012-classes-and-credit.md` says why.

use super::{Class, SHARES_OF_CPU};
use crate::governor::credit::{INITIAL, MAX, Terms};

/// The class of builds.
pub(super) const BUILD: &str = "build";

const MIB: u64 = 1024 * 1024;
const CPU_PPM: u32 = 1_000_000;

const TABLE: &[Row] = &[
    Row::heroku("Free", 512, 1, CPU_PPM / 16, 256, 0),
    Row::heroku("Eco", 512, 1, CPU_PPM / 16, 256, 500),
    Row::heroku("Hobby", 512, 1, CPU_PPM / 8, 256, 700),
    Row::heroku("Basic", 512, 1, CPU_PPM / 8, 256, 700),
    Row::heroku("Standard-1X", 512, 1, CPU_PPM / 4, 256, 2500),
    Row::heroku("Standard-2X", 1024, 2, CPU_PPM / 2, 512, 5000),
    Row::dedicated("Performance-M", 2560, 2, 16_384, 25_000),
    Row::dedicated("Performance-L", 14 * 1024, 8, 32_768, 50_000),
    Row::dedicated("Performance-L-RAM", 30 * 1024, 4, 16_384, 50_000),
    Row::dedicated("Performance-XL", 62 * 1024, 8, 32_768, 75_000),
    Row::dedicated("Performance-2XL", 126 * 1024, 16, 32_768, 150_000),
    Row::fly_shared("shared-cpu-1x", 1, 194),
    Row::fly_shared("shared-cpu-2x", 2, 388),
    Row::fly_shared("shared-cpu-4x", 4, 776),
    Row::fly_shared("shared-cpu-8x", 8, 1552),
    Row::fly_performance("performance-1x", 1, 3100),
    Row::fly_performance("performance-2x", 2, 6200),
    Row::fly_performance("performance-4x", 4, 12_400),
    Row::fly_performance("performance-8x", 8, 24_800),
    Row::fly_performance("performance-16x", 16, 49_600),
    // A build weighs as much as one small dyno, so that it never slows what serves; it may
    // take whatever CPU is idle, since somebody waits for it.
    Row { cpus: None, price_cents: None, ..Row::heroku(BUILD, 4096, 1, CPU_PPM / 4, 4096, 0) },
];

/// Other names by which the same class is asked for.
const ALIASES: &[(&str, &str)] = &[("1X", "Standard-1X"), ("2X", "Standard-2X")];

struct Row {
    name: &'static str,
    memory_mib: u64,
    /// CPUs it may use at most; none = all that are idle.
    cpus: Option<u32>,
    /// What it may count on, all CPUs together.
    baseline_ppm: u32,
    dedicated: bool,
    pids: u32,
    price_cents: Option<u32>,
}

impl Row {
    /// Shares its CPUs.
    const fn heroku(
        name: &'static str,
        memory_mib: u64,
        cpus: u32,
        baseline_ppm: u32,
        pids: u32,
        price_cents: u32,
    ) -> Self {
        let (cpus, price_cents) = (Some(cpus), Some(price_cents));
        Self { name, memory_mib, cpus, baseline_ppm, dedicated: false, pids, price_cents }
    }

    const fn dedicated(
        name: &'static str,
        memory_mib: u64,
        cpus: u32,
        pids: u32,
        price_cents: u32,
    ) -> Self {
        let shared = Self::heroku(name, memory_mib, cpus, cpus * CPU_PPM, pids, price_cents);
        Self { dedicated: true, ..shared }
    }

    /// A sixteenth of each CPU, 256 MiB with each.
    const fn fly_shared(name: &'static str, cpus: u32, price_cents: u32) -> Self {
        let memory_mib = 256 * cpus as u64;
        let pids = 256 * cpus;
        Self::heroku(name, memory_mib, cpus, cpus * CPU_PPM / 16, pids, price_cents)
    }

    /// All of each CPU since 22 October 2024, 2 GiB with each.
    const fn fly_performance(name: &'static str, cpus: u32, price_cents: u32) -> Self {
        let memory_mib = 2048 * cpus as u64;
        Self::dedicated(name, memory_mib, cpus, 16_384, price_cents)
    }

    fn class(&self) -> Class {
        let memory_bytes = self.memory_mib * MIB;
        let shares = u64::from(self.baseline_ppm) * u64::from(SHARES_OF_CPU) / u64::from(CPU_PPM);
        let credit = self.cpus.filter(|_| !self.dedicated).map(|cpus| Terms {
            cpus,
            baseline_ppm: self.baseline_ppm / cpus,
            initial: INITIAL,
            max: MAX,
        });
        Class {
            name: self.name.to_owned(),
            memory_bytes,
            cpu_shares: u32::try_from(shares).unwrap_or(u32::MAX),
            cpu_millis_max: self.cpus.map(|cpus| cpus * 1000),
            credit,
            own_cpus: self.cpus.filter(|_| self.dedicated).unwrap_or(0),
            pids_max: self.pids,
            // Whoever swaps slows everybody: an operator may add classes that do.
            swap_bytes: 0,
            // Written files are memory here: half of it, so that a full disk is an error the
            // app sees (ENOSPC) and not its death.
            disk_bytes: memory_bytes / 2,
            price_cents: self.price_cents,
        }
    }
}

pub(super) fn named(name: &str) -> Option<Class> {
    let canonical = ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(name))
        .map_or(name, |(_, canonical)| canonical);
    TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(canonical)).map(Row::class)
}

pub(super) fn all() -> impl Iterator<Item = Class> {
    TABLE.iter().map(Row::class)
}
