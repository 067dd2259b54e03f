//! The report as a table.

use crate::progress::clock;
use crate::report::{Report, Stage};
use crate::surroundings::Surroundings;
use std::fmt;
use std::time::Duration;

const DIGEST: usize = 16;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "commit {}", self.commit)?;
        writeln!(
            f,
            "{:<6} {:<13} {:>6} {:>7} {:>7} {:>10} {:>8}  slug",
            "stage", "built by", "checks", "crates", "build", "bytes", "entries"
        )?;
        self.stages.iter().try_for_each(|stage| line(f, stage))?;
        if self.stages.iter().any(|stage| stage.surroundings != Surroundings::default()) {
            writeln!(f, "surroundings, each stage at its own time on a new disk:")?;
            for stage in &self.stages {
                writeln!(f, "  {} at {}: {}", stage.number, stage.begun_at, stage.surroundings)?;
            }
        }
        for pair in &self.comparisons {
            let word = if pair.equal { "equal" } else { "DIFFER" };
            writeln!(f, "slugs {} and {}: {word}", pair.left, pair.right)?;
            for difference in &pair.differences {
                writeln!(f, "  {difference}")?;
            }
        }
        if let (Some(bare), Some(overhead)) = (self.bare_ms, self.overhead_percent()) {
            let bare = clock(Duration::from_millis(bare));
            writeln!(f, "cargo alone {bare}; on average a push takes {overhead:+.1} %")?;
        }
        if self.planted {
            writeln!(f, "a difference was planted in the last stage: it has to be found")?;
        }
        write!(f, "{}", self.verdict)
    }
}

fn line(f: &mut fmt::Formatter<'_>, stage: &Stage) -> fmt::Result {
    let slug = stage.slug.id.to_string();
    let build = clock(Duration::from_millis(stage.build_ms));
    writeln!(
        f,
        "{:<6} {:<13} {:>6} {:>7} {build:>7} {:>10} {:>8}  {}",
        stage.number,
        stage.built_by.short(),
        stage.checks_passed,
        stage.crates_compiled,
        stage.slug.bytes,
        stage.slug.entries,
        slug.get(..DIGEST).unwrap_or(&slug),
    )
}
