//! `lathe bench slug`: packing and unpacking a tree, beside tar with gzip and with pigz.

mod rival;
mod table;

use super::BenchError;
use super::figures::load;
use super::paper::Json;
use crate::cli::say::say;
use clap::Args;
use rival::Rival;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use table::{Report, Row};

/// What to measure with.
#[derive(Debug, Args)]
pub(in crate::cli) struct Slug {
    /// A built app: a tree as slugs hold it, with its dependencies
    dir: PathBuf,
    /// Rounds at most; in each, every rival packs and unpacks once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Seconds after which no further round is begun
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    within: u64,
    #[command(flatten)]
    json: Json,
}

pub(super) fn slug(how: &Slug) -> Result<(), BenchError> {
    let room = tempfile::Builder::new().prefix("lathe-bench-").tempdir();
    let room = room.map_err(BenchError::at("make a directory"))?;
    let (mut rows, mut absent) = (Vec::new(), Vec::new());
    for rival in [Rival::Lathe, Rival::Gzip, Rival::Pigz] {
        match rival.missing() {
            None => rows.push(Row::new(rival)),
            Some(program) => absent.push(format!("{}: {program} is not installed", rival.name())),
        }
    }
    let before = load();
    // Only fills the page cache: whoever comes first would else read the disk for the others.
    tell("reading the tree once");
    Rival::Lathe.pack(&how.dir, &room.path().join("first.tgz"))?;
    let (begun, within) = (Instant::now(), Duration::from_secs(how.within));
    let mut rounds = 0;
    while rounds < how.count && (rounds == 0 || begun.elapsed() < within) {
        rounds += 1;
        for row in &mut rows {
            tell(&format!("round {rounds} of {}: {}", how.count, row.rival.name()));
            measure(row, &how.dir, room.path())?;
        }
    }
    let report = Report::new(&rows, absent, [before, load()]);
    show(how, rounds, &report);
    how.json.write(&report)
}

/// One rival packs the tree and unpacks what it has made.
fn measure(row: &mut Row, dir: &Path, room: &Path) -> Result<(), BenchError> {
    let (archive, tree) = (room.join("archive.tgz"), room.join("tree"));
    let packed = row.rival.pack(dir, &archive)?;
    let unpacked = row.rival.unpack(&archive, &tree)?;
    fs::remove_dir_all(&tree).map_err(BenchError::at("remove an unpacked tree"))?;
    let archive = fs::metadata(&archive).map_err(BenchError::at("see an archive"))?;
    row.add(packed, unpacked, archive.len());
    Ok(())
}

/// What goes on, beside the figures. Nobody may be listening.
fn tell(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

fn show(how: &Slug, rounds: u32, report: &Report) {
    let [before, after] = &report.load;
    say!("-----> Packing and unpacking {}, rounds: {rounds}", how.dir.display());
    say!("       medians; ratios are those within a round; load {before} before, {after} after");
    report.print();
}
