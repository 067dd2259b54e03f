//! The keyring in force, as handshakes use it, and the loop that replaces it.

use crate::config::LastFile;
use crate::{Keyring, Pair, RouterConfig, RouterError, host, saved};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(crate) struct Keys(ArcSwap<Ready>);

/// A keyring whose keys are ready to sign.
#[derive(Debug, Default)]
struct Ready {
    keyring: Arc<Keyring>,
    default: Option<Arc<CertifiedKey>>,
    pairs: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Keys {
    /// Starts from the keyring saved by an earlier run, if there is one.
    pub(crate) fn open(saved: Option<&Path>) -> Self {
        let keys = Self::default();
        match saved.map(saved::load::<Keyring>) {
            Some(Ok(Some(keyring))) => keys.apply(&Arc::new(keyring)),
            Some(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "start without the saved keyring");
            }
            Some(Ok(None)) | None => {}
        }
        keys
    }

    fn apply(&self, keyring: &Arc<Keyring>) {
        let ready = Ready::new(keyring, &self.0.load());
        self.0.store(Arc::new(ready));
    }

    /// TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, RouterError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| RouterError::Tls { source })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What is to be answered to this request, if an authority makes it.
    pub(crate) fn answer(&self, host: &str, path: &str) -> Option<String> {
        self.0.load().keyring.answer(host, path).map(str::to_owned)
    }
}

impl ResolvesServerCert for Keys {
    /// A name that is not known gets the default certificate: the client then says what it expected,
    /// where an aborted handshake would say nothing. None at all: nothing was ever heard or saved.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ready = self.0.load();
        let host = hello.server_name().and_then(|name| host::normalise(name.as_bytes()));
        let own = host.and_then(|host| ready.pairs.get(ready.keyring.hosts.get(&*host)?));
        own.or(ready.default.as_ref()).cloned()
    }
}

impl Ready {
    /// What is as it was `before` is taken over from there.
    fn new(keyring: &Arc<Keyring>, before: &Self) -> Self {
        let ready = |name: &str, pair: &Pair| match certified(pair) {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                // Whoever made the keyring has looked at each; the other names are served.
                tracing::error!(%error, name, "a certificate of the keyring cannot be used");
                None
            }
        };
        let known = |name: &String, pair| {
            before.pairs.get(name).filter(|_| before.keyring.pairs.get(name) == Some(pair)).cloned()
        };
        let pairs = keyring.pairs.iter().filter_map(|(name, pair)| {
            let key = known(name, pair).or_else(|| ready(name, pair))?;
            Some((name.clone(), key))
        });
        Self {
            default: keyring.default.as_ref().and_then(|pair| ready("default", pair)),
            pairs: pairs.collect(),
            keyring: Arc::clone(keyring),
        }
    }
}

fn certified(pair: &Pair) -> Result<CertifiedKey, rustls::Error> {
    let not_pem = |error| rustls::Error::General(format!("not PEM: {error}"));
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(not_pem)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(not_pem)?;
    CertifiedKey::from_der(chain, key, &default_provider())
}

/// Applies and saves every keyring. Never ends: without a publisher the last one stays.
pub(crate) async fn follow(
    keys: Arc<Keys>,
    mut keyrings: watch::Receiver<Arc<Keyring>>,
    config: Arc<RouterConfig>,
) {
    keyrings.mark_changed();
    while keyrings.changed().await.is_ok() {
        let keyring = Arc::clone(&keyrings.borrow_and_update());
        if keyring.default.is_none() || keyring == keys.0.load().keyring {
            continue;
        }
        keys.apply(&keyring);
        if let Some(LastFile::Kept(path)) = config.last_keyring.clone() {
            saved::report(move || saved::save_keyring(&path, &keyring, None)).await;
        }
    }
    std::future::pending::<()>().await;
}
