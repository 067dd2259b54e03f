//! The figures of all rivals, side by side.

use super::super::figures::{quantile, sorted};
use super::rival::{Rival, Run};
use crate::cli::say::say;
use serde::Serialize;

/// All rounds of one rival.
pub(super) struct Row {
    pub(super) rival: Rival,
    packed: Vec<Run>,
    unpacked: Vec<Run>,
    archive_bytes: u64,
}

impl Row {
    pub(super) fn new(rival: Rival) -> Self {
        Self { rival, packed: Vec::new(), unpacked: Vec::new(), archive_bytes: 0 }
    }

    pub(super) fn add(&mut self, packed: Run, unpacked: Run, archive_bytes: u64) {
        self.packed.push(packed);
        self.unpacked.push(unpacked);
        self.archive_bytes = archive_bytes;
    }
}

/// Seconds are medians; `lathe_faster` is the median of the ratios within each round, since the
/// machine is busier in some rounds than in others.
#[derive(Debug, Serialize)]
struct Work {
    wall_seconds: f64,
    cpu_seconds: f64,
    memory_bytes: u64,
    lathe_faster: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    way: &'static str,
    pack: Work,
    unpack: Work,
    archive_bytes: u64,
    /// Of lathe's archive to this one.
    lathe_size: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) load: [String; 2],
    lines: Vec<Line>,
    absent: Vec<String>,
}

impl Report {
    pub(super) fn new(rows: &[Row], absent: Vec<String>, load: [String; 2]) -> Self {
        let lathe = rows.iter().find(|row| row.rival == Rival::Lathe);
        let lines = rows.iter().map(|row| {
            let own = lathe.unwrap_or(row);
            Line {
                way: row.rival.name(),
                pack: Work::of(&row.packed, &own.packed),
                unpack: Work::of(&row.unpacked, &own.unpacked),
                archive_bytes: row.archive_bytes,
                lathe_size: ratio(own.archive_bytes, row.archive_bytes),
            }
        });
        Self { load, lines: lines.collect(), absent }
    }

    pub(super) fn print(&self) {
        say!("                    pack s   CPU s  lathe x   RSS MB   size MB  lathe x");
        for line in &self.lines {
            let work = &line.pack;
            say!(
                "{:<17} {:>8.2} {:>7.2} {:>8.2} {:>8.1} {:>9.2} {:>8.3}",
                line.way,
                work.wall_seconds,
                work.cpu_seconds,
                work.lathe_faster,
                megabytes(work.memory_bytes),
                megabytes(line.archive_bytes),
                line.lathe_size,
            );
        }
        say!("                  unpack s   CPU s  lathe x   RSS MB");
        for line in &self.lines {
            let work = &line.unpack;
            say!(
                "{:<17} {:>8.2} {:>7.2} {:>8.2} {:>8.1}",
                line.way,
                work.wall_seconds,
                work.cpu_seconds,
                work.lathe_faster,
                megabytes(work.memory_bytes),
            );
        }
        for absent in &self.absent {
            say!("{absent}");
        }
    }
}

impl Work {
    fn of(runs: &[Run], lathe: &[Run]) -> Self {
        let median = |values: &mut dyn Iterator<Item = f64>| quantile(&sorted(values), 0.5);
        let wall = |run: &Run| run.wall.as_secs_f64();
        let rounds = runs.iter().zip(lathe);
        Self {
            wall_seconds: median(&mut runs.iter().map(wall)),
            cpu_seconds: median(&mut runs.iter().map(|run| run.cpu.as_secs_f64())),
            memory_bytes: runs.iter().map(|run| run.memory_bytes).max().unwrap_or_default(),
            lathe_faster: median(&mut rounds.map(|(run, own)| wall(run) / wall(own))),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, to three digits")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

fn megabytes(bytes: u64) -> f64 {
    ratio(bytes, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ratios_are_those_within_a_round() {
        let run = |ms| Run {
            wall: Duration::from_millis(ms),
            cpu: Duration::from_millis(1),
            memory_bytes: ms,
        };
        let (mut lathe, mut gzip) = (Row::new(Rival::Lathe), Row::new(Rival::Gzip));
        for ms in [100, 200, 1000] {
            lathe.add(run(ms), run(ms), 50);
            gzip.add(run(3 * ms), run(2 * ms), 100);
        }
        let report = Report::new(&[gzip, lathe], Vec::new(), ["0".into(), "0".into()]);
        let line = &report.lines[0];
        assert!((line.pack.lathe_faster - 3.0).abs() < 1e-9);
        assert!((line.unpack.lathe_faster - 2.0).abs() < 1e-9);
        assert!((line.lathe_size - 0.5).abs() < 1e-9);
        assert!((line.pack.wall_seconds - 0.6).abs() < 1e-9);
        assert_eq!(line.pack.memory_bytes, 3000);
    }
}
