//! Differences as people read them, one line each.

use super::{Difference, DifferenceKind};
use std::fmt;

#[expect(
    clippy::unnecessary_debug_formatting,
    reason = "names come from builds; escaped, they cannot forge lines on a terminal"
)]
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{:?}: ", self.path)?;
        }
        match &self.kind {
            DifferenceKind::OnlyLeft => write!(f, "only in the first"),
            DifferenceKind::OnlyRight => write!(f, "only in the second"),
            DifferenceKind::Type { left, right } => {
                write!(f, "{left} in the first, {right} in the second")
            }
            DifferenceKind::Mode { left, right } => {
                write!(f, "mode {left:o} in the first, {right:o} in the second")
            }
            DifferenceKind::Link { left, right } => {
                write!(f, "links to {left:?} in the first, to {right:?} in the second")
            }
            DifferenceKind::Content { at, left_bytes, right_bytes, sections } => {
                write!(
                    f,
                    "content differs from byte {at} on ({left_bytes} and {right_bytes} bytes)"
                )?;
                if !sections.is_empty() {
                    write!(f, ", in {}", sections.join(", ").escape_debug())?;
                }
                Ok(())
            }
            DifferenceKind::Order => {
                write!(f, "the same entries, which from here come in another order")
            }
            DifferenceKind::Headers => {
                write!(f, "the same entries, written with other times, owners or padding")
            }
            DifferenceKind::Compression => write!(f, "the same tar, compressed otherwise"),
        }
    }
}
