//! Tables that were looked at once and checked in: a run must say the same again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Set to anything, it makes every table of the run anew instead of comparing.
const RENEW: &str = "LATHE_RENEW_GOLDEN";

/// Compares lines of `name<TAB>outcome…` with the file at `path`, and panics with what differs.
/// Lines of the file that begin with `#` are for its readers and stay when it is made anew.
pub fn check(path: &Path, actual: &str) {
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    let (head, expected): (Vec<&str>, Vec<&str>) =
        golden.lines().partition(|line| line.starts_with('#'));
    if std::env::var_os(RENEW).is_some() {
        let head = if head.is_empty() { String::new() } else { head.join("\n") + "\n" };
        std::fs::write(path, head + actual).unwrap();
        return;
    }
    let difference = difference(&expected, &actual.lines().collect::<Vec<_>>());
    assert!(
        difference.is_empty(),
        "{} (-) is not what was seen (+):\n{difference}\n{RENEW}=1 makes it anew, once you know why.",
        path.display()
    );
}

/// By name and not by place, so that a new line makes one difference.
fn difference(expected: &[&str], actual: &[&str]) -> String {
    let by_name = |lines: &[&str]| -> BTreeMap<String, String> {
        let name = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        lines.iter().map(|line| (name(line), (*line).to_owned())).collect()
    };
    let mut text = String::new();
    for (lines, what) in [(expected, "the file"), (actual, "what was seen")] {
        let names = by_name(lines).len();
        if names != lines.len() {
            writeln!(text, "{what} has {} lines of {names} names", lines.len()).unwrap();
        }
    }
    let (expected, actual) = (by_name(expected), by_name(actual));
    let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    for name in names {
        let (was, is) = (expected.get(name), actual.get(name));
        if was == is {
            continue;
        }
        for (sign, line) in [('-', was), ('+', is)] {
            if let Some(line) = line {
                writeln!(text, "{sign} {line}").unwrap();
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_by_name() {
        assert_eq!(difference(&["a\tEPERM", "b\t1"], &["b\t1", "a\tEPERM"]), "");
        let told = difference(&["a\tEPERM", "b\t1"], &["a\tALLOWED", "c\t2"]);
        assert_eq!(told, "- a\tEPERM\n+ a\tALLOWED\n- b\t1\n+ c\t2\n");
        assert_eq!(
            difference(&["a\t1"], &["a\t1", "a\t1"]),
            "what was seen has 2 lines of 1 names\n"
        );
    }
}
