//! `lathe bench slug`: packing and unpacking a tree, beside tar with gzip and with pigz.

mod rival;
mod table;

use super::BenchError;
use super::figures::load;
use crate::cli::say::say;
use clap::Args;
use rival::Rival;
use std::fs;
use std::path::PathBuf;
use table::{Report, Row};

/// What to measure with.
#[derive(Debug, Args)]
pub(in crate::cli) struct Slug {
    /// A built app: a tree as slugs hold it, with its dependencies
    dir: PathBuf,
    /// Rounds; in each, every rival packs and unpacks once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn slug(how: &Slug) -> Result<(), BenchError> {
    let room = tempfile::Builder::new().prefix("lathe-bench-").tempdir();
    let room = room.map_err(BenchError::at("make a directory"))?;
    let (mut rivals, mut absent) = (Vec::new(), Vec::new());
    for rival in [Rival::Lathe, Rival::Gzip, Rival::Pigz] {
        match rival.missing() {
            None => rivals.push(rival),
            Some(program) => absent.push(format!("{}: {program} is not installed", rival.name())),
        }
    }
    let before = load();
    let mut rows: Vec<Row> = rivals.iter().map(|rival| Row::new(*rival)).collect();
    // The first round only fills the page cache.
    for round in 0..=how.count {
        for row in &mut rows {
            let archive = room.path().join(format!("{}.tgz", row.rival.name()));
            let tree = room.path().join("tree");
            let packed = row.rival.pack(&how.dir, &archive)?;
            let unpacked = row.rival.unpack(&archive, &tree)?;
            fs::remove_dir_all(&tree).map_err(BenchError::at("remove an unpacked tree"))?;
            let archive = fs::metadata(&archive).map_err(BenchError::at("see an archive"))?;
            if round > 0 {
                row.add(packed, unpacked, archive.len());
            }
        }
    }
    let report = Report::new(&rows, absent, [before, load()]);
    show(how, &report);
    match &how.json {
        Some(path) => super::figures::write(path, &report),
        None => Ok(()),
    }
}

fn show(how: &Slug, report: &Report) {
    let [before, after] = &report.load;
    say!("-----> Packing and unpacking {}, {} rounds", how.dir.display(), how.count);
    say!("       medians; ratios are those within a round; load {before} before, {after} after");
    report.print();
}
