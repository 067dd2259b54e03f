//! Buildpacks out of git repositories: one commit and nothing else of them, fetched once.

use super::fetch::{Errand, FetchError, run};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// One bare repository for all of an app's buildpacks, kept between its builds: objects are named
/// by their content, so nothing that is there has to be fetched again.
const KEPT: &str = "git";

/// A repository on this machine may belong to another user, as ours do inside a build. Only a file
/// tells that to the git at its other end as well.
const CONFIG: &str = "[safe]\n\tdirectory = *\n";

/// Puts the tree of the commit that `rev` names into the new folder `dir` and returns the commit.
pub(super) fn check_out(
    url: &str,
    rev: &str,
    dir: &Path,
    errand: &Errand<'_>,
) -> Result<String, FetchError> {
    let kept = errand.kept.join(KEPT);
    let is_new = !kept.exists();
    match attempt(&kept, url, rev, dir, errand) {
        // What an earlier build left there may be half written, or tampered with: begin anew, and
        // let go of the old one only for a better one.
        Err(FetchError::Refused { .. }) if !is_new => {
            let fresh = errand.scratch.join(KEPT);
            fs::remove_dir_all(dir).map_err(FetchError::Copy)?;
            let commit = attempt(&fresh, url, rev, dir, errand)?;
            fs::remove_dir_all(&kept).map_err(FetchError::Keep)?;
            fs::rename(fresh, kept).map_err(FetchError::Keep)?;
            Ok(commit)
        }
        result => result,
    }
}

fn attempt(
    kept: &Path,
    url: &str,
    rev: &str,
    dir: &Path,
    errand: &Errand<'_>,
) -> Result<String, FetchError> {
    fs::create_dir_all(kept).map_err(FetchError::Keep)?;
    fs::create_dir_all(dir).map_err(FetchError::Copy)?;
    git(&["init".into(), "--quiet".into(), "--bare".into(), kept.into()], errand)?;
    let git = |args: &[&str]| {
        let place = ["--git-dir".into(), kept.into(), "--work-tree".into(), dir.into()];
        let args = place.into_iter().chain(args.iter().map(OsString::from));
        git(&args.collect::<Vec<_>>(), errand)
    };
    let commit = if let Some(commit) = known(rev, &git) {
        commit
    } else {
        git(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, rev])?;
        git(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"])?
    };
    git(&["read-tree", &commit])?;
    git(&["checkout-index", "--all", "--force"])?;
    Ok(commit)
}

/// A whole commit id that is here already needs nobody's network.
fn known(rev: &str, git: &impl Fn(&[&str]) -> Result<String, FetchError>) -> Option<String> {
    let whole = rev.len() == 40 && rev.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = format!("{rev}^{{commit}}");
    if whole { git(&["rev-parse", "--quiet", "--verify", &name]).ok() } else { None }
}

/// No history, tags, submodules, hooks or housekeeping, and no protocol but two.
fn git(args: &[OsString], errand: &Errand<'_>) -> Result<String, FetchError> {
    let mut env = errand.env.clone();
    let config = errand.scratch.join("gitconfig");
    fs::write(&config, CONFIG).map_err(FetchError::Keep)?;
    env.insert("GIT_CONFIG_GLOBAL".to_owned(), config.into());
    env.insert("GIT_INDEX_FILE".to_owned(), errand.scratch.join("index").into());
    for (name, value) in [
        ("GIT_ALLOW_PROTOCOL", "https:file"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
    ] {
        env.insert(name.to_owned(), value.into());
    }
    let settings =
        ["core.hooksPath=/dev/null", "core.bare=false", "gc.auto=0", "maintenance.auto=false"];
    let settings = settings.iter().flat_map(|setting| ["-c".into(), setting.into()]);
    let args = settings.chain(args.iter().cloned()).collect();
    let seen = run("git", args, errand.scratch, &Errand { env: &env, ..*errand })?;
    Ok(String::from_utf8_lossy(&seen.stdout).trim().to_owned())
}
