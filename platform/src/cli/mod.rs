//! The command line: one file a group of verbs, and the way errors reach whoever typed them.

mod ask;
mod backup;
mod bench;
mod bootstrap;
mod client;
mod compile;
mod connect;
mod cpu;
mod demo;
mod doctor;
mod drill;
mod env;
mod error;
mod inputs;
mod install;
mod logs;
mod release_diff;
mod release_watch;
mod remote;
mod rescue;
mod router;
mod say;
mod selftest;
mod settings;
mod slug;
mod slugs;
mod stacks;
mod stop;
mod table;
mod test;
mod token;
mod tour;
mod up;
mod verify;
mod workshop;

pub use error::{CliError, report};

use crate::build;
use crate::config::{Config, Flags};
use crate::git::hook;
use crate::host::dockerd;
use crate::host::instance::Dynos;
use crate::hosting::{self, HEIR, MIGRATE, OwnLog};
use crate::roles::UpError;
use crate::state::Store;
use crate::state::lock::DataLock;
use clap::{Parser, Subcommand};
use lathe_dynos::native::{spawner, visitor};
use nix::sys::stat::{Mode, umask};
use say::say;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::filter::{FilterExt, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use up::UpVerbError;

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

// No enum of verbs has a doc comment: clap would take it for the description of the program.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Part(Part),
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the platform; SIGTERM stops it and leaves its dynos serving, SIGQUIT ends them too
    Up(up::Up),
    /// See a push become a live app, here and now, with a sample
    Demo(demo::Demo),
    /// End the platform that runs on the data directory
    Stop {
        /// End its dynos too
        #[arg(long)]
        stop_dynos: bool,
    },
    /// Check this machine and say how to mend what is wrong
    Doctor {
        /// Install Debian's Docker daemon and start it, for `engine = "docker"`
        #[arg(long)]
        docker: bool,
    },
    /// Install a systemd service that runs the platform
    Install(install::Install),
    /// Print the environment that git and the Heroku CLI need: eval "$(lathe env)"
    Env {
        /// With the authority, for other machines
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Make a token for somebody, or list or end theirs
    Token(token::Token),
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
    /// Compile a directory into a slug, with no platform
    Compile(compile::Compile),
    /// Run an app's tests by its buildpacks' bin/test-compile and bin/test, or by its app.json, with no
    /// platform
    Test(test::Test),
    /// Make, unpack and compare slugs, with no platform
    #[command(subcommand)]
    Slug(slug::Slug),
    /// Show what a release was made from: commit, lock files, buildpacks, stacks, toolchains
    #[command(name = "releases:inputs")]
    ReleaseInputs(inputs::ReleaseInputs),
    /// Compare two releases: files, sizes, process types, names of config vars
    #[command(name = "releases:diff")]
    ReleaseDiff(release_diff::ReleaseDiff),
    /// Tell each step of a release while it goes it, until it serves (exit status 0) or does not (1)
    #[command(name = "releases:watch")]
    ReleaseWatch(release_watch::ReleaseWatch),
    /// Build a release again from its commit, buildpacks and stack, with no cache, and say whether it
    /// is identical (exit status 0) or which file differs first (1)
    Verify(verify::Verify),
    /// Write the whole platform to one file while it serves: keys, state, slugs, repositories
    Backup { file: PathBuf },
    /// Say, from this program and the data directory alone, what is sound, what can be started and
    /// what to do; or put a backup in the place of what is not sound
    Rescue {
        #[command(subcommand)]
        what: Option<rescue::Rescue>,
    },
    /// Make the platform of a backup in an empty data directory
    Restore { file: PathBuf },
    /// Make a platform that hosts itself: Lathe compiled by Lathe, and run by it
    Bootstrap(bootstrap::Bootstrap),
    /// Check from outside that the platform of a data directory works; leaves nothing
    Selftest(selftest::Selftest),
    /// List the slugs that are kept, and what holds each
    Slugs,
    /// Where an app's log lines went, the drains' too: nothing is unaccounted for
    #[command(name = "logs:counts")]
    LogCounts(logs::Show),
    /// CPU credits: balances of an app's dynos, or the governor's settings
    Cpu(cpu::Show),
    /// Apps that would have been throttled for most of the last 24 hours, and what would do
    #[command(name = "cpu:report")]
    CpuReport,
    /// Say whose CPU credits are enforced, observed or neither
    #[command(name = "cpu:set")]
    CpuSet(cpu::Set),
    /// Measure, beside a limit and rivals of the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Hurt a platform of its own on purpose, and tell what its visitors notice
    #[command(subcommand)]
    Drill(drill::Drill),
    /// List the settings: name, environment variable, value in force
    Settings,
    /// List the stacks of this machine
    Stacks,
    /// Build both stacks anew from the Debian mirror
    #[command(name = "stacks:build")]
    StacksBuild,
    /// Bring a state that no platform uses to the schema of this program, as the next platform would
    #[command(hide = true, name = MIGRATE)]
    Migrate,
    /// What this program would do as the keeper; the keeper asks it
    #[command(hide = true, name = HEIR)]
    Heir,
}

// The platform has the configuration: what it starts reads none.
#[derive(Debug, Subcommand)]
enum Part {
    /// The helper that starts and holds dynos; the platform runs it
    #[command(hide = true)]
    Spawner {
        #[arg(long)]
        dir: PathBuf,
    },
    /// The helper that has one command run inside a dyno; the platform runs it
    #[command(hide = true)]
    Visitor {
        #[arg(long)]
        dir: PathBuf,
    },
    /// The router, in a dyno of the platform's own; the platform runs it
    #[command(hide = true)]
    Router(router::Router),
    /// The compiler in a build dyno; the platform runs it
    #[command(hide = true)]
    CompileWorker,
}

/// Does what git wants when this program was started under the name of a hook.
pub fn run_as_hook() -> Option<ExitCode> {
    let program = std::env::args_os().next()?;
    let name = Path::new(&program).file_name()?.to_str()?;
    hook::NAMES.contains(&name).then(|| ExitCode::from(hook::main(name)))
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let flags = Flags { data: cli.data, config: cli.config, set: cli.set };
    match cli.command {
        Command::Part(what) => part(what),
        Command::Verb(Verb::Bench(bench::Bench::Part(what))) => {
            bench::part(&what)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verb(verb) => perform(verb, &flags),
    }
}

fn perform(verb: Verb, flags: &Flags) -> Result<ExitCode, CliError> {
    let config = Config::load(flags)?;
    // Measurements read the log themselves.
    if !matches!(verb, Verb::Bench(_)) {
        init_log(&config.log);
    }
    match verb {
        Verb::Up(how) => up::up(config, flags, &how)?,
        Verb::Demo(how) => return demo::demo(config, &how, flags.data.is_some()),
        Verb::Stop { stop_dynos } => {
            stop::stop(&config, if stop_dynos { Dynos::End } else { Dynos::Stay })?;
        }
        Verb::Doctor { docker } => {
            if docker {
                dockerd::install(&mut |line| eprintln!("       {line}"))?;
            }
            return Ok(doctor::examine(&config));
        }
        Verb::Install(how) => install::install(&config, flags, &how)?,
        Verb::Env { json } => env::print(&config, json)?,
        Verb::Token(what) => token::token(&config, &what)?,
        Verb::Connect { target, end: true, .. } => connect::end(&config, &target)?,
        Verb::Connect { target, command, .. } => connect::connect(&config, &target, &command)?,
        Verb::Compile(what) => return Ok(compile::compile(&config, &what)?),
        Verb::Test(what) => return Ok(test::test(&config, &what)?),
        Verb::Slug(what) => return Ok(slug::slug(&config, &what)?),
        Verb::ReleaseInputs(what) => inputs::show(&config, &what)?,
        Verb::ReleaseDiff(what) => release_diff::show(&config, &what)?,
        Verb::ReleaseWatch(what) => return release_watch::watch(&config, &what),
        Verb::Backup { file } => backup::backup(&config, &file)?,
        Verb::Restore { file } => backup::restore(&config, &file)?,
        Verb::Rescue { what } => return rescue::rescue(&config, what.as_ref()),
        Verb::Migrate => migrate(&config)?,
        Verb::Heir => say!("{}", hosting::account(&config)?),
        Verb::Verify(what) => return verify::verify(&config, &what),
        Verb::Bootstrap(what) => return bootstrap::bootstrap(&config, flags, &what),
        Verb::Selftest(how) => return selftest::selftest(&config, &how),
        Verb::Slugs => slugs::list(&config)?,
        Verb::LogCounts(what) => logs::counts(&config, &what)?,
        Verb::Cpu(what) => cpu::show(&config, &what)?,
        Verb::CpuReport => cpu::report(&config)?,
        Verb::CpuSet(what) => cpu::set(&config, &what)?,
        Verb::Drill(what) => return drill::drill(config, flags, &what),
        Verb::Settings => settings::list(&config),
        Verb::Stacks => stacks::list(&config)?,
        Verb::StacksBuild => stacks::build(&config)?,
        Verb::Bench(what) => bench::bench(config, &what)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn part(what: Part) -> Result<ExitCode, CliError> {
    match what {
        Part::Spawner { dir } => spawner::run(&dir)?,
        Part::Visitor { dir } => visitor::run(&dir).map_err(CliError::Visitor)?,
        Part::Router(what) => router::route(what)?,
        Part::CompileWorker => return Ok(ExitCode::from(build::worker::main())),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the next platform would do as it starts.
fn migrate(config: &Config) -> Result<(), UpVerbError> {
    let _lock = DataLock::take(&config.data).map_err(UpError::State)?;
    drop(Store::open(&config.data).map_err(UpError::State)?);
    Ok(())
}

/// How this program is called here: it need not be on `$PATH`.
fn own_path() -> String {
    std::env::current_exe().map_or_else(|_| "lathe".into(), |path| path.display().to_string())
}

/// Dynos and builds run as users of their own and read what is laid out for them, whatever the umask of
/// whoever started the platform. What only the platform may read is below its data directory, which
/// is closed to others.
fn readable_by_dynos() {
    umask(Mode::from_bits_truncate(0o022));
}

/// Threads for the verbs that need them; no other verb has any.
fn runtime() -> Result<tokio::runtime::Runtime, UpVerbError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().map_err(UpVerbError::Threads)
}

/// Sends the log to stderr, and to the system app's own once there is one. A line that cannot be written is lost: complaining about it on the
/// same full disk would be a panic in the middle of whatever had something to say.
fn init_log(filter: &str) {
    let filter = || EnvFilter::new(filter);
    let stderr =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    // Whoever asks for the platform's log wants to see what it does, and not only what fails.
    let own = OwnLog.with_filter(filter().or(LevelFilter::INFO));
    tracing_subscriber::registry().with(stderr.with_filter(filter())).with(own).init();
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "write key=value, such as listen.router=0.0.0.0:80".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_verb_has_options_of_different_names() {
        Cli::command().debug_assert();
    }
}
