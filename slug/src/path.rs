//! A path inside a tree: relative, plain, and short enough.

use crate::{Exceeded, Limit, Limits};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest name Linux file systems hold.
const COMPONENT_BYTES_MAX: usize = 255;

/// Components joined by single slashes; empty for the tree itself. Never holds `.`, `..`, a leading or
/// trailing slash, or a control character (which could forge lines in a log or a terminal).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TreePath(Vec<u8>);

/// Why a path is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("it is absolute")]
    Absolute,
    #[error("it contains `..`")]
    Parent,
    #[error("it contains a control character")]
    Control,
    #[error("it is empty")]
    Empty,
    #[error(transparent)]
    Limit(#[from] Exceeded),
    #[error("one of its names is longer than {COMPONENT_BYTES_MAX} bytes")]
    NameTooLong,
    #[error("names that begin with `.wh.` mean deletion in a container image")]
    Whiteout,
    #[error("everything in a slug is under ./app/")]
    OutsideApp,
    #[error("the archive has more than one top folder")]
    SecondTop,
}

impl TreePath {
    /// Takes what tar writers write (`./a/b`, `a//b`, `a/b/`) and nothing that leads elsewhere.
    pub(crate) fn parse(raw: &[u8], limits: &Limits) -> Result<Self, PathFault> {
        match raw.first() {
            None => return Err(PathFault::Empty),
            Some(b'/') => return Err(PathFault::Absolute),
            Some(_) => {}
        }
        let mut path = Self(Vec::with_capacity(raw.len()));
        for name in raw.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(PathFault::Parent),
                _ => path = path.child(name, limits)?,
            }
        }
        Ok(path)
    }

    /// The path of `name` in this folder.
    pub(crate) fn child(mut self, name: &[u8], limits: &Limits) -> Result<Self, PathFault> {
        if name.iter().any(u8::is_ascii_control) {
            return Err(PathFault::Control);
        }
        if name.len() > COMPONENT_BYTES_MAX {
            return Err(PathFault::NameTooLong);
        }
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
        Limit::Path.check(self.0.len(), limits.path_bytes_max)?;
        Limit::Depth.check(self.names().count(), limits.depth_max)?;
        Ok(self)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The folder and the name in it; `None` for the tree itself.
    pub(crate) fn split_last(&self) -> Option<(impl Iterator<Item = &[u8]>, &[u8])> {
        let at = self.0.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = match at {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&self.0[..0], &self.0[..]),
        };
        if name.is_empty() {
            return None;
        }
        Some((folder.split(|byte| *byte == b'/').filter(|name| !name.is_empty()), name))
    }

    /// The first component and the path below it.
    pub(crate) fn split_first(&self) -> Option<(&[u8], Self)> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().position(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], Self(self.0[at + 1..].to_vec())),
            None => (&self.0, Self::default()),
        })
    }

    /// The folders that lead here, outermost first, without the tree itself.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| &self.0[..at])
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    pub(crate) fn to_path_buf(&self) -> PathBuf {
        self.as_path().to_path_buf()
    }
}

/// A link's target is stored, never resolved: any direction is fine, but not any bytes.
pub(crate) fn check_target(raw: &[u8], limits: &Limits) -> Result<(), PathFault> {
    if raw.is_empty() {
        return Err(PathFault::Empty);
    }
    Limit::Path.check(raw.len(), limits.path_bytes_max)?;
    if raw.iter().any(u8::is_ascii_control) {
        return Err(PathFault::Control);
    }
    Ok(())
}

/// Image layers give `.wh.` names a meaning of their own (OCI image specification, Whiteouts).
pub(crate) fn check_whiteout(path: &TreePath) -> Result<(), PathFault> {
    if path.names().any(|name| name.starts_with(b".wh.")) {
        return Err(PathFault::Whiteout);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{PathFault, TreePath};
    use crate::{Exceeded, Limit, Limits};

    #[test]
    fn parses_what_tar_writers_write() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"a", b"a"),
            (b"./a/b", b"a/b"),
            (b"a//b/", b"a/b"),
            (b"a/./b", b"a/b"),
            (b"./", b""),
            (b"...", b"..."),
            (b"a/..b", b"a/..b"),
            (b"caf\xe9", b"caf\xe9"),
        ];
        for (raw, plain) in cases {
            assert_eq!(TreePath::parse(raw, &Limits::default()).unwrap().as_bytes(), *plain);
        }
    }

    #[test]
    fn refuses_what_leads_elsewhere_or_is_too_much() {
        let limits = Limits { path_bytes_max: 300, depth_max: 3, ..Limits::default() };
        let long = [b'x'; 256];
        let cases: &[(&[u8], PathFault)] = &[
            (b"", PathFault::Empty),
            (b"/etc/passwd", PathFault::Absolute),
            (b"a/../b", PathFault::Parent),
            (b"..", PathFault::Parent),
            (b"a\nb", PathFault::Control),
            (b"a\x1b[2J", PathFault::Control),
            (b"a\x7f", PathFault::Control),
            (b"a/b/c/d", PathFault::Limit(Exceeded { limit: Limit::Depth, found: 4, max: 3 })),
            (&long, PathFault::NameTooLong),
            (
                &[b"a/", &long[..250], b"/", &long[..50]].concat(),
                PathFault::Limit(Exceeded { limit: Limit::Path, found: 303, max: 300 }),
            ),
        ];
        for (raw, fault) in cases {
            assert_eq!(TreePath::parse(raw, &limits).unwrap_err(), *fault, "{raw:?}");
        }
    }

    #[test]
    fn splits_at_both_ends() {
        let path = TreePath::parse(b"a/b/c", &Limits::default()).unwrap();
        let (folder, name) = path.split_last().unwrap();
        assert_eq!((folder.collect::<Vec<_>>(), name), (vec![&b"a"[..], b"b"], &b"c"[..]));
        let (first, rest) = path.split_first().unwrap();
        assert_eq!((first, rest.as_bytes()), (&b"a"[..], &b"b/c"[..]));
        assert!(TreePath::default().split_last().is_none());
        assert!(TreePath::default().split_first().is_none());
    }
}
