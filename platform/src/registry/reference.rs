//! Which image is meant by the last part of a manifest's path. Pure.

use crate::engine::SlugTag;

/// A tag, or a digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reference {
    /// What the release that serves is made of.
    Latest,
    /// `v7`.
    Release(u32),
    /// A slug on a stack, as a dyno's image is called.
    Slug(SlugTag),
    /// A manifest by its own SHA-256, in hexadecimal.
    Digest(String),
}

impl Reference {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        if let Some(hex) = digest(text) {
            return Some(Self::Digest(hex.to_owned()));
        }
        let version = text.strip_prefix('v').filter(|rest| !rest.starts_with(['0', '+']));
        if let Some(version) = version.and_then(|rest| rest.parse().ok()) {
            return Some(Self::Release(version));
        }
        text.parse().ok().map(Self::Slug)
    }
}

/// The hexadecimal part of `sha256:…`.
pub(super) fn digest(text: &str) -> Option<&str> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_told_apart() {
        let hex = "0f".repeat(32);
        let slug = format!("{hex}.0123");
        for (text, expected) in [
            ("latest", Some(Reference::Latest)),
            ("v12", Some(Reference::Release(12))),
            ("v", None),
            ("v0", None),
            ("v01", None),
            ("v+1", None),
            ("v99999999999", None),
            ("12", None),
            ("", None),
            (slug.as_str(), Some(Reference::Slug(slug.parse().unwrap()))),
            (&format!("sha256:{hex}"), Some(Reference::Digest(hex.clone()))),
            (&format!("sha256:{}", hex.to_uppercase()), None),
            ("sha256:0f", None),
            ("sha512:0f", None),
        ] {
            assert_eq!(Reference::parse(text), expected, "{text}");
        }
    }
}
