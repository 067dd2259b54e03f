//! Which lines of an app a reader wants.

use crate::block::Block;
use crate::{Cursor, Source};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    pub source: Option<Source>,
    /// A process type (`web`) or one dyno (`web.1`).
    pub process: Option<String>,
    /// How many of the newest matching lines to begin with; without effect when `after` is given.
    pub lines: usize,
    /// Resume: everything still held that came after this place.
    pub after: Option<Cursor>,
}

impl Filter {
    pub(crate) fn matches(&self, block: &Block) -> bool {
        self.source.is_none_or(|source| source == block.source)
            && self.process.as_deref().is_none_or(|wanted| is_of(&block.process, wanted))
    }
}

/// Whether `process` is the dyno `wanted` or a dyno of the type `wanted`.
fn is_of(process: &str, wanted: &str) -> bool {
    process == wanted || process.rsplit_once('.').is_some_and(|(kind, _)| kind == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_dynos() {
        let cases = [
            ("web.1", "web", true),
            ("web.1", "web.1", true),
            ("web.10", "web.1", false),
            ("web.1", "we", false),
            ("webhook.1", "web", false),
            ("router", "router", true),
            ("router", "", false),
            ("run.1234", "run", true),
        ];
        for (process, wanted, want) in cases {
            assert_eq!(is_of(process, wanted), want, "{process} of {wanted}");
        }
    }
}
