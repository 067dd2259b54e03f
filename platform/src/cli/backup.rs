//! `lathe backup` and `lathe restore`: the whole platform in one file, and back.

use super::say::say;
use super::{CliError, runtime};
use crate::backup::{self, Head, Restored, Written};
use crate::config::Config;
use crate::hosting;
use crate::stack;
use std::path::Path;

/// The platform may run, and serves meanwhile.
pub(super) fn backup(config: &Config, to: &Path) -> Result<(), CliError> {
    let Written { head, lost } = backup::write(&config.data, to)?;
    say!("{} holds {} as of {}", to.display(), config.data.display(), head.made_at);
    say!("Keep it where others cannot read it: the keys are in it.");
    for slug in lost {
        say!(" !     Slug {slug} is lost, here and there: push again what is to run from it.");
    }
    Ok(())
}

pub(super) fn restore(config: &Config, from: &Path) -> Result<(), CliError> {
    let restored = backup::restore(from, &config.data, None)?;
    report(config, &restored)
}

/// What is there now goes aside; dynos run on, and the next platform decides about them.
pub(super) fn replace(config: &Config, from: &Path) -> Result<(), CliError> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = config.data.join(format!("replaced-{now}"));
    let _nobody_comes = hosting::settle_for_good(&config.data)?;
    let restored = backup::restore(from, &config.data, Some(&aside))?;
    hosting::forget_trials(&config.data)?;
    say!("What was there is in {}", aside.display());
    report(config, &restored)
}

fn report(config: &Config, restored: &Restored) -> Result<(), CliError> {
    let Restored { head, slugs, repositories } = restored;
    say!("Restored into {}: the platform of {}", config.data.display(), head.made_at);
    say!("{slugs} slugs, {repositories} repositories, schema {}", head.schema);
    for digest in missing_stacks(config, head)? {
        say!(
            " !     Stack {digest} is not on this machine: copy it from the old machine's {}, or \
             push those apps again.",
            config.stacks.dir.display()
        );
    }
    say_how_to_start(config)
}

/// What hosted itself goes on with the version that its keeper knows, with one of its own, or with the
/// program at hand.
fn say_how_to_start(config: &Config) -> Result<(), CliError> {
    if hosting::dir(&config.data).exists() {
        say!("Start it with `lathe up --self-hosted`; `lathe rescue` says which version that is.");
        return Ok(());
    }
    let (versions, _) = runtime()?.block_on(hosting::known(config));
    match versions.last() {
        None => say!("Start it with `lathe up`."),
        Some(version) => {
            say!("It was hosted by itself: `lathe rescue release v{}`, then", version.number);
            say!("`lathe up --self-hosted`. Without the former this program is the platform.");
        }
    }
    Ok(())
}

fn missing_stacks(config: &Config, head: &Head) -> Result<Vec<String>, CliError> {
    let mut missing = Vec::new();
    for digest in &head.stacks {
        if stack::find(config, digest)?.is_none() {
            missing.push(digest.clone());
        }
    }
    Ok(missing)
}
