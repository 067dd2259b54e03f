//! The command line: one file a group of verbs, and the way errors reach whoever typed them.

mod error;
mod settings;
mod stacks;

pub use error::{CliError, report};

use crate::config::{Config, Flags};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A platform that turns `git push` into running apps.
#[derive(Debug, Parser)]
#[command(name = "lathe", version, max_term_width = 100)]
pub struct Cli {
    /// Directory of everything that must not be lost
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file [default: lathe.toml in the data directory, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as `lathe settings` lists them; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the settings: name, environment variable, value in force
    Settings,
    /// List the stacks of this machine
    Stacks,
    /// Build both stacks anew from the Debian mirror
    #[command(name = "stacks:build")]
    StacksBuild,
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let flags = Flags { data: cli.data, config: cli.config, set: cli.set };
    let config = Config::load(&flags)?;
    match cli.command {
        Command::Settings => settings::list(&config),
        Command::Stacks => stacks::list(&config)?,
        Command::StacksBuild => stacks::build(&config)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the log to stderr; `LATHE_LOG=debug` or `LATHE_LOG=lathe_router=trace` says how much.
pub fn init_log() {
    let filter = EnvFilter::try_from_env("LATHE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "write key=value, such as listen.router=0.0.0.0:80".into())
}
