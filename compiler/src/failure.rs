//! Explains a failed compile from the end of its transcript: its last words, and one piece of advice.

/// What programs say when things go wrong, and what helps. The first that matches counts.
const ADVICE: [(&str, &str); 18] = [
    (
        "No space left on device",
        "The build's disk is full: make the app or its dependencies smaller.",
    ),
    ("Disk quota exceeded", "The build's disk is full: make the app or its dependencies smaller."),
    ("Cannot allocate memory", "The build ran out of memory: let it do less at once."),
    (
        "JavaScript heap out of memory",
        "Set NODE_OPTIONS=--max-old-space-size=1024 or make the bundle smaller.",
    ),
    (
        "Resource temporarily unavailable",
        "The build reached its process limit: let it do less at once.",
    ),
    ("Could not resolve host", "The build could not reach the network: push again in a minute."),
    (
        "Temporary failure in name resolution",
        "The build could not reach the network: push again in a minute.",
    ),
    (
        "SELF_SIGNED_CERT_IN_CHAIN",
        "The network has its own certificate authority: the operator must set build.ca_bundle.",
    ),
    (
        "unable to get local issuer certificate",
        "The network has its own certificate authority: the operator must set build.ca_bundle.",
    ),
    (
        "npm ci` can only install",
        "package-lock.json does not match package.json: run npm install and commit both.",
    ),
    (
        "ERR_PNPM_OUTDATED_LOCKFILE",
        "pnpm-lock.yaml does not match package.json: run pnpm install and commit both.",
    ),
    ("frozen-lockfile", "yarn.lock does not match package.json: run yarn install and commit both."),
    (
        "ERESOLVE",
        "Two dependencies want different versions of a third: run npm install locally and mend what it names.",
    ),
    (
        "--locked was passed",
        "Cargo.lock does not match Cargo.toml: run cargo build and commit Cargo.lock.",
    ),
    (
        "cannot update the lock file",
        "Cargo.lock does not match Cargo.toml: run cargo build and commit Cargo.lock.",
    ),
    (
        "No matching distribution found",
        "A pinned Python package has no version for this Python: check its name and version.",
    ),
    (
        "Permission denied",
        "Make the file executable (git update-index --chmod=+x FILE) and commit it.",
    ),
    (
        "command not found",
        "A program the build calls is not on this stack: add the buildpack that brings it.",
    ),
];

const WORDS: [&str; 9] =
    ["error", "fatal", "failed", "cannot", "not found", "denied", "unable", "no such", "missing"];

/// The last line that names the trouble; failing that, the last line that says anything.
pub(crate) fn last_words(tail: &[String]) -> Option<&str> {
    let says = |line: &str| line.chars().any(char::is_alphabetic);
    let lines: Vec<&str> =
        tail.iter().rev().map(String::as_str).filter(|line| says(line)).collect();
    let telling = |line: &&&str| {
        let line = line.to_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    };
    lines.iter().take(20).find(telling).or(lines.first()).copied().map(undecorated)
}

/// Without the marks buildpacks put before an error.
fn undecorated(line: &str) -> &str {
    line.trim_start_matches(|c: char| c.is_whitespace() || "!-=>#*".contains(c))
}

pub(crate) fn advice(tail: &[String]) -> Option<&'static str> {
    let said = |mark: &str| tail.iter().any(|line| line.contains(mark));
    ADVICE.iter().find(|(mark, _)| said(mark)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(tail: &[&str]) -> Vec<String> {
        tail.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_telling_line_is_found() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (
                &["error: no matching package named `x`", "note: run again", "-----"],
                Some("error: no matching package named `x`"),
            ),
            (&["Installing", " !     Failed to do it", ""], Some("Failed to do it")),
            (&["Installing", "42", "==="], Some("Installing")),
            (&["----", ""], None),
            (&[], None),
        ];
        for (tail, expected) in cases {
            assert_eq!(last_words(&own(tail)), expected, "{tail:?}");
        }
    }

    #[test]
    fn advice_is_for_what_was_said() {
        let tail = ["npm error code ERESOLVE", "npm error unable to resolve"];
        assert!(advice(&own(&tail)).is_some_and(|text| text.contains("npm install")));
        assert_eq!(advice(&own(&["all is well"])), None);
    }
}
