//! The whole machine as a measurement sees it: what it has used, and what it has left.

use super::BenchError;
use std::fs;
use std::time::Duration;

/// What the whole machine has used and has left.
pub(super) struct Machine {
    pub(super) busy: Duration,
    /// What its host gave to other machines while this one had work. No process is charged for it.
    pub(super) stolen: Duration,
    pub(super) available_bytes: u64,
}

impl Machine {
    pub(super) fn now() -> Result<Self, BenchError> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(BenchError::at(format!("read {path}")));
        let (stat, memory) = (read("/proc/stat")?, read("/proc/meminfo")?);
        let (busy, stolen) = (sum(&stat, &BUSY), sum(&stat, &STOLEN));
        Ok(Self { busy, stolen, available_bytes: available_bytes(&memory) })
    }
}

/// User, nice, system, irq and softirq time of all CPUs, where proc(5) has them.
const BUSY: [usize; 5] = [0, 1, 2, 5, 6];
const STOLEN: [usize; 1] = [7];

/// Those columns of the first line, which are hundredths of a second.
fn sum(stat: &str, columns: &[usize]) -> Duration {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    Duration::from_millis(columns.iter().filter_map(|index| ticks.get(*index)).sum::<u64>() * 10)
}

fn available_bytes(memory: &str) -> u64 {
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    kib.unwrap_or(0u64) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_as_the_kernel_writes_it() {
        let stat = "cpu  10 2 30 999 5 1 7 4 0 0\ncpu0 1 1 1";
        assert_eq!(sum(stat, &BUSY), Duration::from_millis(500));
        assert_eq!(sum(stat, &STOLEN), Duration::from_millis(40));
        let memory = "MemTotal: 9 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_bytes(memory), 2 << 20);
        assert_eq!((sum("", &BUSY), available_bytes("")), (Duration::ZERO, 0));
    }
}
