//! Automatic certificates: one order at a time, for the name whose turn it is.
//!
//! What was issued is served until something newer is: whatever goes wrong here costs nobody the
//! certificate that there is.

mod challenges;
mod client;
mod order;
mod plan;

pub(super) use challenges::{Answers, Challenges};

use super::pair;
use crate::causes::causes;
use crate::services::Services;
use crate::state::certificates::{self, New};
use crate::state::model::{AcmStatus, Progress};
use crate::state::{StateError, Tx, acm, apps, domains};
use client::{Client, ClientError};
use instant_acme::{Account, AccountCredentials, NewAccount};
use jiff::{SignedDuration, Timestamp};
use lathe_logs::Source;
use order::{Issued, OrderError};
use plan::Name;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// For one certificate, whatever the authority does.
const ORDER_TIMEOUT: Duration = Duration::from_mins(4);
/// What was issued with hardly any life in it is not ordered again at once.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// When nothing is due, the clock is looked at this often: it may be set.
const LOOK: Duration = Duration::from_mins(10);
/// After the state could not be read.
const PAUSE: Duration = Duration::from_secs(10);
/// No authority believes that names below these are anybody's (RFC 6761, RFC 6762, RFC 2606).
const PRIVATE: [&str; 6] = ["localhost", "local", "internal", "test", "invalid", "example"];

/// Why nothing was ordered.
#[derive(Debug, thiserror::Error)]
enum AcmeError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("requests to the certificate authority cannot be made")]
    Client(#[from] ClientError),
    #[error("our account with the certificate authority cannot be stored")]
    Account(#[from] serde_json::Error),
}

/// Orders and renews, for ever; nothing unless the operator has an address for the authority.
pub(super) async fn run(services: Services, challenges: Challenges) {
    let Some(email) = services.config.acme.email.clone() else {
        return std::future::pending().await;
    };
    let mut changes = services.store.changes_of_apps();
    let mut orders = Orders { services, challenges, email, account: None };
    loop {
        changes.mark_unchanged();
        let wait = orders.step().await.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "certificates cannot be ordered");
            PAUSE
        });
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(wait.min(LOOK)) => {}
        }
    }
}

struct Orders {
    services: Services,
    challenges: Challenges,
    email: String,
    account: Option<Account>,
}

impl Orders {
    /// Orders what is due first; how long there is nothing else to do.
    async fn step(&mut self) -> Result<Duration, AcmeError> {
        let domain = self.services.config.apps_domain.clone();
        let now = Timestamp::now();
        self.forget(&domain).await?;
        let wanted = self.services.store.read(move |tx| names(tx, &domain)).await?;
        let Some((name, due_at)) = plan::next(&wanted, now) else { return Ok(LOOK) };
        if due_at > now {
            return Ok(now.duration_until(due_at).try_into().unwrap_or(LOOK));
        }
        let ordered = timeout(ORDER_TIMEOUT, self.order(&name.hostname)).await;
        match ordered.unwrap_or(Ok(Err(OrderError::Timeout)))? {
            Ok(issued) => self.take(name, issued).await?,
            Err(error) => self.fail(name, &error).await?,
        }
        Ok(Duration::ZERO)
    }

    /// Drops what belongs to names that are gone. Writes only when there are some.
    async fn forget(&self, domain: &str) -> Result<(), AcmeError> {
        let of_app = domain.to_owned();
        let gone = self.services.store.read(move |tx| strangers(tx, &of_app)).await?;
        if gone.is_empty() {
            return Ok(());
        }
        let domain = domain.to_owned();
        let forget = move |tx: &Tx<'_>| {
            gone.iter().try_for_each(|app| {
                let hosts = hosts(tx, app, &domain)?;
                acm::forget(tx, app, |host| hosts.iter().any(|wanted| wanted == host))
            })
        };
        Ok(self.services.store.write(forget).await?)
    }

    /// The outer error is ours, the inner one the authority's.
    async fn order(&mut self, hostname: &str) -> Result<Result<Issued, OrderError>, AcmeError> {
        let account = match &self.account {
            Some(account) => account.clone(),
            None => match self.sign_up().await? {
                Ok(account) => self.account.insert(account).clone(),
                Err(error) => return Ok(Err(error)),
            },
        };
        let router = self.services.endpoints.router;
        let issued = order::issue(&account, hostname, &self.challenges, router).await;
        if issued.as_ref().is_err_and(OrderError::is_stranger) {
            self.account = None;
            let directory = self.services.config.acme.directory.clone();
            self.services.store.write(move |tx| acm::drop_account(tx, &directory)).await?;
        }
        Ok(issued)
    }

    /// The account that we have with the authority, or a new one.
    async fn sign_up(&self) -> Result<Result<Account, OrderError>, AcmeError> {
        let directory = self.services.config.acme.directory.clone();
        let client = Client::new(&self.services.config.acme.authorities)?;
        let builder = Account::builder_with_http(Box::new(client));
        let of = directory.clone();
        let known = self.services.store.read(move |tx| acm::account(tx, &of)).await?;
        if let Some(credentials) = known {
            let credentials: AccountCredentials = serde_json::from_slice(&credentials)?;
            return Ok(builder.from_credentials(credentials).await.map_err(OrderError::from));
        }
        let contact = format!("mailto:{}", self.email);
        let new = NewAccount {
            contact: &[&contact],
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = match builder.create(&new, directory.clone(), None).await {
            Ok(made) => made,
            Err(error) => return Ok(Err(error.into())),
        };
        let credentials = serde_json::to_vec(&credentials)?;
        let keep = move |tx: &Tx<'_>| acm::keep_account(tx, &directory, &credentials);
        self.services.store.write(keep).await?;
        Ok(Ok(account))
    }

    async fn take(&self, name: &Name, issued: Issued) -> Result<(), AcmeError> {
        let (Name { app, hostname, .. }, now) = (name.clone(), Timestamp::now());
        let line = format!("Certificate for {hostname} issued");
        self.services.say(&name.app, Source::Heroku, super::PROCESS, &line);
        let progress = Progress {
            app,
            hostname,
            status: AcmStatus::Issued,
            reason: None,
            failures: 0,
            next_at: now.saturating_add(AGAIN).unwrap_or(now),
            updated_at: now,
        };
        let take = move |tx: &Tx<'_>| {
            let Progress { app, hostname, .. } = &progress;
            // The app may be gone, or want none any more.
            if apps::by_id(tx, app).is_ok_and(|app| app.acm) {
                let new = New { chain: &issued.chain, key: &issued.key };
                certificates::put_issued(tx, app, hostname, new)?;
            }
            acm::note(tx, &progress)
        };
        Ok(self.services.store.write(take).await?)
    }

    async fn fail(&self, name: &Name, error: &OrderError) -> Result<(), AcmeError> {
        let (failures, now) = (name.failures.saturating_add(1), Timestamp::now());
        let next_at = plan::again_at(failures, error.is_limit(), now);
        let reason = causes(error);
        let kept = if name.renew_at.is_some() { " The one there is stays." } else { "" };
        let line = format!(
            "No certificate for {}: {reason}. Tried again at {next_at:.0}.{kept}",
            name.hostname
        );
        self.services.say(&name.app, Source::Heroku, super::PROCESS, &line);
        let failed = plan::is_failed(failures);
        let progress = Progress {
            app: name.app.clone(),
            hostname: name.hostname.clone(),
            status: if failed { AcmStatus::Failed } else { AcmStatus::Failing },
            reason: Some(reason),
            failures,
            next_at,
            updated_at: now,
        };
        Ok(self.services.store.write(move |tx| acm::note(tx, &progress)).await?)
    }
}

/// The names of an app that an authority may be asked for.
fn hosts(tx: &Tx<'_>, app: &str, apps_domain: &str) -> Result<Vec<String>, StateError> {
    let app = apps::by_id(tx, app)?;
    if !app.acm {
        return Ok(Vec::new());
    }
    let own = format!("{}.{apps_domain}", app.name);
    let custom = domains::of_app(tx, &app.id)?.into_iter().map(|domain| domain.hostname);
    Ok(custom.chain([own]).filter(|host| is_public(host)).collect())
}

/// Whether an authority could believe that the name is ours.
fn is_public(host: &str) -> bool {
    let top = host.rsplit('.').next().unwrap_or_default();
    host.contains('.') && host.parse::<IpAddr>().is_err() && !PRIVATE.contains(&top)
}

/// Every name that wants certificates, with how far it has come.
fn names(tx: &Tx<'_>, apps_domain: &str) -> Result<Vec<Name>, StateError> {
    let mut names = Vec::new();
    for app in certificates::apps(tx)? {
        let (issued, progress) = (certificates::of_app(tx, &app)?, acm::of_app(tx, &app)?);
        for hostname in hosts(tx, &app, apps_domain)? {
            let own = issued.iter().find(|one| one.issued_for.as_ref() == Some(&hostname));
            let fields = own.and_then(|own| pair::fields(&own.chain));
            let known = progress.iter().find(|one| one.hostname == hostname);
            names.push(Name {
                app: app.clone(),
                renew_at: fields.map(|fields| fields.renew_at()),
                failures: known.map_or(0, |known| known.failures),
                not_before: known.map_or(Timestamp::MIN, |known| known.next_at),
                hostname,
            });
        }
    }
    Ok(names)
}

/// The apps that have something of names that they do not want any more.
fn strangers(tx: &Tx<'_>, apps_domain: &str) -> Result<Vec<String>, StateError> {
    let mut found = Vec::new();
    for app in certificates::apps(tx)? {
        let hosts = hosts(tx, &app, apps_domain)?;
        let issued = certificates::of_app(tx, &app)?.into_iter().filter_map(|one| one.issued_for);
        let tried = acm::of_app(tx, &app)?.into_iter().map(|one| one.hostname);
        if issued.chain(tried).any(|host| !hosts.contains(&host)) {
            found.push(app);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_asked_for_public_names_only() {
        for (host, public) in [
            ("www.example.com", true),
            ("app.apps.example.de", true),
            ("app.localhost", false),
            ("app.apps.internal", false),
            ("localhost", false),
            ("10.0.0.1", false),
            ("www.example.test", false),
        ] {
            assert_eq!(is_public(host), public, "{host}");
        }
    }
}
