//! Digests by which a build's inputs are known again: of a file, and of a whole tree.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use walkdir::WalkDir;

/// SHA-256 of what is read, in hexadecimal: what `sha256sum` prints.
pub(crate) fn of_bytes(mut from: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    take_in(&mut hash, &mut from)?;
    Ok(hex(&hash.finalize()))
}

/// SHA-256 over path, kind, executable bit and content of everything below `dir`, sorted. Times and
/// owners are not part of it, nor empty folders, which git does not keep either.
pub(crate) fn of_tree(dir: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for entry in WalkDir::new(dir).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let relative = path.strip_prefix(dir).map_err(io::Error::other)?;
        let (kind, content): (u8, Box<dyn Read>) = if entry.file_type().is_symlink() {
            let target = fs::read_link(path)?.into_os_string();
            (b'l', Box::new(io::Cursor::new(target.as_bytes().to_vec())))
        } else if entry.file_type().is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            (if executable { b'x' } else { b'f' }, Box::new(File::open(path)?))
        } else {
            continue;
        };
        // Each part with its length: no two trees have the same stream of bytes.
        part(&mut hash, &[kind]);
        part(&mut hash, relative.as_os_str().as_bytes());
        let mut inner = Sha256::new();
        take_in(&mut inner, &mut { content })?;
        part(&mut hash, &inner.finalize());
    }
    Ok(hex(&hash.finalize()))
}

fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn take_in(hash: &mut Sha256, from: &mut impl Read) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            read => hash.update(&piece[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_has_the_digest_that_everybody_computes() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(&b"abc"[..]).unwrap(), abc);
    }

    #[test]
    fn a_tree_is_known_by_names_modes_links_and_content_alone() {
        let digest = |change: &dyn Fn(&Path)| {
            let room = tempfile::tempdir().unwrap();
            fs::create_dir(room.path().join("bin")).unwrap();
            fs::write(room.path().join("bin/run"), "a").unwrap();
            symlink("bin/run", room.path().join("link")).unwrap();
            change(room.path());
            of_tree(room.path()).unwrap()
        };
        let plain = digest(&|_| {});
        let old = |dir: &Path| {
            let file = File::options().write(true).open(dir.join("bin/run")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(digest(&old), plain);
        assert_eq!(digest(&|dir| fs::create_dir(dir.join("empty")).unwrap()), plain);
        let changes: [&dyn Fn(&Path); 4] = [
            &|dir| fs::write(dir.join("bin/run"), "b").unwrap(),
            &|dir| fs::rename(dir.join("bin/run"), dir.join("bin/ru")).unwrap(),
            &|dir| {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(dir.join("bin/run"), mode).unwrap();
            },
            &|dir| {
                fs::remove_file(dir.join("link")).unwrap();
                fs::write(dir.join("link"), "bin/run").unwrap();
            },
        ];
        for change in changes {
            assert_ne!(digest(change), plain);
        }
    }
}
