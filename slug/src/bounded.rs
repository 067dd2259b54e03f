//! Writers through which only so much goes, counted and digested.

use crate::tally::Tally;
use crate::{Exceeded, Limit};
use std::io::{self, Write};

/// Takes up to `max` bytes of tar; one more is an [`Exceeded`] inside an [`io::Error`].
pub(crate) struct Bounded<W> {
    pub(crate) inner: Tally<W>,
    max: u64,
}

impl<W> Bounded<W> {
    pub(crate) fn new(inner: W, max: u64) -> Self {
        Self { inner: Tally::new(inner), max }
    }
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.length() + bytes.len() as u64;
        Limit::Unpacked.check(length, self.max).map_err(io::Error::other)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Lets up to `max` compressed bytes through and only counts the rest: whoever has to make a slug
/// smaller wants to know by how much.
pub(crate) struct Overflow<W> {
    inner: Tally<W>,
    max: u64,
    over: u64,
}

impl<W> Overflow<W> {
    pub(crate) fn new(inner: W, max: u64) -> Self {
        Self { inner: Tally::new(inner), max, over: 0 }
    }

    /// What went through, unless some did not fit.
    pub(crate) fn checked(self) -> Result<Tally<W>, Exceeded> {
        let bytes = self.inner.length() + self.over;
        Limit::Compressed.check(bytes, self.max)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Overflow<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.over > 0 || bytes.len() as u64 > self.max - self.inner.length() {
            self.over += bytes.len() as u64;
            return Ok(bytes.len());
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
