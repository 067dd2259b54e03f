//! The few fields of a certificate that people are shown and that decisions need (RFC 5280, 4.1).
//!
//! Who may be believed is judged by the TLS library, never from what is read here.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::fmt::Write;

const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT Version` and `[3] EXPLICIT Extensions` of a certificate, `[2] dNSName` of a name.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.n: the parts of a name that have a short word for it.
const PARTS: [(u8, &str); 6] = [(3, "CN"), (6, "C"), (7, "L"), (8, "ST"), (10, "O"), (11, "OU")];

/// No certificate names more; the largest authorities stop at 100.
const NAMES_MAX: usize = 1000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fields {
    /// `/C=US/O=Let's Encrypt/CN=R3`, as OpenSSL writes it on one line.
    pub issuer: String,
    pub subject: String,
    pub starts_at: Timestamp,
    pub expires_at: Timestamp,
    /// DNS names in lower case; `*.` first for those of one level below.
    pub names: Vec<String>,
}

impl Fields {
    /// None where the bytes are no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).take(SEQUENCE)?);
        let mut body = Der(certificate.take(SEQUENCE)?);
        body.skip_if(VERSION);
        // Serial number, signature algorithm.
        body.next()?;
        body.take(SEQUENCE)?;
        let issuer = name(body.take(SEQUENCE)?)?;
        let mut validity = Der(body.take(SEQUENCE)?);
        let (starts_at, expires_at) = (validity.time()?, validity.time()?);
        let subject = name(body.take(SEQUENCE)?)?;
        let mut names = Vec::new();
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                names = dns_names(content)?;
            }
        }
        Some(Self { issuer, subject, starts_at, expires_at, names })
    }

    /// Whether a client that asks for `host` takes it (RFC 6125, 6.4.3).
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(below) => parent == Some(below),
            None => name == host,
        })
    }

    /// When a third of its life is left: time for the next one.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.starts_at.duration_until(self.expires_at);
        self.expires_at.saturating_sub(life / 3).unwrap_or(self.expires_at)
    }

    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.starts_at..=self.expires_at).contains(&now)
    }

    /// What is left of it, in whole days; below zero when it has ended.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        let left: SignedDuration = now.duration_until(self.expires_at);
        left.as_secs().div_euclid(24 * 3600)
    }
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content. Lengths are of definite form (X.690, 8.1.3).
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            short @ ..0x80 => (usize::from(short), rest),
            long => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if !(1..=4).contains(&digits.len()) {
                    return None;
                }
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn skip_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    /// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
    fn time(&mut self) -> Option<Timestamp> {
        let (tag, content) = self.next()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let text = match tag {
            // A year below 50 is of this century.
            UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
            UTC_TIME => format!("19{text}"),
            GENERALIZED_TIME => text.to_owned(),
            _ => return None,
        };
        let date = DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

/// A distinguished name: a sequence of sets of pairs.
fn name(content: &[u8]) -> Option<String> {
    let (mut sets, mut text) = (Der(content), String::new());
    while !sets.0.is_empty() {
        let mut pairs = Der(sets.take(SET)?);
        while !pairs.0.is_empty() {
            let mut pair = Der(pairs.take(SEQUENCE)?);
            let (kind, (_, value)) = (pair.take(OID)?, pair.next()?);
            let word = match kind {
                [0x55, 0x04, part] => PARTS.iter().find(|(known, _)| known == part),
                _ => None,
            };
            if let Some((_, word)) = word {
                let value = String::from_utf8_lossy(value);
                let plain = value.chars().filter(|c| !c.is_control());
                // Writing to a string cannot fail.
                let _ = write!(text, "/{word}={}", plain.collect::<String>());
            }
        }
    }
    Some(text)
}

fn dns_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Der(Der(extensions).take(SEQUENCE)?);
    let mut names = Vec::new();
    while let Some((SEQUENCE, content)) = extensions.next() {
        let mut extension = Der(content);
        if extension.take(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        extension.skip_if(BOOLEAN);
        let mut general = Der(Der(extension.take(OCTETS)?).take(SEQUENCE)?);
        while let Some((tag, content)) = general.next() {
            if tag == DNS_NAME && names.len() < NAMES_MAX {
                let name = std::str::from_utf8(content).ok()?;
                if !name.bytes().all(|b| b.is_ascii_graphic()) {
                    return None;
                }
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::CommonName, "a\nb");
        params.not_before = date_time_ymd(2026, 1, 1);
        // Beyond 2049 a time has another form.
        params.not_after = date_time_ymd(2056, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn fields_are_read_as_they_were_written() {
        let fields = Fields::read(&certificate(&["WWW.example.com", "*.Example.com"])).unwrap();
        assert_eq!(fields.names, ["www.example.com", "*.example.com"]);
        assert_eq!(fields.subject, fields.issuer);
        assert!(fields.subject.contains("/C=DE"), "{fields:?}");
        assert!(fields.subject.contains("/CN=ab/"), "control characters are left out: {fields:?}");
        assert_eq!(fields.starts_at, "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(fields.expires_at, "2056-01-01T00:00:00Z".parse().unwrap());
        assert!(fields.is_valid_at("2026-01-01T00:00:00Z".parse().unwrap()));
        assert!(!fields.is_valid_at("2025-12-31T23:59:59Z".parse().unwrap()));
        assert_eq!(fields.days_left("2055-12-30T12:00:00Z".parse().unwrap()), 1);
        assert_eq!(fields.days_left("2056-01-01T00:00:01Z".parse().unwrap()), -1);
        assert_eq!(fields.renew_at(), "2045-12-31T16:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_star_is_for_one_label() {
        let fields = Fields::read(&certificate(&["example.com", "*.apps.example.com"])).unwrap();
        for (host, covered) in [
            ("example.com", true),
            ("www.example.com", false),
            ("a.apps.example.com", true),
            ("apps.example.com", false),
            ("a.b.apps.example.com", false),
        ] {
            assert_eq!(fields.covers(host), covered, "{host}");
        }
    }

    /// People see nothing that their terminal obeys, and names are as `covers` compares them.
    fn may_be_shown(fields: &Fields) -> Result<(), TestCaseError> {
        prop_assert!(fields.names.len() <= NAMES_MAX);
        for name in &fields.names {
            prop_assert!(name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
        }
        let shown = [&fields.subject, &fields.issuer];
        prop_assert!(!shown.iter().any(|text| text.contains(char::is_control)), "{fields:?}");
        Ok(())
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(fields) = Fields::read(&bytes) {
                may_be_shown(&fields)?;
            }
        }

        #[test]
        fn a_damaged_certificate_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = certificate(&["www.example.com"]);
            let at = at.index(der.len());
            der[at] = byte;
            if let Some(fields) = Fields::read(&der) {
                may_be_shown(&fields)?;
            }
        }

        #[test]
        fn half_a_certificate_is_refused(cut in any::<prop::sample::Index>()) {
            let der = certificate(&["www.example.com"]);
            prop_assert!(Fields::read(&der[..cut.index(der.len())]).is_none());
        }
    }
}
