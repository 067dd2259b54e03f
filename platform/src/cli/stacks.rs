//! `lathe stacks` and `lathe stacks:build`: the base file systems of this machine.

use super::CliError;
use super::say::say;
use crate::config::Config;
use crate::stack;

pub(super) fn list(config: &Config) -> Result<(), CliError> {
    let stacks = stack::list(config)?;
    if stacks.is_empty() {
        say!("No stacks yet in {}; `lathe stacks:build` makes them.", stacks_dir(config));
    }
    for (stack, record) in stacks {
        let built = jiff::Timestamp::from_second(record.built_at)
            .map_or_else(|_| "?".to_owned(), |time| time.to_string());
        say!(
            "{:15} {}  {built}  {:4} packages  {:5} MB  {}",
            stack.name,
            &stack.digest[..12],
            record.packages.len(),
            record.size_bytes / 1_000_000,
            stack.root.display()
        );
    }
    Ok(())
}

pub(super) fn build(config: &Config) -> Result<(), CliError> {
    say!("-----> Building the stacks in {}", stacks_dir(config));
    super::readable_by_dynos();
    stack::renew(config, &mut |line| say!("       {line}"))?;
    say!("       Apps keep the stack they were compiled for until they are pushed again.");
    Ok(())
}

fn stacks_dir(config: &Config) -> std::path::Display<'_> {
    config.stacks.dir.display()
}
