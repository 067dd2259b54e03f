//! Which certificate each name is served with. Pure.

use super::pair;
use super::x509::Fields;
use crate::state::model::{Certificate, Domain};
use jiff::Timestamp;
use lathe_router::{Keyring, Pair};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Chains and keys together: what routers are sent has to fit into a message.
const BYTES_MAX: usize = 24 << 20;

/// A certificate, and what is in it.
#[derive(Clone, Debug)]
pub struct Held {
    pub certificate: Certificate,
    pub fields: Fields,
}

impl Held {
    /// None of one that cannot be read: it was taken once, so the state is damaged.
    pub fn of(certificate: Certificate) -> Option<Self> {
        let fields = pair::fields(&certificate.chain)?;
        Some(Self { certificate, fields })
    }
}

/// An app that has certificates: its names, and these.
#[derive(Clone, Debug, Default)]
pub struct AppCertificates {
    /// Below the apps' domain; no certificate is chosen for it.
    pub own: String,
    pub domains: Vec<Domain>,
    pub held: Vec<Held>,
}

impl AppCertificates {
    /// What the name is served with: what was chosen for it, or what names it; of several one that
    /// is valid, and that the longest. None: the default certificate.
    pub fn serving(&self, host: &str, now: Timestamp) -> Option<&Held> {
        let domain = self.domains.iter().find(|domain| domain.hostname == host);
        let chosen = domain.and_then(|domain| domain.certificate.as_ref());
        if let Some(id) = chosen {
            return self.held.iter().find(|held| held.certificate.id == *id);
        }
        let fitting = self.held.iter().filter(|held| held.fields.covers(host));
        fitting.max_by_key(|held| {
            let Fields { expires_at, .. } = held.fields;
            (held.fields.is_valid_at(now), expires_at, &held.certificate.id)
        })
    }

    /// All names.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let own = std::iter::once(self.own.as_str());
        own.chain(self.domains.iter().map(|domain| domain.hostname.as_str()))
    }
}

/// What is served with what. Beside it how many certificates found no place; their names are served
/// with the default one.
pub(super) fn keyring(
    default: Arc<Pair>,
    apps: &[AppCertificates],
    challenges: BTreeMap<String, BTreeMap<String, String>>,
    now: Timestamp,
) -> (Keyring, usize) {
    let mut keyring = Keyring { default: Some(default), challenges, ..Keyring::default() };
    let (mut room, mut left_out) = (BYTES_MAX, 0);
    for app in apps {
        for host in app.hosts() {
            let Some(Held { certificate, .. }) = app.serving(host, now) else { continue };
            if !keyring.pairs.contains_key(&certificate.id) {
                let Some(rest) = room.checked_sub(certificate.chain.len() + certificate.key.len())
                else {
                    left_out += 1;
                    continue;
                };
                room = rest;
                let (chain, key) = (certificate.chain.clone(), certificate.key.clone());
                keyring.pairs.insert(certificate.id.clone(), Arc::new(Pair { chain, key }));
            }
            keyring.hosts.insert(host.to_owned(), certificate.id.clone());
        }
    }
    (keyring, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u8) -> Timestamp {
        format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn held(id: &str, names: &[&str], days: (u8, u8)) -> Held {
        let certificate = Certificate {
            id: id.into(),
            app: "a".into(),
            name: id.into(),
            chain: format!("chain of {id}"),
            key: "key".into(),
            issued_for: None,
            created_at: at(1),
            updated_at: at(1),
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (issuer, subject) = (String::new(), String::new());
        let (starts_at, expires_at) = (at(days.0), at(days.1));
        Held { certificate, fields: Fields { issuer, subject, starts_at, expires_at, names } }
    }

    fn domain(hostname: &str, certificate: Option<&str>) -> Domain {
        Domain {
            id: hostname.into(),
            app: "a".into(),
            hostname: hostname.into(),
            certificate: certificate.map(str::to_owned),
            created_at: at(1),
            updated_at: at(1),
        }
    }

    fn app() -> AppCertificates {
        let domains = [
            ("www.example.com", None),
            ("chosen.example.com", Some("old")),
            ("ended.example.org", None),
            ("none.example.net", None),
        ];
        AppCertificates {
            own: "web.apps.example.com".into(),
            domains: domains.map(|(name, chosen)| domain(name, chosen)).into(),
            held: vec![
                held("old", &["*.example.com"], (1, 10)),
                held("new", &["*.example.com"], (5, 20)),
                held("later", &["*.example.com"], (18, 30)),
                held("ended", &["ended.example.org"], (1, 3)),
                held("idle", &["elsewhere.example.com"], (1, 30)),
                held("stolen", &["victim.example.com"], (1, 30)),
            ],
        }
    }

    #[test]
    fn each_name_has_what_was_chosen_or_what_is_valid_the_longest() {
        let app = app();
        let serving =
            |host, day| app.serving(host, at(day)).map(|held| held.certificate.id.as_str());
        assert_eq!(serving("www.example.com", 7), Some("new"));
        assert_eq!(serving("www.example.com", 19), Some("later"));
        assert_eq!(serving("chosen.example.com", 7), Some("old"));
        // Ended: it is served all the same, and everybody sees what is wrong.
        assert_eq!(serving("chosen.example.com", 15), Some("old"));
        assert_eq!(serving("ended.example.org", 15), Some("ended"));
        assert_eq!(serving("none.example.net", 7), None);
        assert_eq!(serving("web.apps.example.com", 7), None);
    }

    #[test]
    fn a_keyring_holds_what_is_served_and_nothing_for_names_of_others() {
        let default = Arc::new(Pair { chain: "d".into(), key: "k".into() });
        let (keyring, left_out) = keyring(default, &[app()], BTreeMap::new(), at(7));
        let pairs: Vec<_> = keyring.pairs.keys().map(String::as_str).collect();
        assert_eq!((pairs, left_out), (vec!["ended", "new", "old"], 0));
        let hosts: Vec<_> = keyring.hosts.keys().map(String::as_str).collect();
        assert_eq!(hosts, ["chosen.example.com", "ended.example.org", "www.example.com"]);
    }

    #[test]
    fn what_finds_no_place_is_counted() {
        let mut app = app();
        for held in &mut app.held {
            held.certificate.chain = "x".repeat(BYTES_MAX / 2);
        }
        let default = Arc::new(Pair { chain: "d".into(), key: "k".into() });
        let (keyring, left_out) = keyring(default, &[app], BTreeMap::new(), at(7));
        assert_eq!((keyring.pairs.len(), keyring.hosts.len(), left_out), (1, 1, 2));
    }
}
