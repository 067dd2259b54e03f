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
    /// `https://host/path.tgz` or `.tar.gz`
    Tarball { url: String },
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
    let (url, rev) = match text.split_once('#') {
        Some((url, rev)) => (url, Some(parse_rev(rev)?)),
        None => (text, None),
    };
    let archive = [".tgz", ".tar.gz"].iter().any(|end| path_of(url).ends_with(end));
    if url.starts_with("https://") {
        return Ok(match rev {
            None if archive => Reference::Tarball { url: url.to_owned() },
            rev => Reference::Git { url: url.to_owned(), rev },
        });
    }
    if let Some(path) = url.strip_prefix("file://") {
        return match rev {
            _ if !path.starts_with('/') => Err("is a file URL without an absolute path"),
            None if archive => Ok(Reference::Tarball { url: url.to_owned() }),
            None => Ok(Reference::Folder(path.into())),
            Some(_) => Ok(Reference::Git { url: url.to_owned(), rev }),
        };
    }
    if url.contains("://") || url.contains('@') {
        return Err("has a scheme that is not served; use https://");
    }
    if text.starts_with('/') {
        return Ok(Reference::Folder(text.into()));
    }
    parse_name(text)
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

/// For people: never the password a URL may carry.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Git { url, rev: Some(rev) } => write!(f, "{}#{rev}", without_password(url)),
            Self::Git { url, rev: None } | Self::Tarball { url } => {
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

    #[test]
    fn every_form() {
        let cases = [
            ("python", Reference::Name("python".into())),
            ("heroku/python", Reference::Name("heroku/python".into())),
            ("urn:buildpack:heroku/python", Reference::Name("heroku/python".into())),
            ("https://h.example/a/b", git("https://h.example/a/b", None)),
            ("https://h.example/b.git#v1.2", git("https://h.example/b.git", Some("v1.2"))),
            (
                "https://h.example/b.tgz",
                Reference::Tarball { url: "https://h.example/b.tgz".into() },
            ),
            (
                "https://h.example/b.tar.gz?x=1",
                Reference::Tarball { url: "https://h.example/b.tar.gz?x=1".into() },
            ),
            ("file:///srv/b", Reference::Folder("/srv/b".into())),
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
    fn passwords_are_not_shown() {
        let shown = "https://me:secret@h.example/b#v1".parse::<Reference>().unwrap().to_string();
        assert_eq!(shown, "https://h.example/b#v1");
        let error = "https://me:secret@h.example/b#-x".parse::<Reference>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
