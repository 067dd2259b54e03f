//! Identities: the SHA-256 of a slug's compressed bytes, and of the tar inside.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct ParseDigestError;

/// Two digests of one slug must never be mistaken for each other, so each is a type of its own.
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            pub fn from_digest(digest: [u8; 32]) -> Self {
                Self(digest)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest! {
    /// A slug's identity: the SHA-256 of its compressed bytes. Printed and parsed as 64 lower-case
    /// hexadecimal digits.
    SlugId
}

digest! {
    /// The SHA-256 of the uncompressed tar, an image layer's `diff_id` (OCI image specification). Equal
    /// for slugs that differ only in how they were compressed.
    DiffId
}

fn parse(text: &str) -> Result<[u8; 32], ParseDigestError> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ParseDigestError);
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| ParseDigestError)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseDigestError)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::SlugId;

    #[test]
    fn prints_what_it_parses() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(text.parse::<SlugId>().unwrap().to_string(), text);
    }

    #[test]
    fn refuses_other_spellings() {
        for text in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)]
        {
            assert!(text.parse::<SlugId>().is_err(), "{text:?}");
        }
    }
}
