//! Figures of one way to start a container, and the table in which they stand side by side.

use crate::cli::say::say;
use serde::Serialize;
use std::fs;
use std::time::Duration;

/// One start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// From the request to the first instruction.
    pub(super) exec: Duration,
    /// Processor time of everything that took part in it, its end and removal included; none
    /// where a daemon does the work.
    pub(super) cpu: Option<Duration>,
}

/// Memory of one idle container.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    /// Processes that are there because of it, proportional set size.
    pub(super) processes_bytes: u64,
    /// What its control group is charged for, the kernel's share included.
    pub(super) group_bytes: u64,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) way: String,
    pub(super) starts: usize,
    pub(super) median_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) min_ms: f64,
    /// Of the medians.
    pub(super) times_limit: f64,
    pub(super) cpu_ms: Option<f64>,
    pub(super) idle: Option<Memory>,
}

impl Row {
    pub(super) fn new(way: String, samples: &[Sample], idle: Option<Memory>) -> Self {
        let exec: Vec<f64> = sorted(samples.iter().map(|sample| milliseconds(sample.exec)));
        let cpu: Vec<f64> = sorted(samples.iter().filter_map(|s| s.cpu).map(milliseconds));
        Self {
            way,
            starts: exec.len(),
            median_ms: quantile(&exec, 0.5),
            p90_ms: quantile(&exec, 0.9),
            min_ms: quantile(&exec, 0.0),
            times_limit: f64::NAN,
            cpu_ms: (!cpu.is_empty()).then(|| quantile(&cpu, 0.5)),
            idle,
        }
    }
}

/// How long answers took.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Latency {
    pub(in crate::cli) requests: usize,
    pub(in crate::cli) p50_ms: f64,
    pub(in crate::cli) p99_ms: f64,
    pub(in crate::cli) max_ms: f64,
}

impl Latency {
    pub(in crate::cli) fn of(times: impl Iterator<Item = Duration>) -> Self {
        let times = sorted(times.map(milliseconds));
        Self {
            requests: times.len(),
            p50_ms: quantile(&times, 0.5),
            p99_ms: quantile(&times, 0.99),
            max_ms: quantile(&times, 1.0),
        }
    }
}

pub(super) fn print(rows: &[Row]) {
    say!(
        "way                          median ms   p90 ms   min ms  x limit   CPU ms  idle PSS, group KiB"
    );
    for row in rows {
        let cpu = row.cpu_ms.map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
        let idle = row.idle.map_or("-".to_owned(), |idle| {
            format!("{}, {}", idle.processes_bytes / 1024, idle.group_bytes / 1024)
        });
        say!(
            "{:<28} {:>9.2} {:>8.2} {:>8.2} {:>8.2} {cpu:>8}  {idle}",
            row.way,
            row.median_ms,
            row.p90_ms,
            row.min_ms,
            row.times_limit,
        );
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(super) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which a share of the sorted values lies; NaN of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index between 0 and the number of samples, which is small"
)]
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of samples")]
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Coefficient of variation: standard deviation over mean.
#[expect(clippy::cast_precision_loss, reason = "numbers of samples")]
pub(super) fn variation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt() / mean
}

/// The machine's load over the last minute.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values = sorted([3.0, 1.0, 2.0, 5.0, 4.0].into_iter());
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (0.9, 5.0), (1.0, 5.0)] {
            assert!((quantile(&values, share) - expected).abs() < f64::EPSILON, "{share}");
        }
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn variation_has_no_unit() {
        for scale in [1.0, 1000.0] {
            let values = [9.0, 10.0, 11.0].map(|value| value * scale);
            assert!((variation(&values) - 0.1).abs() < 1e-9);
        }
        assert!(variation(&[5.0]).abs() < f64::EPSILON);
    }
}
