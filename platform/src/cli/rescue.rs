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
use std::path::PathBuf;
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
    let sound = show_state(config);
    let startable = show_record(config);
    show_seat(config)?;
    say!("=== what to do");
    if !sound {
        say!(
            "lathe up                    serves what is below last-good; the API says why no more"
        );
        say!("lathe stop                  then, before the next");
        say!("lathe rescue restore FILE   puts a backup in the place of the state");
    } else if instance::holder(&config.data)?.is_none() {
        say!("lathe up                    starts everything");
    }
    Ok(if sound && startable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_state(config: &Config) -> bool {
    let path = config.data.join("state.db");
    let known = state::SCHEMA;
    let (sound, said) = match state::examine(&path) {
        Health::Sound { schema } => (true, format!("sound, schema {schema} of {known}")),
        Health::Missing => (false, "missing".into()),
        Health::Damaged { detail } => (false, format!("damaged: {}", detail.escape_debug())),
        Health::Newer { found, known } => {
            (false, format!("schema {found}, of a newer program: this one knows up to {known}"))
        }
    };
    say!("=== state {}: {said}", path.display());
    for name in kept_copies(config) {
        say!("{name}: as it was before a newer program");
    }
    sound
}

/// Which version of itself the platform is, where it hosts itself.
fn show_seat(config: &Config) -> Result<(), CliError> {
    let data = &config.data;
    if !hosting::dir(data).exists() {
        return Ok(());
    }
    say!("=== versions");
    let seat = hosting::seat(data).unwrap_or_else(|error| {
        say!("the keeper's file cannot be read: {error}");
        hosting::Seat::default()
    });
    let whole = |version: &Version| {
        if version.is_laid_out(data) {
            "can start"
        } else {
            "its program is gone: this program is started instead"
        }
    };
    match &seat.good {
        None => say!("good: the program that is started with --self-hosted"),
        Some(version) => say!("good: v{}: {}", version.number, whole(version)),
    }
    if let Some(version) = &seat.trial {
        say!("on trial: v{}", version.number);
    }
    if let Some(Verdict { version, failure: Some(why) }) = &seat.verdict {
        say!("taken back: v{}: {}", version.number, why.lines().next().unwrap_or_default());
    }
    if seat.good.is_some() {
        say!("lathe rescue own            makes this program the platform again");
    }
    let (known, _) = runtime()?.block_on(hosting::known(config));
    let slugs = Store::attach(config.slugs_dir());
    let can = |it: &&Version| it.is_laid_out(data) || slugs.verify(&it.slug).is_ok();
    let list: Vec<_> = known.iter().filter(can).map(|it| format!("v{}", it.number)).collect();
    if !list.is_empty() {
        say!("lathe rescue release N      makes one that was good once: {}", list.join(" "));
    }
    Ok(())
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
