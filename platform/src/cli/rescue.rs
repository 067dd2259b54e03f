//! `lathe rescue`: what can be said and done from this program and a data directory alone, with no
//! platform running and no state that can be read.

use super::say::say;
use super::{CliError, backup, runtime};
use crate::config::Config;
use crate::control::slots::Place;
use crate::host::instance;
use crate::hosting::{self, Verdict, Version};
use crate::roles;
use crate::state::{self, Health};
use clap::Subcommand;
use lathe_dynos::spec::{Desired, Wanted};
use lathe_slug::{SlugId, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Rescue {
    /// Replace the platform's files by those of a backup; what is there is kept aside
    Restore { file: PathBuf },
    /// Let this program be the platform again, whichever release of app `lathe` was
    Own,
    /// Let a release of app `lathe` that was good once be the platform again
    Release {
        /// Version, as in v41
        #[arg(value_parser = version)]
        release: u32,
    },
}

/// Exit status 1 when something is wrong.
pub(super) fn rescue(config: &Config, what: Option<&Rescue>) -> Result<ExitCode, CliError> {
    match what {
        None => examine(config),
        Some(Rescue::Restore { file }) => {
            backup::replace(config, file)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Rescue::Own) => {
            hosting::be_own(&config.data)?;
            say!("The next `lathe up --self-hosted` runs this program.");
            Ok(ExitCode::SUCCESS)
        }
        Some(Rescue::Release { release }) => {
            runtime()?.block_on(hosting::choose(config, *release))?;
            say!("The next `lathe up --self-hosted` runs v{release}.");
            say!("To have it so in the list of releases, too: heroku rollback v{release} -a lathe");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn version(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix('v').unwrap_or(text).parse();
    number.map_err(|_| "Write a version as `lathe rescue` lists it, such as v41.".into())
}

fn examine(config: &Config) -> Result<ExitCode, CliError> {
    match instance::holder(&config.data)? {
        Some(pid) => say!("=== platform: process {pid}"),
        None => say!("=== platform: none runs on {}", config.data.display()),
    }
    let health = show_state(config);
    let startable = show_record(config);
    let seated = show_seat(config, &health)?;
    say!("=== what to do");
    // A keeper that cannot read which version is to run starts none.
    let to_be_started = seated && instance::holder(&config.data)?.is_none();
    // Its own program may be more recent than this one.
    let good = hosting::seat(&config.data).ok().and_then(|seat| seat.good);
    let program = good.and_then(|good| good.program(&config.data));
    for (command, does) in advice(config, &health, to_be_started, program.as_deref()) {
        say!("{command:<27} {does}");
    }
    let sound = match health {
        Health::Sound { .. } => true,
        Health::Newer { .. } => program.is_some(),
        Health::Missing | Health::Damaged { .. } => false,
    };
    Ok(if sound && startable && seated { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_state(config: &Config) -> Health {
    let path = config.data.join("state.db");
    let known = state::SCHEMA;
    let health = state::examine(&path);
    let said = match &health {
        Health::Sound { schema } => format!("sound, schema {schema} of {known}"),
        Health::Missing => "missing".into(),
        Health::Damaged { detail } => format!("damaged: {}", detail.escape_debug()),
        Health::Newer { found, known } => {
            format!("schema {found}, of a newer program: this one knows up to {known}")
        }
    };
    say!("=== state {}: {said}", path.display());
    for name in kept_copies(config) {
        say!("{name}: as it was before a newer program");
    }
    health
}

/// Commands, and what each does.
fn advice(
    config: &Config,
    health: &Health,
    to_be_started: bool,
    program: Option<&Path>,
) -> Vec<(String, &'static str)> {
    let up =
        if hosting::dir(&config.data).exists() { "lathe up --self-hosted" } else { "lathe up" };
    let start = to_be_started.then(|| (up.to_owned(), "starts everything"));
    match health {
        Health::Sound { .. } => start.into_iter().collect(),
        Health::Newer { .. } => {
            let own = program.map(|program| {
                let command =
                    format!("{} --data {} rescue", program.display(), config.data.display());
                (command, "is the platform's own, which knows it")
            });
            let newer = ("lathe up".to_owned(), "of the newer program starts everything");
            let start = if own.is_some() { start } else { Some(newer) };
            start.into_iter().chain(own).collect()
        }
        Health::Missing | Health::Damaged { .. } => vec![
            (up.to_owned(), "serves what is below last-good; the API says why no more"),
            ("lathe stop".to_owned(), "then, before the next"),
            ("lathe rescue restore FILE".to_owned(), "puts a backup in the place of the state"),
        ],
    }
}

/// Which version of itself the platform is, where it hosts itself; and whether a keeper could tell.
fn show_seat(config: &Config, health: &Health) -> Result<bool, CliError> {
    let data = &config.data;
    if !hosting::dir(data).exists() {
        return Ok(true);
    }
    say!("=== versions");
    let seat = hosting::seat(data);
    if let Err(error) = &seat {
        say!(
            "the keeper's file cannot be read, and nothing is started until one is chosen: {error}"
        );
    }
    let readable = seat.is_ok();
    let seat = seat.unwrap_or_default();
    let whole = |version: &Version| {
        if version.is_laid_out(data) {
            "can start"
        } else {
            "its program is gone, or not as it was: this program is started instead"
        }
    };
    match &seat.good {
        None if readable => say!("good: the program that is started with --self-hosted"),
        None => {}
        Some(version) => say!("good: v{}: {}", version.number, whole(version)),
    }
    if let Some(version) = &seat.trial {
        say!("on trial: v{}", version.number);
    }
    if let Some(Verdict { version, failure: Some(why) }) = &seat.verdict {
        say!("taken back: v{}: {}", version.number, why.lines().next().unwrap_or_default());
    }
    let newer = matches!(health, Health::Newer { .. });
    if !newer && (seat.good.is_some() || !readable) {
        say!("lathe rescue own            makes this program the platform again");
    }
    let (known, _) = runtime()?.block_on(hosting::known(config));
    let slugs = Store::attach(config.slugs_dir());
    let can = |it: &&Version| it.is_laid_out(data) || slugs.verify(&it.slug).is_ok();
    let list: Vec<_> = known.iter().filter(can).map(|it| format!("v{}", it.number)).collect();
    if !list.is_empty() {
        say!("lathe rescue release N      makes one that was good once: {}", list.join(" "));
    }
    Ok(readable)
}

/// What migrations have kept.
fn kept_copies(config: &Config) -> Vec<String> {
    let entries = std::fs::read_dir(&config.data).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut kept: Vec<String> = names.filter(|name| name.starts_with("state.schema-")).collect();
    kept.sort();
    kept
}

/// Every app of the cell's last-good record, its dynos, and whether its slug and stack are whole.
fn show_record(config: &Config) -> bool {
    let record = match roles::last_good_record(config) {
        Ok(Some(record)) => record,
        Ok(None) => {
            say!("=== last-good: no record");
            return true;
        }
        Err(error) => {
            say!("=== last-good: {}", crate::causes::causes(&error));
            return false;
        }
    };
    say!("=== last-good: {} dynos", record.dynos.len());
    let names = app_names(config);
    let slugs = Store::attach(config.slugs_dir());
    let mut whole = true;
    for ((app, release), dynos) in by_release(&record) {
        let slug = dynos.iter().find_map(|wanted| wanted.spec.slug);
        let fault = fault(&slugs, slug, &dynos);
        let list: Vec<&str> = dynos.iter().map(|wanted| wanted.spec.name.as_str()).collect();
        let name = names.get(&app).unwrap_or(&app);
        let verdict = fault.as_deref().unwrap_or("can start");
        say!("{name} v{release}: {}: {verdict}", list.join(" "));
        whole &= fault.is_none();
    }
    whole
}

fn by_release(record: &Desired) -> BTreeMap<(String, u32), Vec<&Wanted>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (slot, wanted) in &record.dynos {
        let Some(place) = Place::parse(slot) else { continue };
        all.entry((place.app, place.release)).or_default().push(wanted.as_ref());
    }
    all
}

/// Why it would not start.
fn fault(slugs: &Store, slug: Option<SlugId>, dynos: &[&Wanted]) -> Option<String> {
    let stacks: BTreeSet<_> = dynos.iter().map(|wanted| &wanted.spec.stack).collect();
    if let Some(stack) = stacks.into_iter().find(|stack| !stack.is_dir()) {
        return Some(format!("its stack {} is gone", stack.display()));
    }
    slugs.verify(&slug?).err().map(|error| crate::causes::causes(&error))
}

/// Names by which the last route table knows the apps: the state may not say.
fn app_names(config: &Config) -> BTreeMap<String, String> {
    let routes = roles::last_routes(config).unwrap_or_default();
    let names = routes.apps.iter();
    names.map(|(id, route)| (id.as_str().to_owned(), route.name.clone())).collect()
}
