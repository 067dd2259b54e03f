//! What a version on trial could destroy: kept before it starts, put back when it is taken back.

use super::program::remove;
use super::{Version, dir};
use crate::backup::{FILES, STATE, TLS};
use crate::state::{Copied, Health, StateError, examine};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const KEPT: &str = "before-";
const LEFT: &str = "left-";
const HELD: &str = "not-put-back-";

/// Why a version is not tried, or not all is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeforeError {
    #[error("the state cannot be copied")]
    State(#[from] StateError),
    #[error("{} cannot be kept", path.display())]
    Keep {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be put back", path.display())]
    PutBack {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Of one trial: what another has kept is never put back.
fn kept(data: &Path, version: &Version) -> PathBuf {
    dir(data).join(format!("{KEPT}{}", version.release))
}

/// What a version that was taken back has left in place of it, for whoever wants to know: a state goes
/// there in up to three files, which must not meet another trial's.
pub(super) fn aside(data: &Path, version: &Version) -> PathBuf {
    dir(data).join(format!("{LEFT}{}", version.release))
}

/// Copies state, keys, certificates and settings, while no platform runs; all of it or nothing.
pub(super) fn keep(data: &Path, version: &Version) -> Result<(), BeforeError> {
    let (place, temp) = (kept(data, version), dir(data).join("before.new"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BeforeError::Keep { path, source }
    };
    remove(&temp).and_then(|()| fs::create_dir_all(temp.join(TLS))).map_err(failed(&temp))?;
    if data.join(STATE).exists() {
        Copied::make(data, &temp.join(STATE))?;
    }
    for name in small_files(data).map_err(failed(data))? {
        let (from, to) = (data.join(&name), temp.join(&name));
        if from.is_file() {
            fs::copy(&from, &to)
                .and_then(|_| File::open(&to)?.sync_all())
                .map_err(failed(&from))?;
        }
    }
    remove(&place).and_then(|()| lathe_slug::fs::publish(&temp, &place)).map_err(failed(&place))
}

/// Puts back whatever is not as it was, and gives the names of it. It takes no space: a full disk
/// does not keep it from happening. Cut off in the middle, it can be done again.
pub(super) fn put_back(data: &Path, version: &Version) -> Result<Vec<String>, BeforeError> {
    let (place, aside) = (kept(data, version), aside(data, version));
    if !place.exists() {
        return Ok(Vec::new());
    }
    let put_back = |name: &Path| {
        let failed = |source| BeforeError::PutBack { path: data.join(name), source };
        restore(data, &place, &aside, name).map_err(failed)
    };
    let mut changed = Vec::new();
    let names = small_files(data).and_then(|mut names| {
        names.extend(small_files(&place)?);
        names.sort();
        names.dedup();
        Ok(names)
    });
    for name in names.map_err(|source| BeforeError::PutBack { path: place.clone(), source })? {
        let same = fs::read(place.join(&name)).ok() == fs::read(data.join(&name)).ok();
        if !same {
            put_back(&name)?;
            changed.push(name.display().to_string());
        }
    }
    // A schema that only a newer program knows is no damage, but it shuts the older one out.
    let (was, is) = (examine(&place.join(STATE)), examine(&data.join(STATE)));
    if was != Health::Missing && was != is {
        for log in ["state.db-wal", "state.db-shm"] {
            put_back(Path::new(log))?;
        }
        put_back(Path::new(STATE))?;
        changed.push(STATE.to_owned());
    }
    if !changed.is_empty() {
        // One of them is enough to look into: the last. What cannot be removed now is the next time.
        drop(remove_all(data, |name| name.starts_with(LEFT) && !aside.ends_with(name)));
    }
    Ok(changed)
}

/// It could not be put back: it is all there is of it, and stays until somebody has seen to that. Says
/// where.
pub(super) fn hold(data: &Path, version: &Version) -> PathBuf {
    let (kept, held) = (kept(data, version), dir(data).join(format!("{HELD}{}", version.release)));
    // To where it was held before: that was the same.
    match remove(&held).and_then(|()| lathe_slug::fs::publish(&kept, &held)) {
        Ok(()) => held,
        Err(_) => kept,
    }
}

/// Nobody needs it any more.
pub(super) fn forget(data: &Path) -> io::Result<()> {
    remove_all(data, |name| name.starts_with(KEPT))
}

fn remove_all(data: &Path, which: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir(data))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&which) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What is there now goes aside, what was there comes back; either may be nothing.
fn restore(data: &Path, place: &Path, aside: &Path, name: &Path) -> io::Result<()> {
    let (now, aside) = (data.join(name), aside.join(name));
    if let Some(parent) = aside.parent() {
        fs::create_dir_all(parent)?;
    }
    rename(&now, &aside)?;
    link(&place.join(name), &now)?;
    lathe_slug::fs::sync_dir(now.parent().unwrap_or(data))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => lathe_slug::fs::publish(from, to),
    }
}

/// What was kept stays where it is kept: cut off here, the whole can be done again.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        linked => linked,
    }
}

/// Names below a data directory, or below what was kept of it.
fn small_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    let entries = match fs::read_dir(root.join(TLS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let name: OsString = entry?.file_name();
        names.push(Path::new(TLS).join(name));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::version::sample;
    use super::*;
    use crate::state::Store;
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    /// A state that nobody has open.
    fn make_state(data: &Path) {
        drop(Store::open(data).unwrap());
        while data.join("state.db-wal").exists() {
            std::thread::yield_now();
        }
    }

    fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join(TLS)).unwrap();
        for (name, text) in [("lathe.toml", "log = \"warn\""), ("tls/ca.pem", "authority")] {
            fs::write(data.path().join(name), text).unwrap();
        }
        make_state(data.path());
        data
    }

    #[test]
    fn what_a_version_destroys_comes_back_and_what_it_left_is_kept_aside() {
        let data = data();
        let at = |name: &str| data.path().join(name);
        let key = fs::read(at("state.key")).unwrap();
        keep(data.path(), &sample(2)).unwrap();
        fs::write(at("lathe.toml"), "nonsense").unwrap();
        fs::write(at("state.db"), "nonsense").unwrap();
        fs::remove_file(at("state.key")).unwrap();
        fs::write(at("tls/new.pem"), "planted").unwrap();
        let mut changed = put_back(data.path(), &sample(2)).unwrap();
        changed.sort();
        assert_eq!(changed, ["lathe.toml", "state.db", "state.key", "tls/new.pem"]);
        assert_eq!(fs::read_to_string(at("lathe.toml")).unwrap(), "log = \"warn\"");
        assert_eq!(fs::read(at("state.key")).unwrap(), key);
        assert!(!at("tls/new.pem").exists());
        assert_eq!(fs::read_to_string(at("seat/left-r2/lathe.toml")).unwrap(), "nonsense");
        assert!(matches!(examine(&at("state.db")), Health::Sound { .. }));
        // Once more, as after a crash.
        assert_eq!(put_back(data.path(), &sample(2)).unwrap(), Vec::<String>::new());

        // What the next one leaves never meets it.
        keep(data.path(), &sample(3)).unwrap();
        fs::write(at("lathe.toml"), "other").unwrap();
        assert_eq!(put_back(data.path(), &sample(3)).unwrap(), ["lathe.toml"]);
        assert_eq!(fs::read_to_string(at("seat/left-r3/lathe.toml")).unwrap(), "other");
        assert!(!at("seat/left-r2").exists());
    }

    #[test]
    fn what_was_written_in_a_trial_stays_and_another_trial_s_copy_is_never_used() {
        let data = data();
        keep(data.path(), &sample(2)).unwrap();
        let connection = rusqlite::Connection::open(data.path().join(STATE)).unwrap();
        connection.execute_batch("UPDATE uids SET next = 7").unwrap();
        assert_eq!(put_back(data.path(), &sample(2)).unwrap(), Vec::<String>::new());
        let next: i64 =
            connection.query_row("SELECT next FROM uids", [], |row| row.get(0)).unwrap();
        assert_eq!(next, 7);

        connection.pragma_update(None, "user_version", 99).unwrap();
        assert_eq!(put_back(data.path(), &sample(3)).unwrap(), Vec::<String>::new());
        drop(connection);
        assert_eq!(put_back(data.path(), &sample(2)).unwrap(), ["state.db"]);
        forget(data.path()).unwrap();
        assert!(!kept(data.path(), &sample(2)).exists());
    }

    #[test]
    fn what_cannot_be_put_back_is_held_and_nobody_forgets_it() {
        let data = data();
        let tls = data.path().join(TLS);
        keep(data.path(), &sample(2)).unwrap();
        fs::remove_dir_all(&tls).unwrap();
        fs::write(&tls, "no folder").unwrap();
        assert!(put_back(data.path(), &sample(2)).is_err());
        let held = hold(data.path(), &sample(2));
        forget(data.path()).unwrap();
        assert_eq!(fs::read_to_string(held.join("tls/ca.pem")).unwrap(), "authority");
    }

    /// Fault B5: without room for the copies nothing is tried; to put back what is there takes none.
    #[test]
    fn a_full_disk_keeps_no_half_and_hinders_no_return() {
        let dir = tempfile::tempdir().unwrap();
        let size = Some(c"size=2m,mode=755");
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), size).unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("lathe.toml"), "log = \"warn\"").unwrap();
        make_state(&data);
        keep(&data, &sample(2)).unwrap();

        let mut filler = File::create(dir.path().join("filler")).unwrap();
        while io::Write::write_all(&mut filler, &[7; 4096]).is_ok() {}
        assert!(keep(&data, &sample(3)).is_err());
        assert!(!kept(&data, &sample(3)).exists());
        fs::remove_file(data.join("lathe.toml")).unwrap();
        fs::write(data.join(STATE), "no").unwrap();
        assert_eq!(put_back(&data, &sample(2)).unwrap(), ["lathe.toml", "state.db"]);
        assert!(matches!(examine(&data.join(STATE)), Health::Sound { .. }));
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    }
}
