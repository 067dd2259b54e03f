//! Host names of an app: its own, and those that users add.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use super::{apps, sni_endpoints};
use crate::certs::{AppCertificates, Held};
use crate::state::model::{App, Domain, Progress};
use crate::state::{Tx, acm, domains};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let known = Known::read(&context, &access.app).await?;
    let mut items = vec![show_own(&context, &access.app, &known)];
    let custom = known.certificates.domains.iter();
    items.extend(custom.map(|domain| show_domain(&context, &access.app, &known, domain)));
    page(&headers, &["id", "hostname"], items)
}

/// What is shown of domains beside their rows.
struct Known {
    certificates: AppCertificates,
    progress: Vec<Progress>,
}

impl Known {
    async fn read(context: &Context, app: &App) -> Result<Self, ApiError> {
        let certificates = sni_endpoints::read(context, app).await?;
        let id = app.id.clone();
        let progress = context.services.store.read(move |tx| acm::of_app(tx, &id)).await?;
        Ok(Self { certificates, progress })
    }
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let identity = access.parameter("domain");
    let known = Known::read(&context, &access.app).await?;
    if identity == own_name(&context, &access.app) || identity == access.app.id {
        return Ok(Json(show_own(&context, &access.app, &known)));
    }
    let id = access.app.id.clone();
    let found =
        context.services.store.read(move |tx| domains::by_identity(tx, &id, &identity)).await?;
    Ok(Json(show_domain(&context, &access.app, &known, &found)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Add {
    hostname: String,
    /// Name or id.
    sni_endpoint: Option<String>,
}

pub(super) async fn add(
    State(context): State<Context>,
    access: AppAccess,
    Body(add): Body<Add>,
) -> Result<Response, ApiError> {
    // Names below the apps' own domain belong to the apps of those names.
    let domain = &context.services.config.apps_domain;
    let asked = add.hostname.to_ascii_lowercase();
    if asked == *domain || asked.ends_with(&format!(".{domain}")) {
        return Err(ApiError::invalid(format!(
            "Names below {domain} are given to apps by their name"
        )));
    }
    let chosen = choice(&context, &access.app, add.sni_endpoint.as_deref(), &asked).await?;
    let id = access.app.id.clone();
    let claim = move |tx: &Tx<'_>| {
        let added = domains::add(tx, &id, &add.hostname)?;
        match chosen {
            Some(chosen) => domains::choose(tx, &id, &added.id, Some(&chosen)),
            None => Ok(added),
        }
    };
    let added = context.services.store.write(claim).await?;
    let line = format!("Add {} domain by user {}", added.hostname, access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    let known = Known::read(&context, &access.app).await?;
    let shown = show_domain(&context, &access.app, &known, &added);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// The id of the certificate of this name or id, if it is one for the host.
async fn choice(
    context: &Context,
    app: &App,
    identity: Option<&str>,
    host: &str,
) -> Result<Option<String>, ApiError> {
    let Some(identity) = identity else { return Ok(None) };
    let all = sni_endpoints::read(context, app).await?;
    let Held { certificate, fields } = sni_endpoints::held(&all, identity)?;
    sni_endpoints::names(fields, host)?;
    Ok(Some(certificate.id.clone()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    /// Name or id; none: whichever fits.
    sni_endpoint: Option<String>,
}

pub(super) async fn update(
    State(context): State<Context>,
    access: AppAccess,
    Body(update): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let (id, identity) = (access.app.id.clone(), access.parameter("domain"));
    let store = &context.services.store;
    let domain = store.read(move |tx| domains::by_identity(tx, &id, &identity)).await?;
    let endpoint = update.sni_endpoint.as_deref();
    let chosen = choice(&context, &access.app, endpoint, &domain.hostname).await?;
    let id = access.app.id.clone();
    let choose = move |tx: &Tx<'_>| domains::choose(tx, &id, &domain.id, chosen.as_deref());
    let updated = store.write(choose).await?;
    let known = Known::read(&context, &access.app).await?;
    Ok(Json(show_domain(&context, &access.app, &known, &updated)))
}

pub(super) async fn remove(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (id, identity) = (access.app.id.clone(), access.parameter("domain"));
    let known = Known::read(&context, &access.app).await?;
    let removed =
        context.services.store.write(move |tx| domains::remove(tx, &id, &identity)).await?;
    Ok(Json(show_domain(&context, &access.app, &known, &removed)))
}

fn own_name(context: &Context, app: &App) -> String {
    format!("{}.{}", app.name, context.services.config.apps_domain)
}

fn show_own(context: &Context, app: &App, known: &Known) -> Value {
    let host = own_name(context, app);
    json!({
        "id": app.id,
        "app": apps::brief(app),
        "hostname": host,
        "kind": "heroku",
        "cname": null,
        "acm_status": known.acm_status(&host),
        "acm_status_reason": known.acm_reason(&host),
        "sni_endpoint": known.endpoint(&host),
        "status": "none",
        "created_at": app.created_at,
        "updated_at": app.created_at,
    })
}

/// A custom name is served as soon as it is added; DNS is its owner's, so there is nothing to wait
/// for here (`status` none).
fn show_domain(context: &Context, app: &App, known: &Known, domain: &Domain) -> Value {
    json!({
        "id": domain.id,
        "app": apps::brief(app),
        "hostname": domain.hostname,
        "kind": "custom",
        "cname": own_name(context, app),
        "acm_status": known.acm_status(&domain.hostname),
        "acm_status_reason": known.acm_reason(&domain.hostname),
        "sni_endpoint": known.endpoint(&domain.hostname),
        "status": "none",
        "created_at": domain.created_at,
        "updated_at": domain.updated_at,
    })
}

impl Known {
    /// What the name is served with; nothing for the default certificate.
    fn endpoint(&self, host: &str) -> Option<Value> {
        self.certificates.serving(host, Timestamp::now()).map(sni_endpoints::brief)
    }

    fn acm_status(&self, host: &str) -> Option<&'static str> {
        self.progress_of(host).map(|progress| progress.status.as_str())
    }

    fn acm_reason(&self, host: &str) -> Option<&str> {
        self.progress_of(host)?.reason.as_deref()
    }

    fn progress_of(&self, host: &str) -> Option<&Progress> {
        self.progress.iter().find(|progress| progress.hostname == host)
    }
}
