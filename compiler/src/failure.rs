//! Explains a failed compile from the end of its transcript: its last words, and one piece of advice.

/// What programs say when things go wrong, and what helps. The first that matches counts.
const ADVICE: [(&str, &str); 17] = [
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

/// How programs say that a host cannot be reached: what comes before its name, and after it.
const UNREACHABLE: [(&str, &str); 12] = [
    ("Could not resolve host: ", ""),
    ("Could not resolve hostname ", ":"),
    ("unable to resolve host address ‘", "’"),
    ("getaddrinfo ENOTFOUND ", ""),
    ("getaddrinfo EAI_AGAIN ", ""),
    ("Failed to connect to ", " port"),
    ("Failed to establish a new connection to ", ""),
    ("Couldn't connect to ", ""),
    ("lookup ", ": no such host"),
    ("dial tcp: lookup ", " on"),
    ("java.net.UnknownHostException: ", ""),
    ("error sending request for url (https://", "/"),
];

const LAST_WORDS_MAX: usize = 3;
/// How far back from the end words still tell of the failure.
const LOOKED_AT: usize = 20;

/// The last lines that name the trouble, oldest first; failing that, the last that says anything.
pub(crate) fn last_words(tail: &[String]) -> Vec<String> {
    let says = |line: &&str| line.chars().any(char::is_alphabetic);
    let lines: Vec<&str> = tail.iter().rev().map(String::as_str).filter(says).collect();
    let telling = |line: &&&str| {
        let line = line.to_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    };
    let mut found: Vec<&str> =
        lines.iter().take(LOOKED_AT).filter(telling).take(LAST_WORDS_MAX).copied().collect();
    if found.is_empty() {
        found.extend(lines.first());
    }
    found.reverse();
    found.into_iter().map(|line| undecorated(line).to_owned()).collect()
}

/// Without the marks buildpacks put before an error.
fn undecorated(line: &str) -> &str {
    line.trim_start_matches(|c: char| c.is_whitespace() || "!-=>#*".contains(c))
}

pub(crate) fn advice(tail: &[String]) -> Option<String> {
    if let Some(host) = tail.iter().rev().find_map(|line| unreachable_host(line)) {
        return Some(format!(
            "The build could not reach {host}. If it is down, push again later; if this network \
             does not lead there, name a mirror that it leads to."
        ));
    }
    let said = |mark: &str| tail.iter().any(|line| line.contains(mark));
    ADVICE.iter().find(|(mark, _)| said(mark)).map(|(_, advice)| (*advice).to_owned())
}

fn unreachable_host(line: &str) -> Option<&str> {
    UNREACHABLE.iter().find_map(|(before, after)| {
        let rest = line.split_once(before)?.1;
        if !rest.contains(after) {
            return None;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let host = rest.split(|c| !is_name(c)).next()?.trim_end_matches([':', '.']);
        (host.contains('.') || host.contains(':')).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(tail: &[&str]) -> Vec<String> {
        tail.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_telling_line_is_found() {
        let cases: [(&[&str], &[&str]); 6] = [
            (
                &["error: no matching package named `x`", "note: run again", "-----"],
                &["error: no matching package named `x`"],
            ),
            (
                &["fatal: a", "so", "error b", "Failed c", "cannot d"],
                &["error b", "Failed c", "cannot d"],
            ),
            (&["Installing", " !     Failed to do it", ""], &["Failed to do it"]),
            (&["Installing", "42", "==="], &["Installing"]),
            (&["----", ""], &[]),
            (&[], &[]),
        ];
        for (tail, expected) in cases {
            assert_eq!(last_words(&own(tail)), expected, "{tail:?}");
        }
    }

    #[test]
    fn a_host_out_of_reach_is_named() {
        for (line, host) in [
            ("curl: (6) Could not resolve host: nodejs.org", Some("nodejs.org")),
            (
                "fatal: unable to access 'https://h.example/x/': Could not resolve host: h.example",
                Some("h.example"),
            ),
            (
                "curl: (28) Failed to connect to lang.example port 443 after 15001 ms",
                Some("lang.example"),
            ),
            ("wget: unable to resolve host address ‘a.example’", Some("a.example")),
            (
                "npm error network request failed, reason: getaddrinfo ENOTFOUND r.example",
                Some("r.example"),
            ),
            ("dial tcp: lookup proxy.example on 10.0.0.1:53: no such host", Some("proxy.example")),
            (
                "ssh: Could not resolve hostname git.example: Name or service not known",
                Some("git.example"),
            ),
            (
                "Exception in thread \"main\" java.net.UnknownHostException: repo.example.org",
                Some("repo.example.org"),
            ),
            (
                "cause: error sending request for url (https://files.example/releases/x.tar.gz)",
                Some("files.example"),
            ),
            ("Failed to connect to the database", None),
            ("lookup table: rows", None),
        ] {
            assert_eq!(unreachable_host(line), host, "{line}");
        }
    }

    #[test]
    fn advice_is_for_what_was_said() {
        let tail = ["npm error code ERESOLVE", "npm error unable to resolve"];
        assert!(advice(&own(&tail)).is_some_and(|text| text.contains("npm install")));
        assert_eq!(advice(&own(&["all is well"])), None);
    }
}
