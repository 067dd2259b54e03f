//! The command line: one file a group of verbs, and the way errors reach whoever typed them.

mod connect;
mod doctor;
mod env;
mod error;
mod install;
mod settings;
mod stacks;
mod stop;

pub use error::{CliError, report};

use crate::config::{Config, Flags};
use crate::host::instance::Dynos;
use clap::{Parser, Subcommand};
use lathe_dynos::native::spawner;
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
    /// End the platform that runs on the data directory
    Stop {
        /// End its dynos too
        #[arg(long)]
        stop_dynos: bool,
    },
    /// Check this machine and say how to mend what is wrong
    Doctor,
    /// Install a systemd service that runs the platform
    Install {
        /// Only print the unit
        #[arg(long)]
        print: bool,
    },
    /// Print the environment that git and the Heroku CLI need: eval "$(lathe env)"
    Env {
        /// With the authority, for other machines
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Be a client of a platform elsewhere: forward its ports by SSH, run a command with its
    /// environment or print that environment
    Connect {
        /// user@host, as for ssh
        target: String,
        /// End the connection instead
        #[arg(long)]
        end: bool,
        /// A command and its arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// List the settings: name, environment variable, value in force
    Settings,
    /// List the stacks of this machine
    Stacks,
    /// Build both stacks anew from the Debian mirror
    #[command(name = "stacks:build")]
    StacksBuild,
    /// The helper that starts and holds dynos; the platform runs it
    #[command(hide = true)]
    Spawner {
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    // Started by the platform, which has the configuration: it reads none.
    if let Command::Spawner { dir } = cli.command {
        spawner::run(&dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    let flags = Flags { data: cli.data, config: cli.config, set: cli.set };
    let config = Config::load(&flags)?;
    init_log(&config.log);
    match cli.command {
        Command::Stop { stop_dynos } => {
            stop::stop(&config, if stop_dynos { Dynos::End } else { Dynos::Stay })?;
        }
        Command::Doctor => return Ok(doctor::examine(&config)),
        Command::Install { print } => install::install(&config, &flags, print)?,
        Command::Env { json } => env::print(&config, json)?,
        Command::Connect { target, end: true, .. } => connect::end(&config, &target)?,
        Command::Connect { target, command, .. } => connect::connect(&config, &target, &command)?,
        Command::Settings => settings::list(&config),
        Command::Stacks => stacks::list(&config)?,
        Command::StacksBuild => stacks::build(&config)?,
        Command::Spawner { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the log to stderr.
fn init_log(filter: &str) {
    let filter = EnvFilter::new(filter);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "write key=value, such as listen.router=0.0.0.0:80".into())
}
