//! The steps of building both stacks, in order.

use super::jail::Jail;
use super::recipe::{BUILD, RUN, Recipe, content_digest};
use super::shelf::{Lock, Record};
use super::{StackError, clean};
use crate::config::{self, Config};
use crate::host::tool;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Every this many packages there is a line of progress.
const PROGRESS_PACKAGES: u32 = 50;

/// Builds the run stack, the build stack on top of a copy of it, and puts both in place.
pub(super) fn both(
    config: &Config,
    lock: &Lock,
    progress: &mut dyn FnMut(&str),
) -> Result<(), StackError> {
    lock.sweep()?;
    let run_recipe = Recipe::run(&config.stacks);
    let build_recipe = Recipe::build(&config.stacks);
    let run_dir = lock.prepare(RUN)?;
    let build_dir = lock.prepare(BUILD)?;
    let proxy = config.stacks.proxy.as_deref();
    let mut run = Tree { stack: RUN, jail: Jail { root: &run_dir.join("root"), proxy }, progress };

    run.tell(&format!("{RUN}: Debian {} by debootstrap", run_recipe.suite));
    run.settle_dpkg()?;
    run.debootstrap(&config.stacks)?;
    run.allow_no_services()?;
    run.tell(&format!("{RUN}: installing {} packages", run_recipe.packages.len()));
    run.upgrade(&config.stacks)?;
    run.install(&run_recipe.packages)?;
    let mut run_record = run.record(&run_recipe, None)?;

    // Copied before it is cleaned, so that apt need not fetch its lists again.
    run.copy_to(&build_dir.join("root"))?;
    run.clean(&mut run_record)?;

    let root = build_dir.join("root");
    let mut build = Tree { stack: BUILD, jail: Jail { root: &root, proxy }, progress };
    build.tell(&format!("{BUILD}: installing {} packages", build_recipe.packages.len()));
    build.install(&build_recipe.packages)?;
    let mut build_record = build.record(&build_recipe, Some(run_record.digest.clone()))?;
    build.clean(&mut build_record)?;

    let run = lock.finish(&run_dir, run_record)?;
    let build = lock.finish(&build_dir, build_record)?;
    lock.sweep()?;
    for stack in [&run, &build] {
        let megabytes = stack.record.size_bytes / 1_000_000;
        progress(&format!(
            "{}: {} packages, {megabytes} MB, digest {}",
            stack.record.name,
            stack.record.packages.len(),
            &stack.record.digest[..12]
        ));
    }
    Ok(())
}

/// A tree while it grows.
struct Tree<'a> {
    stack: &'static str,
    jail: Jail<'a>,
    progress: &'a mut dyn FnMut(&str),
}

impl Tree<'_> {
    fn tell(&mut self, line: &str) {
        (self.progress)(line);
    }

    /// Tells dpkg, before it unpacks the first package, to leave manuals out, and not to bring
    /// every file to disk by itself: the whole tree is, once, at the end.
    fn settle_dpkg(&self) -> Result<(), StackError> {
        let root = self.jail.root;
        self.files("write the settings of dpkg", || {
            let dir = root.join("etc/dpkg/dpkg.cfg.d");
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("lathe"), include_str!("dpkg.cfg"))?;
            fs::write(dir.join("building"), "force-unsafe-io\n")
        })
    }

    fn debootstrap(&mut self, stacks: &config::Stacks) -> Result<(), StackError> {
        let mut command = self.jail.outside("debootstrap");
        command.args(["--variant=minbase", "--include=ca-certificates"]);
        command.arg(&stacks.suite).arg(self.jail.root).arg(&stacks.mirror);
        self.run("debootstrap", command)
    }

    /// Package scripts would start daemons; this program is what they ask first.
    fn allow_no_services(&self) -> Result<(), StackError> {
        let path = self.jail.root.join("usr/sbin/policy-rc.d");
        self.files("write policy-rc.d", || {
            fs::write(&path, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        })
    }

    /// Takes the fixes that came after the release.
    fn upgrade(&mut self, stacks: &config::Stacks) -> Result<(), StackError> {
        let root = self.jail.root;
        // The one-line form in this file: buildpacks that call apt read it themselves.
        let sources = format!(
            "deb {mirror} {suite} main\n\
             deb {mirror} {suite}-updates main\n\
             deb {security} {suite}-security main\n",
            mirror = stacks.mirror,
            security = stacks.security_mirror,
            suite = stacks.suite,
        );
        self.files("write the sources of apt", || {
            fs::create_dir_all(root.join("etc/apt/sources.list.d"))?;
            fs::write(root.join("etc/apt/sources.list"), &sources)?;
            fs::write(root.join("etc/apt/apt.conf.d/90lathe"), include_str!("apt.conf"))?;
            // The name servers of the machine that builds; blank in the finished tree.
            fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).map(|_| ())
        })?;
        self.run("apt-get update", self.apt(&["update", "--error-on=any"]))?;
        self.run("apt-get upgrade", self.apt(&["dist-upgrade", "--yes"]))
    }

    fn install(&mut self, packages: &BTreeSet<String>) -> Result<(), StackError> {
        let mut command = self.apt(&["install", "--yes", "--no-install-recommends", "--"]);
        command.args(packages);
        self.run("apt-get install", command)
    }

    fn apt(&self, arguments: &[&str]) -> Command {
        let mut command = self.jail.inside("apt-get");
        command.args(["-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=30"]);
        command.args(["-o", "Dpkg::Use-Pty=0"]).args(arguments);
        command
    }

    fn copy_to(&mut self, target: &Path) -> Result<(), StackError> {
        let mut command = self.jail.outside("cp");
        command.args(["--archive", "--reflink=auto", "--no-target-directory", "--"]);
        command.arg(self.jail.root).arg(target);
        self.run("copy", command)
    }

    fn record(&self, recipe: &Recipe, base: Option<String>) -> Result<Record, StackError> {
        let mut packages = BTreeSet::new();
        let mut query = self.jail.inside("dpkg-query");
        query.args(["--show", "--showformat", "${binary:Package}=${Version}\\n"]);
        tool::run("dpkg-query", query, &mut |line| {
            packages.insert(line.to_owned());
        })
        .map_err(|source| StackError::Step {
            stack: self.stack,
            step: "dpkg-query",
            source,
        })?;
        let recipe_digest = recipe.digest();
        Ok(Record {
            name: recipe.name.to_owned(),
            digest: content_digest(&recipe_digest, &packages),
            recipe: recipe_digest,
            base,
            suite: recipe.suite.clone(),
            built_at: jiff::Timestamp::now().as_second(),
            size_bytes: 0,
            packages,
        })
    }

    fn clean(&self, record: &mut Record) -> Result<(), StackError> {
        self.files("clean up", || {
            clean::tree(self.jail.root)?;
            record.size_bytes = size_bytes(self.jail.root)?;
            Ok(())
        })
    }

    fn run(&mut self, step: &'static str, command: Command) -> Result<(), StackError> {
        let program = step.split(' ').next().unwrap_or(step);
        let mut tally = Tally::default();
        let progress = &mut self.progress;
        tool::run(program, command, &mut |line| {
            if let Some(line) = tally.line(line) {
                progress(&line);
            }
        })
        .map_err(|source| StackError::Step { stack: self.stack, step, source })
    }

    fn files(
        &self,
        step: &'static str,
        act: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StackError> {
        act().map_err(|source| StackError::File { stack: self.stack, step, source })
    }
}

/// Turns thousands of lines of apt and debootstrap into a few.
#[derive(Default)]
struct Tally {
    counts: [u32; 3],
}

impl Tally {
    const VERBS: [(&str, &[&str]); 3] = [
        ("fetched", &["Get:", "I: Retrieving "]),
        ("unpacked", &["Unpacking ", "I: Unpacking ", "I: Extracting "]),
        ("set up", &["Setting up ", "I: Configuring "]),
    ];

    fn line(&mut self, line: &str) -> Option<String> {
        let is = |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
        let verb = Self::VERBS.iter().position(|(_, starts)| is(starts))?;
        self.counts[verb] += 1;
        let count = self.counts[verb];
        count.is_multiple_of(PROGRESS_PACKAGES).then(|| format!("{count} {}", Self::VERBS[verb].0))
    }
}

/// Disk blocks of a tree.
fn size_bytes(root: &Path) -> io::Result<u64> {
    walkdir::WalkDir::new(root).into_iter().try_fold(0, |sum, entry| {
        let entry = entry?;
        Ok(sum + entry.metadata()?.blocks() * 512)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_line_every_fifty_packages() {
        let mut tally = Tally::default();
        let said: Vec<_> =
            (0..120).filter_map(|n| tally.line(&format!("Unpacking p{n} (1.0) ..."))).collect();
        assert_eq!(said, ["50 unpacked", "100 unpacked"]);
        assert_eq!(tally.line("Reading package lists..."), None);
    }
}
