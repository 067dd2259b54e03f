//! Source tree to slug, by the Heroku Buildpack API; nothing about servers or releases.

mod app_json;
mod build;
mod buildpack;
mod detect;
mod digest;
mod environment;
mod error;
mod failure;
mod forms;
mod inputs;
mod job;
mod mask;
mod package;
mod processes;
mod program;
mod release;
mod report;
mod site;
mod source;
mod test_run;
mod transcript;
mod tree;
pub mod wire;
mod worker;

pub use buildpack::{Catalogue, FetchError, ParseReferenceError, Reference};
pub use environment::{FROM_MACHINE, PATH};
pub use error::{CompileError, Failed};
pub use inputs::Inputs;
pub use job::{Cancel, Compiled, Job, UsedBuildpack};
pub use release::{Release, ReleaseError, parse as parse_release};
pub use source::copy_tree;
pub use test_run::{TestRun, test};
pub use transcript::Transcript;
pub use tree::remove_tree;
pub use worker::run_worker;

use detect::Chosen;
use site::Site;
use std::io::Write;

/// Builds the source in `job.build_dir` and writes its slug to `slug`. `out` tells the pusher what
/// happens, and in the end why it failed and what to do. The build folder is changed in place and
/// is the caller's to remove.
pub fn compile(
    job: &Job,
    out: &mut Transcript,
    slug: impl Write,
) -> Result<Compiled, CompileError> {
    out.hide(&job.env);
    out.bound(job.output_bytes_max);
    let result = steps(job, out, slug);
    if let Err(error) = &result {
        explain(error, out);
    }
    result
}

fn steps(job: &Job, out: &mut Transcript, slug: impl Write) -> Result<Compiled, CompileError> {
    let mut site = Site::open(job)?;
    let removed = source::prune(&job.build_dir)?;
    if removed > 0 {
        out.step(&format!("Removed {removed} files and folders listed in .slugignore"));
    }
    // Told now rather than after minutes of building.
    package::procfile(&job.build_dir)?;

    out.step(&format!("Building on the {} stack", job.stack));
    let inputs = inputs::seen(&job.build_dir)?;
    let mut chosen = detect::choose(&site, out)?;
    let built = build::build(&mut site, &mut chosen, build::Aim::Slug, out);
    // Also of a failed build, but not of those whose turn never came.
    let asked = chosen.iter().filter(|chosen| chosen.app.is_some());
    let buildpacks = asked.map(|chosen| used(&site, chosen, out)).collect();
    built?;

    let last = chosen.last();
    let release = last.map(|last| release::release(&site, &last.pack)).transpose()?;
    let release = release.unwrap_or_default();
    let declared = package::procfile(&job.build_dir)?;
    let process_types = package::process_types(declared, &release, out);
    let manifest = package::package(&site, out, slug)?;
    package::bound_cache(&site, out);
    Ok(Compiled {
        manifest,
        process_types,
        config_vars: release.config_vars,
        buildpacks,
        inputs,
        detected: last.and_then(|last| last.app.clone()).unwrap_or_default(),
        stack: job.stack.clone(),
    })
}

fn used(site: &Site<'_>, Chosen { pack, .. }: &Chosen, out: &Transcript) -> UsedBuildpack {
    let report = report::report(site, pack).into_iter();
    UsedBuildpack {
        name: pack.name.clone(),
        url: pack.url.clone(),
        commit: pack.commit.clone(),
        digest: pack.digest.clone(),
        pinned: pack.pinned.clone(),
        // It is kept with the release, where everybody who may see the app reads it.
        report: report.map(|(name, value)| (name, out.masked(&value))).collect(),
    }
}

fn explain(error: &CompileError, out: &mut Transcript) {
    out.error(&error.reason());
    out.error(error.remedy());
    match error.app() {
        Some(app) => out.error(&format!("Push rejected, failed to compile {app} app.")),
        None => out.error("Push rejected."),
    }
}
