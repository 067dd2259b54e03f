//! Where a measurement's figures go besides the screen.

use super::BenchError;
use super::chart::{Plot, page};
use clap::Args;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The figures for programs.
#[derive(Debug, Args)]
pub(super) struct Json {
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Json {
    pub(super) fn write(&self, report: &impl Serialize) -> Result<(), BenchError> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(report).map_err(std::io::Error::from);
        text.and_then(|text| fs::write(path, text + "\n")).map_err(failed(path))
    }
}

/// The figures for the eye.
#[derive(Debug, Args)]
pub(super) struct Svg {
    /// Draw them, too, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Svg {
    pub(super) fn draw(&self, plots: &[Plot]) -> Result<(), BenchError> {
        self.svg.as_ref().map_or(Ok(()), |path| fs::write(path, page(plots)).map_err(failed(path)))
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> BenchError {
    BenchError::at(format!("write {}", path.display()))
}
