//! The local certificate authority: made at the first start, never made again.

use super::{TlsError, files};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ten years: every client has to be told of a new one.
const VALID_DAYS: i64 = 3650;

/// Why there is no authority, or why it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot make the directory {}", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is there, but its key {} is not", certificate.display(), key.display())]
    KeyMissing { certificate: PathBuf, key: PathBuf },
    #[error("{} does not hold what it should", path.display())]
    Damaged { path: PathBuf },
    #[error("cannot make a key or sign a certificate")]
    Sign(#[from] rcgen::Error),
}

impl AuthorityError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Directory { .. } | Self::Read { .. } => {
                "Check that the platform's user may read and write there.".into()
            }
            Self::KeyMissing { certificate, .. } => format!(
                "Restore the key from a backup. If there is none, remove {}, start again, and \
                 hand out the new certificate: clients trust the old one.",
                certificate.display()
            ),
            Self::Damaged { path } => format!("Restore {} from a backup.", path.display()),
            Self::Sign(_) => "This is a fault of the program; please report it.".into(),
        }
    }
}

/// The authority, ready to sign.
#[derive(Debug)]
pub(super) struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Loads it, or makes it where there is none. The key is written first and the certificate
    /// derived from it: a process killed in between has shown nobody a certificate yet.
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Self, TlsError> {
        fs::create_dir_all(dir)
            .map_err(|source| AuthorityError::Directory { path: dir.to_path_buf(), source })?;
        let key_path = dir.join("ca.key");
        let path = certificate_path(dir);
        let key = match (read(&key_path)?, path.exists()) {
            (Some(pem), _) => KeyPair::from_pem(&pem)
                .map_err(|_| AuthorityError::Damaged { path: key_path.clone() })?,
            (None, true) => {
                Err(AuthorityError::KeyMissing { certificate: path.clone(), key: key_path })?
            }
            (None, false) => {
                let key = KeyPair::generate().map_err(AuthorityError::Sign)?;
                files::write(&key_path, key.serialize_pem().as_bytes(), files::PRIVATE)?;
                key
            }
        };
        let pem = if let Some(pem) = read(&path)? {
            pem
        } else {
            let days = SignedDuration::from_hours(24 * VALID_DAYS);
            let made = valid(params(), now, days).self_signed(&key);
            let pem = made.map_err(AuthorityError::Sign)?.pem();
            files::write(&path, pem.as_bytes(), files::PUBLIC)?;
            pem
        };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| AuthorityError::Damaged { path })?;
        Ok(Self { dir: dir.to_path_buf(), issuer: Issuer::new(params(), key), certificate })
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn certificate_path(&self) -> PathBuf {
        certificate_path(&self.dir)
    }

    /// A server certificate for these names and addresses with a key of its own, as PEM.
    pub(super) fn issue(
        &self,
        names: &[String],
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> Result<String, AuthorityError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name("Lathe");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = valid(params, now, lifetime).signed_by(&key, &self.issuer)?;
        Ok(key.serialize_pem() + &certificate.pem())
    }
}

fn certificate_path(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// What is the same in every authority we make: signing takes it again at every start.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Lathe local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Good from yesterday on: clocks of clients are not ours.
fn valid(
    mut params: CertificateParams,
    now: Timestamp,
    lifetime: SignedDuration,
) -> CertificateParams {
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(now - SignedDuration::from_hours(24));
    params.not_after = day(now + lifetime);
    params
}

/// The text of a file, or nothing when there is none.
fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::Read { path: path.to_path_buf(), source }),
    }
}
