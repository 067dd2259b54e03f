//! The repositories on disk: one bare one an app, made when first needed.

use super::{durable, policy};
use crate::state::model::App;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `<data>/git`.
#[derive(Clone, Debug)]
pub(super) struct Repos {
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error("repository {} could not be made", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("repository {} could not be made durable", path.display())]
    Sync {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} could not be cleared of what an interrupted push left", path.display())]
    Sweep {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("repository {} could not be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: git2::Error,
    },
}

/// Where the repository of the app with this id is, whether or not it has one yet.
pub fn path_of(data: &Path, app_id: &str) -> PathBuf {
    data.join("git").join(format!("{app_id}.git"))
}

impl Repos {
    /// Opens the directory and removes what pushes left that did not end: nobody pushes yet.
    pub(super) fn open(data: &Path) -> Result<Self, RepoError> {
        let dir = data.join("git");
        let failed = |source| RepoError::Sweep { path: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let swept = if path.extension().is_some_and(|extension| extension == "git") {
                sweep(&path)
            } else {
                std::fs::remove_dir_all(&path)
            };
            swept.map_err(|source| RepoError::Sweep { path, source })?;
        }
        Ok(Self { dir })
    }

    /// The app's repository; makes an empty one when there is none.
    pub(super) fn ensure(&self, app: &App) -> Result<PathBuf, RepoError> {
        let path = self.dir.join(format!("{}.git", app.id));
        if path.is_dir() {
            return Ok(path);
        }
        let new = self.dir.join(format!("{}.new-{}", app.id, uuid::Uuid::new_v4()));
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).no_reinit(true).external_template(false).initial_head("main");
        git2::Repository::init_opts(&new, &options)
            .map_err(|source| RepoError::Create { path: new.clone(), source })?;
        let failed = |source| RepoError::Sync { path: path.clone(), source };
        durable::sync_tree(&new).map_err(failed)?;
        if let Err(error) = std::fs::rename(&new, &path) {
            // Another request was faster.
            std::fs::remove_dir_all(&new).map_err(failed)?;
            if !path.is_dir() {
                return Err(failed(error));
            }
        }
        durable::sync(&self.dir).map_err(failed)?;
        Ok(path)
    }
}

/// What `name` points to now.
pub(super) fn target(repo: &Path, name: &str) -> Result<Option<git2::Oid>, RepoError> {
    let failed = |source| RepoError::Read { path: repo.to_owned(), source };
    let repository = git2::Repository::open_bare(repo).map_err(failed)?;
    match repository.refname_to_id(name) {
        Ok(oid) => Ok(Some(oid)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Points `HEAD` to the deploy branch that there is, so that a clone checks it out.
pub(super) fn settle_head(repo: &Path) -> Result<(), RepoError> {
    let failed = |source| RepoError::Read { path: repo.to_owned(), source };
    let repository = git2::Repository::open_bare(repo).map_err(failed)?;
    if repository.head().is_ok() {
        return Ok(());
    }
    for branch in policy::DEPLOY_BRANCHES {
        if repository.refname_to_id(branch).is_ok() {
            return repository.set_head(branch).map_err(failed);
        }
    }
    Ok(())
}

/// Packs after which they are made into one.
const PACKS_MAX: usize = 40;

/// Whether so many pushes have come that reading gets slow.
pub(super) fn wants_repack(repo: &Path) -> bool {
    let packs = std::fs::read_dir(repo.join("objects/pack")).map(|entries| {
        let is_pack = |path: &Path| path.extension().is_some_and(|extension| extension == "pack");
        entries.flatten().filter(|entry| is_pack(&entry.path())).count()
    });
    packs.unwrap_or(0) > PACKS_MAX
}

/// A repack that has taken this long is given up; the next push tries again.
pub(super) const REPACK_TIMEOUT: Duration = Duration::from_mins(10);

/// Where git keeps what pushes send until it accepts them.
pub(crate) fn quarantines(repo: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repo.join("objects"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("tmp_objdir-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes what git leaves when it is killed: quarantine directories, lock files, half packs.
fn sweep(repo: &Path) -> io::Result<()> {
    for dir in quarantines(repo)? {
        std::fs::remove_dir_all(dir)?;
    }
    for entry in walkdir::WalkDir::new(repo).follow_links(false) {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name().to_string_lossy();
        let left = name.ends_with(".lock") || name.starts_with("tmp_");
        if left && entry.file_type().is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::Account;
    use jiff::Timestamp;

    fn app() -> App {
        let time = Timestamp::UNIX_EPOCH;
        let owner = Account { id: "o".into(), email: "o@example.org".into(), created_at: time };
        App {
            id: "a1".into(),
            name: "sample".into(),
            owner,
            uid: 200_000,
            system: false,
            maintenance: false,
            acm: false,
            current: None,
            candidate: None,
            created_at: time,
            updated_at: time,
        }
    }

    #[test]
    fn made_once_and_swept_at_the_next_start() {
        let data = tempfile::tempdir().unwrap();
        let repos = Repos::open(data.path()).unwrap();
        let repo = repos.ensure(&app()).unwrap();
        assert_eq!(repos.ensure(&app()).unwrap(), repo);
        assert_eq!(repo, path_of(data.path(), "a1"));
        assert_eq!(target(&repo, "refs/heads/main").unwrap(), None);

        let left = [
            "objects/tmp_objdir-incoming-x/pack/p.pack",
            "objects/pack/tmp_pack_1",
            "refs/heads/main.lock",
            "HEAD.lock",
            "packed-refs.lock",
        ];
        for name in left {
            std::fs::create_dir_all(repo.join(name).parent().unwrap()).unwrap();
            std::fs::write(repo.join(name), b"x").unwrap();
        }
        std::fs::create_dir(data.path().join("git/a2.new-1")).unwrap();
        Repos::open(data.path()).unwrap();
        assert!(left.iter().all(|name| !repo.join(name).exists()));
        assert!(!repo.join("objects/tmp_objdir-incoming-x").exists());
        assert!(!data.path().join("git/a2.new-1").exists());
        assert!(repo.join("HEAD").exists() && repo.join("objects/pack").exists());
    }

    #[test]
    fn many_packs_want_one() {
        let data = tempfile::tempdir().unwrap();
        let repo = Repos::open(data.path()).unwrap().ensure(&app()).unwrap();
        for n in 0..=PACKS_MAX {
            assert!(!wants_repack(&repo));
            std::fs::write(repo.join(format!("objects/pack/{n}.pack")), b"").unwrap();
        }
        assert!(wants_repack(&repo));
    }
}
