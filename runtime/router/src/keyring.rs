//! What the router proves to others: certificates with their keys, and answers to an authority that
//! asks whether a name is ours.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where an authority asks (RFC 8555, 8.3); a token follows.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// Everything at once: a router that gets one forgets the one before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Keyring {
    /// For every name without one of its own, and for clients that name none. The default keyring
    /// has none, and says nothing.
    pub default: Option<Arc<Pair>>,
    /// By name.
    pub pairs: BTreeMap<String, Arc<Pair>>,
    /// Lower-case host name → name of its pair.
    pub hosts: BTreeMap<String, String>,
    /// Lower-case host name → token → what is answered (RFC 8555, 8.1).
    pub challenges: BTreeMap<String, BTreeMap<String, String>>,
}

/// A certificate chain, the server's own certificate first, and its private key; both PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub chain: String,
    pub key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// What is to be answered to this request, if an authority makes it.
    pub(crate) fn answer(&self, host: &str, path: &str) -> Option<&str> {
        let token = path.strip_prefix(CHALLENGE_PATH)?;
        self.challenges.get(host)?.get(token).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_answered_for_the_name_and_token_that_it_was_told() {
        let answers = BTreeMap::from([("tok".to_owned(), "tok.print".to_owned())]);
        let challenges = BTreeMap::from([("www.example.com".to_owned(), answers)]);
        let keyring = Keyring { challenges, ..Keyring::default() };
        let path = format!("{CHALLENGE_PATH}tok");
        assert_eq!(keyring.answer("www.example.com", &path), Some("tok.print"));
        for (host, path) in [
            ("example.com", &*path),
            ("www.example.com", "/tok"),
            ("www.example.com", CHALLENGE_PATH),
            ("www.example.com", "/.well-known/acme-challenge/tok/"),
        ] {
            assert_eq!(keyring.answer(host, path), None, "{host}{path}");
        }
    }

    #[test]
    fn no_key_is_printed() {
        let pair = Pair { chain: "chain".into(), key: "secret".into() };
        assert!(!format!("{pair:?}").contains("secret"));
    }
}
