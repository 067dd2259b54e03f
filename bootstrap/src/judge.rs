//! What the stages mean together.

use crate::report::{Comparison, Stage};
use serde::Serialize;
use std::fmt;

/// The end of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every slug is the same, bit for bit.
    Identical,
    /// From the second on they are; the first was packed by an executable that another toolchain made
    /// than the one of the builds.
    IdenticalFromSecond { outside: String, inside: String },
    /// These two differ, and nothing excuses it.
    Different { left: u32, right: u32 },
    /// This stage did not compile what the first did: a cached stage compares nothing.
    NotCompiled { stage: u32, crates: usize, expected: usize },
}

impl Verdict {
    pub fn holds(&self) -> bool {
        matches!(self, Self::Identical | Self::IdenticalFromSecond { .. })
    }
}

/// `must_compile`: the source is cargo's, so that a stage without a compiled crate was cached.
pub(crate) fn judge(stages: &[Stage], comparisons: &[Comparison], must_compile: bool) -> Verdict {
    let first = stages.first().map_or(0, |stage| stage.crates_compiled);
    let expected = first.max(usize::from(must_compile));
    if let Some(stage) = stages.iter().find(|stage| stage.crates_compiled != expected) {
        let crates = stage.crates_compiled;
        return Verdict::NotCompiled { stage: stage.number, crates, expected };
    }
    let mut unequal = comparisons.iter().filter(|pair| !pair.equal);
    let Some(Comparison { left, right, .. }) = unequal.next() else { return Verdict::Identical };
    match stages {
        // The first two alone: the executables that packed them are made by different toolchains, and
        // what the second made is made again by the third.
        [one, two, _, ..] if *left == one.number && unequal.next().is_none() => {
            let (outside, inside) = (&one.built_by.sha256, &two.built_by.sha256);
            if outside == inside {
                return Verdict::Different { left: *left, right: *right };
            }
            Verdict::IdenticalFromSecond { outside: outside.clone(), inside: inside.clone() }
        }
        _ => Verdict::Different { left: *left, right: *right },
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => f.write_str("Every slug is the same, bit for bit."),
            Self::IdenticalFromSecond { outside, inside } => write!(
                f,
                "From the second on every slug is the same, bit for bit. The first is not: it was \
                 packed by the lathe that this machine's toolchain made ({outside}), the second by \
                 the one that a build made ({inside})."
            ),
            Self::Different { left, right } => {
                write!(f, "The slugs of stages {left} and {right} differ.")
            }
            Self::NotCompiled { stage, crates, expected } => write!(
                f,
                "Stage {stage} compiled {crates} crates, not {expected}: what is not compiled again \
                 compares nothing."
            ),
        }
    }
}
