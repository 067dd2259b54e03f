//! A certificate authority of the tests' own.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use std::process::Command;

/// Nobody trusts it who was not told to.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate from this day on until that, counted from today, and a new key; both PEM.
    pub fn issue(&self, names: &[&str], days: (i64, i64)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (self.sign(names, days, &key), key.serialize_pem())
    }

    /// A certificate for somebody's key.
    pub fn sign(&self, names: &[&str], days: (i64, i64), key: &impl PublicKeyData) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let [from, to] = [days.0, days.1].map(day);
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        params.use_authority_key_identifier_extension = true;
        params.signed_by(key, &self.0).unwrap().pem()
    }
}

fn day(days_from_today: i64) -> (i32, u8, u8) {
    let when = format!("{days_from_today} days");
    let said = Command::new("date").args(["-u", "-d", &when, "+%Y %m %d"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let mut parts = said.split_whitespace().map(|part| part.parse::<u16>().unwrap());
    let mut next = || parts.next().unwrap();
    (next().into(), next().try_into().unwrap(), next().try_into().unwrap())
}
