//! Expected transcripts: plain text in which `…` stands for whatever may differ from day to day.

use std::path::Path;

/// In a line, any text; as a line of its own, any number of lines.
const ANYTHING: &str = "…";

/// Where the buildpack has had its say, and the compiler goes on or explains a failure.
const ENDS: [&str; 2] = ["-----> Compressing", " !     failed to compile"];

/// What the buildpacks said, without git's marks.
pub(super) fn transcript(of_git: &str) -> String {
    let said = of_git.lines().filter_map(|line| line.strip_prefix("remote:"));
    let said = said.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    let building = said.skip_while(|line| !line.ends_with(" app detected"));
    let building = building.take_while(|line| !ENDS.iter().any(|end| line.starts_with(end)));
    building.collect::<Vec<_>>().join("\n") + "\n"
}

/// Panics unless the text is as the file says. With `LATHE_BLESS` set a file that is not there is
/// written: to be read, and to be given its `…`.
pub(super) fn check(said: &str, file: &Path) {
    if std::env::var_os("LATHE_BLESS").is_some() && !file.exists() {
        return std::fs::write(file, said).unwrap();
    }
    let expected = std::fs::read_to_string(file);
    let expected = expected.unwrap_or_else(|error| panic!("{}: {error}:\n{said}", file.display()));
    let (expected, lines): (Vec<_>, Vec<_>) = (expected.lines().collect(), said.lines().collect());
    assert!(same_lines(&expected, &lines), "not as {} says:\n{said}", file.display());
}

fn same_lines(expected: &[&str], said: &[&str]) -> bool {
    match expected {
        [] => said.is_empty(),
        [first, rest @ ..] if first.trim() == ANYTHING => {
            (0..=said.len()).any(|skipped| same_lines(rest, &said[skipped..]))
        }
        [first, rest @ ..] => said
            .split_first()
            .is_some_and(|(line, others)| same(first, line) && same_lines(rest, others)),
    }
}

fn same(expected: &str, said: &str) -> bool {
    let Some((before, after)) = expected.split_once(ANYTHING) else { return expected == said };
    let Some(rest) = said.strip_prefix(before) else { return false };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|at| same(after, &rest[at..]))
}

#[test]
fn transcripts_are_compared_with_their_gaps() {
    let cases = [
        ("a\nb", "a\nb", true),
        ("a\nb", "a", false),
        ("a …\nb", "a 1.2.3\nb", true),
        ("v… of …!", "v1 of 2!", true),
        ("v… of …!", "v1 of 2", false),
        ("a\n…\nz", "a\nz", true),
        ("a\n…\nz", "a\nb\nc\nz", true),
        ("a\n       …", "a", true),
        ("a\n…\nz", "a\nb", false),
        ("", "a", false),
    ];
    for (expected, said, verdict) in cases {
        let (expected_lines, lines): (Vec<_>, Vec<_>) =
            (expected.lines().collect(), said.lines().collect());
        assert_eq!(same_lines(&expected_lines, &lines), verdict, "{expected:?} and {said:?}");
    }
}
