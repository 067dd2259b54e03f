//! What the spawner shall write for the dynos of another engine when the platform is gone.

use crate::containers::LastWill;
use crate::spec::DynoId;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One file for each dyno.
pub(super) struct Wills(PathBuf);

impl Wills {
    pub(super) fn of(dir: &Path) -> Self {
        Self(dir.join("wills"))
    }

    /// Whole or not at all, but not synced: a reboot ends every dyno anyway.
    pub(super) fn keep(&self, id: DynoId, will: Option<&LastWill>) -> io::Result<()> {
        let path = self.0.join(id.to_string());
        let Some(will) = will else { return gone(fs::remove_file(path)) };
        fs::create_dir_all(&self.0)?;
        let temporary = self.0.join(format!(".{id}"));
        fs::write(&temporary, serde_json::to_vec(will)?)?;
        fs::rename(temporary, path)
    }

    /// Does all of them. Of a dyno that has ended nothing stays.
    pub(super) fn execute(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // One that cannot be done keeps no other from being done.
            let will = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            if will.and_then(|will| execute(&will, id)).is_err() {
                gone(fs::remove_file(&path))?;
            }
        }
        Ok(())
    }
}

/// Does it, if it names a file of that group and nothing else.
pub(super) fn execute(will: &LastWill, group: &str) -> io::Result<()> {
    if !will.path.parent().is_some_and(|parent| parent.ends_with(group)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    OpenOptions::new().write(true).open(&will.path)?.write_all(will.text.as_bytes())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_is_done_for_its_own_dyno_and_forgotten_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let wills = Wills::of(dir.path());
        assert!(wills.execute().is_err(), "there are none");
        let [here, gone, liar] = [DynoId::random(), DynoId::random(), DynoId::random()];
        let quota = |id: DynoId| dir.path().join(id.to_string()).join("quota");
        for (id, path) in [(here, quota(here)), (gone, quota(gone)), (liar, quota(here))] {
            wills.keep(id, Some(&LastWill { path, text: id.to_string() })).unwrap();
        }
        fs::create_dir(quota(here).parent().unwrap()).unwrap();
        fs::write(quota(here), "").unwrap();
        wills.execute().unwrap();
        assert_eq!(fs::read_to_string(quota(here)).unwrap(), here.to_string());
        assert_eq!(fs::read_dir(dir.path().join("wills")).unwrap().count(), 1);
        for _ in 0..2 {
            wills.keep(here, None).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path().join("wills")).unwrap().count(), 0);
    }
}
