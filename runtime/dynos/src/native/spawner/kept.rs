//! Sockets that outlive the engine: kept by name for the next one, closed when none comes.

use crate::native::wire::{FDS_MAX, Failure};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What the engine has given to keep.
#[derive(Debug, Default)]
pub(super) struct Kept {
    sockets: Vec<(String, OwnedFd)>,
    /// How long an engine may be away. Afterwards nobody shall wait in the queue of a socket that
    /// nobody accepts from.
    patience: Duration,
    /// Since when there is no engine.
    alone: Option<Instant>,
}

impl Kept {
    /// Keeps these and no others.
    pub(super) fn replace(
        &mut self,
        names: Vec<String>,
        sockets: Vec<OwnedFd>,
        patience: Duration,
    ) -> Result<(), Failure> {
        if names.len() != sockets.len() || names.len() > FDS_MAX {
            return Err(Failure { step: "keep sockets".to_owned(), errno: libc::EBADF });
        }
        self.sockets = names.into_iter().zip(sockets).collect();
        self.patience = patience;
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.sockets.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn sockets(&self) -> Vec<&OwnedFd> {
        self.sockets.iter().map(|(_, socket)| socket).collect()
    }

    pub(super) fn engine_came(&mut self) {
        self.alone = None;
    }

    pub(super) fn engine_went(&mut self, now: Instant) {
        self.alone = Some(now);
    }

    /// Closes what has been kept for too long; how long it is until then, if it will ever be.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Duration> {
        let alone = self.alone.filter(|_| !self.sockets.is_empty())?;
        let left = (alone + self.patience).saturating_duration_since(now);
        if left.is_zero() {
            self.sockets.clear();
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn kept(names: &[&str]) -> Kept {
        let mut kept = Kept::default();
        let sockets = names.iter().map(|_| std::io::pipe().unwrap().0.into()).collect();
        kept.replace(names.iter().map(|name| (*name).to_owned()).collect(), sockets, PATIENCE)
            .unwrap();
        kept
    }

    #[test]
    fn sockets_are_closed_when_no_engine_comes_in_time() {
        let start = Instant::now();
        let mut kept = kept(&["a", "b"]);
        assert_eq!(kept.expire(start + PATIENCE * 2), None, "an engine is there");
        kept.engine_went(start);
        assert_eq!(kept.expire(start + PATIENCE / 3), Some(PATIENCE * 2 / 3));
        kept.engine_came();
        kept.engine_went(start + PATIENCE);
        assert_eq!(kept.expire(start + PATIENCE), Some(PATIENCE), "the wait begins anew");
        assert_eq!(kept.names(), ["a", "b"]);
        assert_eq!(kept.expire(start + PATIENCE * 2), None);
        assert!(kept.names().is_empty() && kept.sockets().is_empty());
    }

    #[test]
    fn a_set_replaces_the_one_before_as_a_whole_or_not_at_all() {
        let mut kept = kept(&["a", "b"]);
        let socket = || std::io::pipe().unwrap().0.into();
        assert!(kept.replace(vec!["c".to_owned()], Vec::new(), PATIENCE).is_err());
        let many = (0..=FDS_MAX).map(|n| n.to_string()).collect::<Vec<_>>();
        let sockets = many.iter().map(|_| socket()).collect();
        assert!(kept.replace(many, sockets, PATIENCE).is_err());
        assert_eq!(kept.names(), ["a", "b"]);
        kept.replace(vec!["c".to_owned()], vec![socket()], PATIENCE).unwrap();
        assert_eq!((kept.names(), kept.sockets().len()), (vec!["c".to_owned()], 1));
    }
}
