//! The whole machine as a measurement sees it: what it has used, and what it has left.

use super::BenchError;
use std::fs;
use std::time::Duration;

/// What the whole machine has used and has left.
pub(super) struct Machine {
    pub(super) busy: Duration,
    pub(super) available_bytes: u64,
}

impl Machine {
    pub(super) fn now() -> Result<Self, BenchError> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(BenchError::at(format!("read {path}")));
        let (stat, memory) = (read("/proc/stat")?, read("/proc/meminfo")?);
        Ok(Self { busy: busy(&stat), available_bytes: available_bytes(&memory) })
    }
}

/// User, nice, system, irq and softirq time of all CPUs, in hundredths of a second (proc(5)).
fn busy(stat: &str) -> Duration {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    let used = [0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index)).sum::<u64>();
    Duration::from_millis(used * 10)
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
        assert_eq!(busy("cpu  10 2 30 999 5 1 7 0 0 0\ncpu0 1 1 1"), Duration::from_millis(500));
        let memory = "MemTotal: 9 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_bytes(memory), 2 << 20);
        assert_eq!((busy(""), available_bytes("")), (Duration::ZERO, 0));
    }
}
