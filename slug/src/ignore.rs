//! `.slugignore`: what of the built tree stays out of the slug.

use crate::glob::{self, Part};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Heroku removes these from the top of every app.
const ALWAYS: [&[u8]; 3] = [b".git", b"log", b"tmp"];

const FILE_BYTES_MAX: usize = 64 << 10;
const PATTERNS_MAX: usize = 1000;
const PATTERN_BYTES_MAX: usize = 1024;

/// Patterns, and what is always removed. The default has no patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    parts: Vec<Part>,
    folders_only: bool,
}

/// Line numbers begin at 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    #[error(".slugignore is {bytes} bytes long, more than {FILE_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error(".slugignore has more than {PATTERNS_MAX} patterns at line {line}")]
    TooMany { line: usize },
    #[error(".slugignore line {line} is longer than {PATTERN_BYTES_MAX} bytes")]
    PatternTooLong { line: usize },
    #[error(
        ".slugignore line {line} begins with `!`, but .slugignore cannot take a pattern back; \
         write \\! for a name that begins with it"
    )]
    Negation { line: usize },
    #[error(
        ".slugignore line {line} has a `[` without its `]` or with an unknown class, or ends in a lone `\\`"
    )]
    Glob { line: usize },
}

impl Ignore {
    /// Patterns as in .gitignore, one a line, without negation (Heroku Dev Center, Slug Compiler): with
    /// a slash inside or in front they count from the top, else they match at any depth; a slash behind
    /// restricts them to folders.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(IgnoreError::TooLong { bytes: text.len() });
        }
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let mut patterns = Vec::new();
        for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let bytes = trim_end(bytes.strip_suffix(b"\r").unwrap_or(bytes));
            // A line of slashes alone names nothing.
            if bytes.iter().all(|byte| *byte == b'/') || bytes.starts_with(b"#") {
                continue;
            }
            if bytes.starts_with(b"!") {
                return Err(IgnoreError::Negation { line });
            }
            if bytes.len() > PATTERN_BYTES_MAX {
                return Err(IgnoreError::PatternTooLong { line });
            }
            if patterns.len() == PATTERNS_MAX {
                return Err(IgnoreError::TooMany { line });
            }
            patterns.push(Pattern::parse(bytes).ok_or(IgnoreError::Glob { line })?);
        }
        Ok(Self { patterns })
    }

    /// Whether `relative`, a path below the app's folder, is named itself. What lies in a folder that
    /// is named is gone with it, without being asked for.
    pub fn matches(&self, relative: &Path, is_folder: bool) -> bool {
        let names: Vec<&[u8]> = relative
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            })
            .collect();
        if let [top] = names[..]
            && ALWAYS.contains(&top)
        {
            return true;
        }
        let applies = |pattern: &&Pattern| is_folder || !pattern.folders_only;
        self.patterns.iter().filter(applies).any(|pattern| glob::matches(&pattern.parts, &names))
    }
}

impl Pattern {
    fn parse(line: &[u8]) -> Option<Self> {
        let folders_only = line.ends_with(b"/");
        let anchored = line.strip_suffix(b"/").unwrap_or(line).contains(&b'/');
        let mut parts = glob::parse(line)?;
        // `a/**` names what is in `a`, not `a` itself.
        if anchored && parts.last() == Some(&Part::Any) {
            parts.push(Part::Name(vec![glob::Token::Many]));
        }
        if !anchored {
            parts.insert(0, Part::Any);
        }
        Some(Self { parts, folders_only })
    }
}

/// Trailing spaces do not count, unless escaped (gitignore(5)).
fn trim_end(mut line: &[u8]) -> &[u8] {
    while let Some(shorter) = line.strip_suffix(b" ") {
        if shorter.ends_with(b"\\") {
            break;
        }
        line = shorter;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Ignore, IgnoreError};
    use proptest::prelude::*;
    use std::path::Path;
    use std::time::{Duration, Instant};

    #[test]
    fn matches_as_git_does() {
        // pattern, path (`/` behind: a folder), matched
        let cases = [
            ("*.psd", "a.psd", true),
            ("*.psd", "deep/er/a.psd", true),
            ("*.psd", "a.psdx", false),
            ("/test", "test", true),
            ("/test", "a/test", false),
            ("test", "a/test", true),
            ("docs/", "docs/", true),
            ("docs/", "docs", false),
            ("docs/", "a/docs/", true),
            ("a/b", "a/b", true),
            ("a/b", "x/a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a/", false),
            ("**/b", "b", true),
            ("**/b", "x/y/b", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/x/y/c", false),
            ("?.c", "x.c", true),
            ("?.c", "xy.c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("\\#a", "#a", true),
            ("\\!a", "!a", true),
            ("# a", "# a", false),
            ("a  ", "a", true),
            ("a\\ ", "a ", true),
            ("a*b*c", "aXbXXc", true),
            ("caf\u{e9}", "caf\u{e9}", true),
            ("/", "a", false),
            (".env*", ".env.local", true),
            ("**", "anything/", true),
        ];
        for (pattern, path, wanted) in cases {
            let ignore = Ignore::parse(pattern.as_bytes()).unwrap();
            let matched = ignore.matches(Path::new(path), path.ends_with('/'));
            assert_eq!(matched, wanted, "{pattern} on {path}");
        }
    }

    #[test]
    fn some_are_always_removed() {
        let ignore = Ignore::default();
        for (path, wanted) in
            [(".git", true), ("log", true), ("tmp", true), ("a/tmp", false), ("logs", false)]
        {
            assert_eq!(ignore.matches(Path::new(path), true), wanted, "{path}");
        }
    }

    #[test]
    fn refuses_with_the_line() {
        let many = "a\n".repeat(1001);
        let long = "x".repeat(1025);
        let cases = [
            ("a\n!b", IgnoreError::Negation { line: 2 }),
            ("[a", IgnoreError::Glob { line: 1 }),
            ("\n\na\\", IgnoreError::Glob { line: 3 }),
            (&many, IgnoreError::TooMany { line: 1001 }),
            (&long, IgnoreError::PatternTooLong { line: 1 }),
        ];
        for (text, wanted) in cases {
            assert_eq!(Ignore::parse(text.as_bytes()).unwrap_err(), wanted);
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let ignore = Ignore::parse("*a".repeat(500).as_bytes()).unwrap();
        let name = "a".repeat(250) + "b";
        let start = Instant::now();
        assert!(!ignore.matches(Path::new(&name), false));
        assert!(start.elapsed() < Duration::from_mins(1));
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..100), path in "[a-z*/]{0,20}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                ignore.matches(Path::new(&path), true);
            }
        }

        #[test]
        fn a_plain_name_names_itself_alone(name in "[a-z]{1,8}", other in "[a-z]{1,8}") {
            let ignore = Ignore::parse(name.as_bytes()).unwrap();
            prop_assume!(!["log", "tmp"].contains(&other.as_str()));
            prop_assert_eq!(ignore.matches(Path::new(&other), false), name == other);
        }
    }
}
