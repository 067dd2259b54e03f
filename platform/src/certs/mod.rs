//! Certificates of apps: which are taken, which name is served with which, and how new ones come.

mod acme;
mod keyring;
mod notice;
mod pair;
mod trust;
mod x509;

pub use keyring::{AppCertificates, Held};
pub use pair::{PairError, check};
pub use trust::is_trusted;
pub use x509::Fields;

use crate::services::Services;
use crate::state::{StateError, Tx, apps, certificates, domains};
use crate::tls::{AppsTls, TlsError};
use acme::{Answers, Challenges};
use jiff::{SignedDuration, Timestamp};
use lathe_logs::Source;
use lathe_router::{Keyring, Pair};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Who speaks of certificates in an app's log.
const PROCESS: &str = "certs";
/// Time goes on though nothing changes.
const LOOK: Duration = Duration::from_hours(1);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(100);

/// Why routers are told nothing new.
#[derive(Debug, thiserror::Error)]
enum CertsError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the default certificate of apps cannot be made ready")]
    Default(#[from] TlsError),
    #[error("a preparation was interrupted")]
    Interrupted,
}

/// Keeps routers in certificates, and certificates in date, for ever.
pub async fn run(services: Services, keyring: watch::Sender<Arc<Keyring>>) {
    let challenges = Challenges::default();
    let publish = publish(services.clone(), keyring, challenges.answers());
    tokio::join!(publish, acme::run(services, challenges));
}

async fn publish(
    services: Services,
    keyring: watch::Sender<Arc<Keyring>>,
    mut answers: watch::Receiver<Answers>,
) {
    let mut changes = services.store.changes_of_apps();
    let mut ring = Ring { tls: Arc::new(AppsTls::of(&services.config)), default: None };
    let mut told = Told::new();
    loop {
        changes.mark_unchanged();
        let (now, answers_now) = (Timestamp::now(), answers.borrow_and_update().clone());
        match ring.look(&services, answers_now, now).await {
            Ok((news, held)) => {
                keyring.send_if_modified(|before| {
                    let is_new = **before != news;
                    *before = Arc::new(news);
                    is_new
                });
                told = tell(&services, &held, &told, now);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "routers go on with the certificates that they have");
            }
        }
        sleep(SETTLE).await;
        tokio::select! {
            _ = changes.changed() => {}
            _ = answers.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

/// What keyrings are made from beside the state.
struct Ring {
    tls: Arc<AppsTls>,
    /// The default certificate, for which names it was made ready, and when.
    default: Option<(Vec<String>, Timestamp, Arc<Pair>)>,
}

impl Ring {
    async fn look(
        &mut self,
        services: &Services,
        answers: Answers,
        now: Timestamp,
    ) -> Result<(Keyring, Vec<AppCertificates>), CertsError> {
        let domain = services.config.apps_domain.clone();
        let (own, held) = services.store.read(move |tx| read(tx, &domain)).await?;
        let default = self.default(&own, now).await?;
        let (keyring, left_out) = keyring::keyring(default, &held, answers, now);
        if left_out > 0 {
            tracing::error!(left_out, "there are more certificates than a router can be sent");
        }
        Ok((keyring, held))
    }

    /// Made ready again when other names have come, and now and then for its age.
    async fn default(&mut self, own: &[String], now: Timestamp) -> Result<Arc<Pair>, CertsError> {
        let names = self.tls.names(own);
        if let Some((known, at, pair)) = &self.default
            && *known == names
            && at.duration_until(now).abs() < SignedDuration::try_from(LOOK).unwrap_or_default()
        {
            return Ok(Arc::clone(pair));
        }
        let (tls, wanted) = (Arc::clone(&self.tls), names.clone());
        let made = tokio::task::spawn_blocking(move || tls.pair(wanted, now));
        let (chain, key) = made.await.map_err(|_| CertsError::Interrupted)??;
        let pair = Arc::new(Pair { chain, key });
        self.default = Some((names, now, Arc::clone(&pair)));
        Ok(pair)
    }
}

/// The apps' own names, and what those have that have certificates.
fn read(tx: &Tx<'_>, domain: &str) -> Result<(Vec<String>, Vec<AppCertificates>), StateError> {
    let own = apps::all(tx)?.iter().map(|app| format!("{}.{domain}", app.name)).collect();
    let held = certificates::apps(tx)?;
    let held = held.iter().map(|app| of_app(tx, app, domain)).collect::<Result<_, _>>()?;
    Ok((own, held))
}

/// Names and certificates of one app.
pub fn of_app(tx: &Tx<'_>, app: &str, apps_domain: &str) -> Result<AppCertificates, StateError> {
    let own = format!("{}.{apps_domain}", apps::by_id(tx, app)?.name);
    let held = certificates::of_app(tx, app)?.into_iter().filter_map(Held::of).collect();
    Ok(AppCertificates { own, domains: domains::of_app(tx, app)?, held })
}

/// What is in the certificates that routers serve, by the keyring at `path`.
pub fn served(path: &Path) -> Vec<Fields> {
    let keyring = lathe_router::saved_keyring(path).unwrap_or_default();
    let pairs = keyring.pairs.values().chain(&keyring.default);
    pairs.filter_map(|pair| pair::fields(&pair.chain)).collect()
}

/// What was looked at, and when: certificates by id and version.
type Told = BTreeMap<(String, Timestamp), Timestamp>;

/// Says in the logs of their apps what is to be said of certificates whose end comes near; what was
/// looked at now.
fn tell(services: &Services, apps: &[AppCertificates], told: &Told, now: Timestamp) -> Told {
    let mut seen = Told::new();
    for Held { certificate, fields } in apps.iter().flat_map(|app| &app.held) {
        let (version, issued) =
            ((certificate.id.clone(), certificate.updated_at), certificate.issued_for.is_some());
        if notice::is_due(fields, issued, told.get(&version).copied(), now) {
            let text = notice::text(&certificate.name, fields, issued, now);
            services.say(&certificate.app, Source::Heroku, PROCESS, &text);
        }
        seen.insert(version, now);
    }
    seen
}
