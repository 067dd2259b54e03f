//! Prints for people: a reader that has seen enough, or is gone, is no reason to fail.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Like `println!`, which panics when nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::say::line(format_args!($($text)*)) };
}
pub(super) use say;

pub(super) fn line(text: Arguments<'_>) {
    writeln!(io::stdout(), "{text}").ok();
}
