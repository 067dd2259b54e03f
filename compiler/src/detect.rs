//! Chooses the buildpacks of a build: those given, those `.buildpacks` names, or the first that detects the app.

use crate::buildpack::{Buildpack, Catalogue, Reference, fetch};
use crate::error::CompileError;
use crate::program::Ending;
use crate::site::{Folders, Site};
use crate::source::read_small;
use crate::transcript::{Transcript, plain};
use std::collections::BTreeMap;
use std::time::Duration;

const DETECT_TIMEOUT: Duration = Duration::from_mins(1);
const OUTPUT_BYTES_MAX: usize = 64 << 10;
const NAME_CHARS_MAX: usize = 80;
const BUILDPACKS_MAX: usize = 20;

/// A buildpack that is to build this app.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) pack: Buildpack,
    /// What it calls the app; none while it has not been asked.
    pub(crate) app: Option<String>,
}

/// The buildpacks in order, all fetched: what cannot be had is told before anything is built.
pub(crate) fn choose(site: &Site<'_>, out: &mut Transcript) -> Result<Vec<Chosen>, CompileError> {
    let catalogue = catalogue(site)?;
    let Some(given) = given(site)? else {
        out.step("Determining which buildpack to use for this app");
        return first_to_detect(site, &catalogue);
    };
    list(&given, out);
    given
        .iter()
        .enumerate()
        .map(|(index, reference)| {
            let name = reference.to_string();
            let fetched = fetch(reference, &catalogue, &site.buildpack_dir(index), &site.errand());
            let pack = fetched.map_err(|source| CompileError::Fetch { name, source })?.check()?;
            Ok(Chosen { pack, app: None })
        })
        .collect()
}

fn catalogue(site: &Site<'_>) -> Result<Catalogue, CompileError> {
    let job = site.job;
    Catalogue::open(&job.builtin_dir, job.registry_dir.as_deref(), &job.order)
}

/// What the app was told to use, or else its own `.buildpacks` file: one reference a line. A file
/// that names none means that there is nothing to build; no file, that nobody has decided.
fn given(site: &Site<'_>) -> Result<Option<Vec<Reference>>, CompileError> {
    let mut texts = site.job.buildpacks.clone();
    if texts.is_empty() {
        let read = |source| CompileError::ReadSource { path: ".buildpacks".into(), source };
        let bytes = read_small(&site.job.build_dir.join(".buildpacks")).map_err(read)?;
        let Some(bytes) = bytes else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        texts = lines.map(str::to_owned).collect();
    }
    if texts.len() > BUILDPACKS_MAX {
        return Err(CompileError::TooManyBuildpacks { count: texts.len(), max: BUILDPACKS_MAX });
    }
    let references = texts.iter().map(|text| text.parse().map_err(CompileError::Reference));
    references.collect::<Result<_, _>>().map(Some)
}

fn list(given: &[Reference], out: &mut Transcript) {
    match given {
        [] => out.step("Using no buildpack: .buildpacks names none"),
        [only] => out.step(&format!("Using buildpack: {only}")),
        _ => out.step("Using buildpacks:"),
    }
    if given.len() < 2 {
        return;
    }
    for (index, reference) in given.iter().enumerate() {
        out.detail(&format!("{}. {reference}", index + 1));
    }
}

/// What the buildpack calls the app. In a list every one must fit it, and is asked when those before
/// it have done their work: some move the app's files about for the next (heroku-buildpack-multi).
pub(crate) fn app(
    site: &Site<'_>,
    pack: &Buildpack,
    out: &mut Transcript,
) -> Result<String, CompileError> {
    match detect(site, pack)? {
        Detected::Yes(app) => Ok(app),
        Detected::No(said) => {
            out.detail(&said);
            Err(CompileError::NotDetected { buildpack: pack.name.clone() })
        }
    }
}

/// The first group of which every buildpack knows the app. Each is asked once, however many groups
/// it is in.
fn first_to_detect(site: &Site<'_>, catalogue: &Catalogue) -> Result<Vec<Chosen>, CompileError> {
    let order = catalogue.order();
    let mut answers: BTreeMap<&str, Option<Chosen>> = BTreeMap::new();
    for group in catalogue.groups() {
        let mut chosen = Vec::new();
        for name in group {
            if !answers.contains_key(name.as_str()) {
                let index = order.iter().position(|known| known == name).unwrap_or_default();
                answers.insert(name, ask(site, catalogue, name, index)?);
            }
            let Some(one) = &answers[name.as_str()] else { break };
            chosen.push(one.clone());
        }
        if chosen.len() == group.len() {
            return Ok(chosen);
        }
    }
    Err(CompileError::NoneDetected { tried: order.join(", ") })
}

/// The buildpack of this name, if it knows the app.
fn ask(
    site: &Site<'_>,
    catalogue: &Catalogue,
    name: &str,
    index: usize,
) -> Result<Option<Chosen>, CompileError> {
    let reference: Reference = name.parse().map_err(CompileError::Reference)?;
    let pack = fetch(&reference, catalogue, &site.buildpack_dir(index), &site.errand())
        .map_err(|source| CompileError::Fetch { name: name.to_owned(), source })?
        .check()?;
    Ok(match detect(site, &pack)? {
        Detected::Yes(app) => Some(Chosen { pack, app: Some(app) }),
        Detected::No(_) => None,
    })
}

enum Detected {
    Yes(String),
    /// With what it said about that.
    No(String),
}

/// `bin/detect BUILD_DIR`: exit status 0 and a name on stdout, or anything else for "not mine".
fn detect(site: &Site<'_>, pack: &Buildpack) -> Result<Detected, CompileError> {
    let path = pack.dir.join("bin/detect");
    let program = site.program(pack, &path, Folders::Build);
    let seen = site.ask(&program, DETECT_TIMEOUT, OUTPUT_BYTES_MAX).map_err(|source| {
        CompileError::Run { buildpack: pack.name.clone(), program: "detect", source }
    })?;
    match seen.ending {
        Ending::Exited(0) => Ok(Detected::Yes(app_name(&seen.stdout, &pack.name))),
        Ending::Cancelled => Err(CompileError::Cancelled),
        Ending::TimedOut => Ok(Detected::No("bin/detect did not answer in time".to_owned())),
        Ending::Exited(_) | Ending::Signaled(_) => {
            Ok(Detected::No(String::from_utf8_lossy(&seen.stderr).into_owned()))
        }
    }
}

/// The first line of its output, made fit for a sentence.
fn app_name(stdout: &[u8], pack: &str) -> String {
    let text = String::from_utf8_lossy(stdout);
    let line = plain(text.lines().next().unwrap_or_default());
    let name: String = line.chars().take(NAME_CHARS_MAX).collect();
    if name.is_empty() { pack.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_apps() {
        let cases: [(&[u8], &str); 4] = [
            (b"Python\n", "Python"),
            (b"", "fallback"),
            (b"\x1b[31mRed\x1b[0m\nmore", "Red"),
            (b"\xff\n", "\u{fffd}"),
        ];
        for (stdout, expected) in cases {
            assert_eq!(app_name(stdout, "fallback"), expected);
        }
        assert_eq!(app_name(&[b'x'; 5000], "f").len(), NAME_CHARS_MAX);
    }
}
