//! From a built folder to a slug: which process types it has, and its bytes.

use crate::error::CompileError;
use crate::release::Release;
use crate::site::Site;
use crate::source::read_small;
use crate::transcript::Transcript;
use crate::tree::remove_tree;
use lathe_slug::{Exceeded, Ignore, Limit, Manifest, PackError, Procfile};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use walkdir::WalkDir;

/// The Procfile at the top of `dir`; none is an empty one.
pub(crate) fn procfile(dir: &Path) -> Result<Vec<(String, String)>, CompileError> {
    let read = |source| CompileError::ReadSource { path: "Procfile".into(), source };
    let Some(bytes) = read_small(&dir.join("Procfile")).map_err(read)? else {
        return Ok(Vec::new());
    };
    let procfile = Procfile::parse(&bytes).map_err(CompileError::Procfile)?;
    Ok(procfile.processes().map(|(name, command)| (name.to_owned(), command.to_owned())).collect())
}

/// The Procfile's types in its order, then the buildpack's defaults it does not name.
pub(crate) fn process_types(
    declared: Vec<(String, String)>,
    release: &Release,
    out: &mut Transcript,
) -> Vec<(String, String)> {
    out.step("Discovering process types");
    out.detail(&format!("Procfile declares types     -> {}", names(&declared)));
    let declared_already = |name: &str| declared.iter().any(|(declared, _)| declared == name);
    let defaults: Vec<_> =
        release.process_types.iter().filter(|(name, _)| !declared_already(name)).cloned().collect();
    if !defaults.is_empty() {
        out.detail(&format!("Default types for buildpack -> {}", names(&defaults)));
    }
    if declared.is_empty() && defaults.is_empty() {
        out.error("Nothing can be started: say in a Procfile how, as in `web: command`.");
    }
    declared.into_iter().chain(defaults).collect()
}

fn names(types: &[(String, String)]) -> String {
    if types.is_empty() {
        return "(none)".to_owned();
    }
    types.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Writes the slug. `.git`, `log` and `tmp` stay out of every slug.
pub(crate) fn package(
    site: &Site<'_>,
    out: &mut Transcript,
    slug: impl Write,
) -> Result<Manifest, CompileError> {
    out.step("Compressing...");
    let limits = &site.job.limits;
    let manifest = lathe_slug::pack(&site.job.build_dir, &Ignore::default(), limits, slug);
    match manifest {
        Ok(manifest) => {
            out.detail(&format!("Done: {}", megabytes(manifest.bytes)));
            Ok(manifest)
        }
        Err(PackError::Limit(Exceeded { limit: Limit::Compressed, found, max })) => {
            Err(CompileError::TooLarge { bytes: found, max })
        }
        Err(PackError::Write(error)) => Err(CompileError::HandOver(error)),
        Err(error) => Err(CompileError::Pack(error)),
    }
}

/// `13.0M`, and `16K` below a tenth of one.
pub(crate) fn megabytes(bytes: u64) -> String {
    if bytes < 100 << 10 {
        return format!("{}K", bytes.div_ceil(1 << 10));
    }
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}M", tenths / 10, tenths % 10)
}

/// Empties a cache that outgrew its bound: every buildpack works without one, and a cache that
/// only grows would fill the disk of all apps. Kept buildpacks count with it.
pub(crate) fn bound_cache(site: &Site<'_>, out: &mut Transcript) {
    let dirs = [&site.job.cache_dir, &site.job.fetched_dir];
    let bytes = dirs.iter().map(|dir| bytes_on_disk(dir)).sum();
    if bytes <= site.job.cache_bytes_max {
        return;
    }
    out.detail(&format!(
        "The build cache grew to {} (max is {}, build.cache); the next build begins with an empty \
         one.",
        megabytes(bytes),
        megabytes(site.job.cache_bytes_max)
    ));
    for dir in dirs {
        empty(dir);
    }
}

fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        let is_dir = kind.is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir { remove_tree(&path) } else { fs::remove_file(&path) };
        // What cannot be removed now is counted again after the next build.
        removed.ok();
    }
}

/// What removing the folder would give back; a file with several links counts by its share.
fn bytes_on_disk(dir: &Path) -> u64 {
    let files = WalkDir::new(dir).into_iter().flatten();
    let metadata = files.filter_map(|entry| entry.metadata().ok());
    metadata.map(|file| file.blocks() * 512 / file.nlink().max(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::thread;

    const BUILDER: u32 = 65_534;

    #[test]
    fn a_cache_is_emptied_whatever_a_tool_has_closed_in_it() {
        let cache = tempfile::tempdir().unwrap();
        let module = cache.path().join("path/pkg/mod/example.com");
        fs::create_dir_all(&module).unwrap();
        fs::write(module.join("a.go"), "package a").unwrap();
        fs::set_permissions(&module, fs::Permissions::from_mode(0o555)).unwrap();
        thread::scope(|threads| {
            let emptied = threads.spawn(|| {
                // As a build, which cannot look past permissions as root does.
                if rustix::process::geteuid().is_root() {
                    for entry in WalkDir::new(cache.path()) {
                        chown(entry.unwrap().path(), Some(BUILDER), None).unwrap();
                    }
                    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(BUILDER))
                        .unwrap();
                    assert!(fs::remove_dir_all(&module).is_err());
                }
                empty(cache.path());
            });
            emptied.join().unwrap();
        });
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn sizes_as_heroku_prints_them() {
        let cases = [
            (0, "0K"),
            (1, "1K"),
            (16 << 10, "16K"),
            (13 << 20, "13.0M"),
            ((500 << 20) + 110_000, "500.1M"),
            (150 << 10, "0.1M"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(megabytes(bytes), expected);
        }
    }

    #[test]
    fn a_procfile_comes_before_the_defaults() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, command)| ((*name).into(), (*command).into())).collect()
        };
        let release = Release {
            process_types: own(&[("web", "default"), ("console", "irb")]),
            ..Release::default()
        };
        let mut out = Transcript::new(std::io::sink());
        let types = process_types(own(&[("worker", "w"), ("web", "mine")]), &release, &mut out);
        assert_eq!(types, own(&[("worker", "w"), ("web", "mine"), ("console", "irb")]));
    }
}
