//! How a buildpack is named: built-in name, git URL, tarball URL or folder.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

const TEXT_BYTES_MAX: usize = 2048;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `python`, `heroku/python`, `urn:buildpack:heroku/python`
    Name(String),
    /// `https://host/path[.git][#ref]` or `file:///path#ref`
    Git { url: String, rev: Option<String> },
    /// `https://host/path.tgz` or `.tar.gz`, with an optional `#sha256:<hex>`
    Tarball { url: String, digest: Option<String> },
    /// `/path` or `file:///path`
    Folder(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}")]
pub struct ParseReferenceError {
    text: String,
    problem: &'static str,
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        parse(text).map_err(|problem| {
            let text = without_password(&text.chars().take(100).collect::<String>());
            ParseReferenceError { text, problem }
        })
    }
}

/// Whatever ends up as an argument of another program begins with a scheme or a letter here, so
/// that it can never be taken for an option.
fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err("is empty or too long");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("contains spaces or control characters");
    }
    if let Some(name) = text.strip_prefix("urn:buildpack:") {
        return parse_name(name);
    }
    let (url, fragment) = match text.split_once('#') {
        Some((url, fragment)) => (url, Some(fragment)),
        None => (text, None),
    };
    let local = url.strip_prefix("file://");
    if local.is_some_and(|path| !path.starts_with('/')) {
        return Err("is a file URL without an absolute path");
    }
    if local.is_some() || url.starts_with("https://") {
        return parse_url(url, local, fragment);
    }
    if url.contains("://") || url.contains('@') {
        return Err("has a scheme that is not served; use https://");
    }
    if text.starts_with('/') {
        return Ok(Reference::Folder(text.into()));
    }
    parse_name(text)
}

fn parse_url(
    url: &str,
    local: Option<&str>,
    fragment: Option<&str>,
) -> Result<Reference, &'static str> {
    let archive = [".tgz", ".tar.gz"].iter().any(|end| path_of(url).ends_with(end));
    let pin = fragment.and_then(|text| text.strip_prefix("sha256:"));
    let url = url.to_owned();
    match (archive, fragment, pin) {
        (true, None, _) => Ok(Reference::Tarball { url, digest: None }),
        (true, _, Some(pin)) => Ok(Reference::Tarball { url, digest: Some(parse_digest(pin)?) }),
        (_, Some(rev), _) => Ok(Reference::Git { url, rev: Some(parse_rev(rev)?) }),
        (false, None, _) => Ok(match local {
            // A folder of this name is a repository without a checkout, by git's own convention.
            Some(path) if path.strip_suffix(".git").is_none() => Reference::Folder(path.into()),
            _ => Reference::Git { url, rev: None },
        }),
    }
}

fn path_of(url: &str) -> &str {
    url.split_once('?').map_or(url, |(path, _)| path)
}

fn parse_name(name: &str) -> Result<Reference, &'static str> {
    let word = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if name.split('/').count() <= 2 && name.split('/').all(word) {
        Ok(Reference::Name(name.to_owned()))
    } else {
        Err("is neither a name, nor an https:// URL, nor a folder")
    }
}

/// A branch, tag or commit as git allows them, minus everything git reads as syntax.
fn parse_rev(rev: &str) -> Result<String, &'static str> {
    let plain = rev.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./+".contains(&b));
    if rev.is_empty() || rev.starts_with('-') || rev.contains("..") || !plain || rev.len() > 255 {
        return Err("has no branch, tag or commit after its #");
    }
    Ok(rev.to_owned())
}

fn parse_digest(pin: &str) -> Result<String, &'static str> {
    let whole = pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit());
    if whole { Ok(pin.to_ascii_lowercase()) } else { Err("has no SHA-256 after its #sha256:") }
}

impl Reference {
    /// Whether it leads out of this machine's folders.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Git { .. } | Self::Tarball { .. })
    }

    /// The same place, held at one commit or digest; a name or folder has nothing to hold it by.
    pub(crate) fn pinned_to(&self, to: &str) -> Self {
        match self {
            Self::Git { url, .. } => Self::Git { url: url.clone(), rev: Some(to.to_owned()) },
            Self::Tarball { url, .. } => {
                Self::Tarball { url: url.clone(), digest: Some(to.to_owned()) }
            }
            Self::Name(_) | Self::Folder(_) => self.clone(),
        }
    }
}

/// For people: never the password a URL may carry.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Git { url, rev: Some(rev) } => write!(f, "{}#{rev}", without_password(url)),
            Self::Tarball { url, digest: Some(digest) } => {
                write!(f, "{}#sha256:{digest}", without_password(url))
            }
            Self::Git { url, rev: None } | Self::Tarball { url, digest: None } => {
                f.write_str(&without_password(url))
            }
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", path_of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(url: &str, rev: Option<&str>) -> Reference {
        Reference::Git { url: url.into(), rev: rev.map(Into::into) }
    }

    fn tarball(url: &str, digest: Option<&str>) -> Reference {
        Reference::Tarball { url: url.into(), digest: digest.map(Into::into) }
    }

    #[test]
    fn every_form() {
        let digest = "0a".repeat(32);
        let pinned = format!("https://h.example/b.tgz#sha256:{digest}");
        let cases = [
            ("python", Reference::Name("python".into())),
            ("heroku/python", Reference::Name("heroku/python".into())),
            ("urn:buildpack:heroku/python", Reference::Name("heroku/python".into())),
            ("https://h.example/a/b", git("https://h.example/a/b", None)),
            ("https://h.example/b.git#v1.2", git("https://h.example/b.git", Some("v1.2"))),
            ("https://h.example/b.tgz", tarball("https://h.example/b.tgz", None)),
            ("https://h.example/b.tar.gz?x=1", tarball("https://h.example/b.tar.gz?x=1", None)),
            (&pinned, tarball("https://h.example/b.tgz", Some(&digest))),
            ("https://h.example/b.tgz#v1", git("https://h.example/b.tgz", Some("v1"))),
            ("file:///srv/b", Reference::Folder("/srv/b".into())),
            ("file:///srv/b.git", git("file:///srv/b.git", None)),
            ("file:///srv/b#main", git("file:///srv/b", Some("main"))),
            ("/srv/b", Reference::Folder("/srv/b".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Reference>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refusals() {
        let hostile = [
            "",
            "-x",
            "--upload-pack=/bin/sh",
            "ext::sh -c id",
            "ext::sh",
            "../x",
            "a/b/c",
            ".hidden",
            "git@host:repo",
            "ssh://h/x",
            "git://h/x",
            "http://h/x",
            "https://h/x#-f",
            "https://h/x#",
            "https://h/x#a..b",
            "https://h/x#a:b",
            "https://h/x.tgz#sha256:12",
            "https://h/x#sha256:12",
            "https://h/x y",
            "file://rel",
            "https://h/\nx",
        ];
        for text in hostile {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(format!("https://h/{}", "x".repeat(3000)).parse::<Reference>().is_err());
    }

    #[test]
    fn a_pin_is_a_reference_again() {
        let digest = "0a".repeat(32);
        for (text, to, pinned) in [
            ("https://u:p@h/b.git#v1", "c0ffee", "https://h/b.git#c0ffee".to_owned()),
            ("https://h/b.tgz", &*digest, format!("https://h/b.tgz#sha256:{digest}")),
            ("heroku/python", "c0ffee", "heroku/python".to_owned()),
        ] {
            let held = text.parse::<Reference>().unwrap().pinned_to(to).to_string();
            assert_eq!(held, pinned);
            assert_eq!(held.parse::<Reference>().unwrap().to_string(), pinned);
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = "https://me:secret@h.example/b#v1".parse::<Reference>().unwrap().to_string();
        assert_eq!(shown, "https://h.example/b#v1");
        let error = "https://me:secret@h.example/b#-x".parse::<Reference>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
