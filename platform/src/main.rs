//! The `lathe` binary: read the command line, do what it says, answer with an exit code.

use clap::Parser;
use lathe_platform::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = cli::run_as_hook() {
        return code;
    }
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
