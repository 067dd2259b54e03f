//! What the stages mean together.

use crate::report::{Comparison, Stage};
use serde::Serialize;
use std::fmt;

/// The end of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Verdict {
    /// Every slug is the same, bit for bit.
    Identical,
    /// From the second on they are; the first was packed by an executable that another toolchain made
    /// than the one of the builds. What each of the two says that the other does not.
    IdenticalFromSecond { outside: Vec<String>, inside: Vec<String> },
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
            let (one, two) = (&one.built_by.toolchain, &two.built_by.toolchain);
            let (outside, inside) = (without(one, two), without(two, one));
            if outside.is_empty() && inside.is_empty() {
                return Verdict::Different { left: *left, right: *right };
            }
            Verdict::IdenticalFromSecond { outside, inside }
        }
        _ => Verdict::Different { left: *left, right: *right },
    }
}

fn without(all: &[String], others: &[String]) -> Vec<String> {
    all.iter().filter(|tool| !others.contains(tool)).cloned().collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => f.write_str("Every slug is the same, bit for bit."),
            Self::IdenticalFromSecond { outside, inside } => write!(
                f,
                "From the second on every slug is the same, bit for bit. The first is not: it was \
                 packed by a lathe that another toolchain made ({}) than the second ({}).",
                outside.join("; "),
                inside.join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Surroundings};
    use lathe_slug::{DiffId, Manifest, SlugId};

    /// Stages by toolchain of the executable, slug and crates, each a letter or a number, and the verdict on them.
    fn verdict(stages: &[(&str, u8, usize)]) -> Verdict {
        let stages: Vec<Stage> = (1..)
            .zip(stages)
            .map(|(number, (builder, slug, crates))| Stage {
                number,
                built_by: Builder::made_by(builder),
                begun_at: 0,
                checks_passed: 9,
                slug: Manifest {
                    id: SlugId::from_digest([*slug; 32]),
                    diff_id: DiffId::from_digest([*slug; 32]),
                    bytes: 1,
                    unpacked_bytes: 1,
                    entries: 1,
                },
                crates_compiled: *crates,
                build_ms: 1,
                stage_ms: 1,
                surroundings: Surroundings::default(),
            })
            .collect();
        let pairs = stages.iter().zip(stages.iter().skip(1));
        let comparisons: Vec<Comparison> = pairs
            .map(|(left, right)| Comparison {
                left: left.number,
                right: right.number,
                equal: left.slug.id == right.slug.id,
                differences: Vec::new(),
            })
            .collect();
        judge(&stages, &comparisons, true)
    }

    #[test]
    fn equal_slugs_that_were_all_compiled_hold() {
        assert_eq!(verdict(&[("a", 1, 4), ("b", 1, 4), ("b", 1, 4)]), Verdict::Identical);
        assert_eq!(verdict(&[("a", 1, 4), ("b", 1, 4)]), Verdict::Identical);
    }

    #[test]
    fn only_the_toolchain_outside_excuses_a_difference_and_only_of_the_first() {
        let named =
            Verdict::IdenticalFromSecond { outside: vec!["a".into()], inside: vec!["b".into()] };
        assert!(named.holds());
        assert_eq!(verdict(&[("a", 1, 4), ("b", 2, 4), ("b", 2, 4)]), named);
        let differ = |left, right| Verdict::Different { left, right };
        assert_eq!(verdict(&[("a", 1, 4), ("a", 2, 4), ("a", 2, 4)]), differ(1, 2));
        assert_eq!(verdict(&[("a", 1, 4), ("b", 2, 4)]), differ(1, 2));
        assert_eq!(verdict(&[("a", 1, 4), ("b", 1, 4), ("b", 2, 4)]), differ(2, 3));
        assert_eq!(verdict(&[("a", 1, 4), ("b", 2, 4), ("b", 3, 4)]), differ(1, 2));
    }

    #[test]
    fn a_stage_that_did_not_compile_compares_nothing() {
        let cached = |stage, crates, expected| Verdict::NotCompiled { stage, crates, expected };
        assert_eq!(verdict(&[("a", 1, 4), ("b", 1, 4), ("b", 1, 0)]), cached(3, 0, 4));
        assert_eq!(verdict(&[("a", 1, 0), ("b", 1, 0)]), cached(1, 0, 1));
    }
}
