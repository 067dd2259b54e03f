//! A certificate and a key as somebody hands them in: taken when clients would take them.

use super::x509::Fields;
use jiff::Timestamp;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Five certificates with large keys; what is sent in every handshake.
const CHAIN_BYTES_MAX: usize = 32 << 10;
const KEY_BYTES_MAX: usize = 16 << 10;

/// What is wrong with it. The text is for whoever hands it in.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("The certificate chain is larger than {CHAIN_BYTES_MAX} bytes.")]
    LongChain,
    #[error("The key is larger than {KEY_BYTES_MAX} bytes.")]
    LongKey,
    #[error(
        "There is no certificate in the certificate file: PEM begins with \
         -----BEGIN CERTIFICATE-----."
    )]
    NoCertificate,
    #[error("The certificate file is damaged: certificate {number} in it cannot be read.")]
    Damaged { number: usize },
    #[error(
        "The key has a passphrase, which nobody could type when it is needed. Take it away: \
         openssl pkey -in server.key -out plain.key"
    )]
    Passphrase,
    #[error(
        "There is no private key in the key file: PEM begins with -----BEGIN PRIVATE KEY-----."
    )]
    NoKey,
    #[error(
        "The key is of a kind that cannot be used: take RSA of 2048 to 4096 bits, P-256 or P-384."
    )]
    KeyKind(#[source] rustls::Error),
    #[error(
        "The key does not match the certificate. The certificate of the server itself has to be \
         the first in the file, those of the authorities follow."
    )]
    Mismatch,
    #[error("The certificate expired at {at}.")]
    Expired { at: Timestamp },
    #[error("The certificate is not valid before {at}.")]
    NotYet { at: Timestamp },
    #[error(
        "The certificate names no host (Subject Alternative Name), so that no client would take it."
    )]
    NoNames,
}

/// Reads and judges the pair, and says what is in the certificate.
pub fn check(chain: &str, key: &str, now: Timestamp) -> Result<Fields, PairError> {
    if chain.len() > CHAIN_BYTES_MAX {
        return Err(PairError::LongChain);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(PairError::LongKey);
    }
    let (certificates, fields) = read_chain(chain)?;
    let certified = CertifiedKey::from_der(certificates, read_key(key)?, &default_provider());
    match certified {
        Ok(_) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(PairError::Mismatch),
        Err(error) => return Err(PairError::KeyKind(error)),
    }
    if now > fields.expires_at {
        return Err(PairError::Expired { at: fields.expires_at });
    }
    if now < fields.starts_at {
        return Err(PairError::NotYet { at: fields.starts_at });
    }
    if fields.names.is_empty() {
        return Err(PairError::NoNames);
    }
    Ok(fields)
}

/// What is in the first certificate of a chain that was taken once.
pub(super) fn fields(chain: &str) -> Option<Fields> {
    read_chain(chain).ok().map(|(_, fields)| fields)
}

fn read_chain(chain: &str) -> Result<(Vec<CertificateDer<'static>>, Fields), PairError> {
    let mut certificates = Vec::new();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(chain.as_bytes())) {
        let certificate = certificate.map_err(|_| PairError::Damaged { number })?;
        if Fields::read(&certificate).is_none() {
            return Err(PairError::Damaged { number });
        }
        certificates.push(certificate);
    }
    let fields = certificates.first().and_then(|first| Fields::read(first));
    Ok((certificates, fields.ok_or(PairError::NoCertificate)?))
}

fn read_key(key: &str) -> Result<PrivateKeyDer<'static>, PairError> {
    if key.contains("ENCRYPTED") {
        return Err(PairError::Passphrase);
    }
    PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| PairError::NoKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn at(date: &str) -> Timestamp {
        format!("{date}T00:00:00Z").parse().unwrap()
    }

    /// fault H13: what is handed in and is no use.
    #[test]
    fn what_no_client_would_take_is_refused_with_the_reason() {
        let (chain, key) = made(&["www.example.com"]);
        let (other, other_key) = made(&["www.example.com"]);
        let nameless = made(&[]);
        let (now, both) = (at("2026-02-01"), format!("{other}{chain}"));
        let cut = chain.get(..chain.len() / 2).unwrap();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let long = "x".repeat(CHAIN_BYTES_MAX + 1);
        assert_eq!(check(&chain, &key, now).unwrap().names, ["www.example.com"]);
        for (chain, key, now, reason) in [
            (&*chain, &*other_key, now, "does not match"),
            (&both, &key, now, "has to be the first"),
            (&chain, &key, at("2026-04-02"), "expired at 2026-04-01"),
            (&chain, &key, at("2025-12-31"), "not valid before 2026-01-01"),
            (&nameless.0, &nameless.1, now, "names no host"),
            ("", &key, now, "no certificate"),
            ("certificate", &key, now, "no certificate"),
            (cut, &key, now, "damaged"),
            (garbage, &key, now, "certificate 1 in it cannot be read"),
            (&format!("{chain}{garbage}"), &key, now, "certificate 2 in it cannot be read"),
            (&chain, "", now, "no private key"),
            (&chain, &chain, now, "no private key"),
            (&chain, &encrypted, now, "passphrase"),
            (&long, &key, now, "larger than"),
            (&chain, &long, now, "larger than"),
        ] {
            let said = check(chain, key, now).unwrap_err().to_string();
            assert!(said.contains(reason), "{reason:?} is not in {said:?}");
        }
    }
}
