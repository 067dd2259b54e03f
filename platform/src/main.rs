//! The `lathe` binary: read the command line, do what it says, answer with an exit code.

use clap::Parser;
use lathe_platform::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::init_log();
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
