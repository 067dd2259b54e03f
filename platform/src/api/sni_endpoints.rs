//! Certificates of an app, which Heroku calls SNI endpoints.

use super::access::AppAccess;
use super::apps;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use crate::certs::{self, AppCertificates, Fields, Held, PairError};
use crate::state::certificates::{self, New};
use crate::state::model::{App, Certificate};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

impl From<PairError> for ApiError {
    fn from(error: PairError) -> Self {
        Self::invalid(error.to_string())
    }
}

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let all = read(&context, &access.app).await?;
    let items = all.held.iter().map(|held| show_endpoint(&context, &access.app, &all, held));
    page(&headers, &["id", "name"], items.collect())
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    one(&context, &access, &access.parameter("endpoint")).await
}

#[derive(Deserialize)]
pub(super) struct Given {
    certificate_chain: String,
    private_key: String,
}

impl Given {
    fn check(&self) -> Result<Fields, ApiError> {
        Ok(certs::check(&self.certificate_chain, &self.private_key, Timestamp::now())?)
    }

    fn pair(&self) -> New<'_> {
        New { chain: &self.certificate_chain, key: &self.private_key }
    }
}

pub(super) async fn add(
    State(context): State<Context>,
    access: AppAccess,
    Body(given): Body<Given>,
) -> Result<Response, ApiError> {
    let fields = given.check()?;
    let (id, store) = (access.app.id.clone(), &context.services.store);
    let added = store.write(move |tx| certificates::add(tx, &id, given.pair())).await?;
    say(&context, &access, "Add", &added, &fields);
    Ok((StatusCode::CREATED, one(&context, &access, &added.id).await?).into_response())
}

/// The one there is stays until another is found good.
pub(super) async fn update(
    State(context): State<Context>,
    access: AppAccess,
    Body(given): Body<Given>,
) -> Result<Json<Value>, ApiError> {
    let fields = given.check()?;
    let identity = access.parameter("endpoint");
    let all = read(&context, &access.app).await?;
    let known = find(&all, &identity)?;
    if known.issued_for.is_some() {
        return Err(ApiError::invalid(
            "An automatic certificate is renewed by itself: use `heroku certs:add`, or \
             `heroku certs:auto:disable` first.",
        ));
    }
    let chosen = all.domains.iter().filter(|domain| domain.certificate.as_ref() == Some(&known.id));
    for domain in chosen {
        names(&fields, &domain.hostname)?;
    }
    let (app, id, store) = (access.app.id.clone(), known.id.clone(), &context.services.store);
    let updated = store.write(move |tx| certificates::replace(tx, &app, &id, given.pair())).await?;
    say(&context, &access, "Update", &updated, &fields);
    one(&context, &access, &updated.id).await
}

pub(super) async fn remove(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, identity) = (access.app.id.clone(), access.parameter("endpoint"));
    let shown = one(&context, &access, &identity).await?;
    let store = &context.services.store;
    let removed = store.write(move |tx| certificates::remove(tx, &app, &identity)).await?;
    if let Some(Held { fields, certificate }) = Held::of(removed) {
        say(&context, &access, "Remove", &certificate, &fields);
    }
    Ok(shown)
}

/// Refuses a certificate for a name that clients would not take it for.
pub(super) fn names(fields: &Fields, hostname: &str) -> Result<(), ApiError> {
    if fields.covers(hostname) {
        return Ok(());
    }
    let named = fields.names.join(", ");
    Err(ApiError::invalid(format!(
        "The certificate is for {named} and not for {hostname}: clients would refuse it."
    )))
}

/// Names and certificates of the app.
pub(super) async fn read(context: &Context, app: &App) -> Result<AppCertificates, ApiError> {
    let (id, domain) = (app.id.clone(), context.services.config.apps_domain.clone());
    Ok(context.services.store.read(move |tx| certs::of_app(tx, &id, &domain)).await?)
}

fn find<'a>(all: &'a AppCertificates, identity: &str) -> Result<&'a Certificate, ApiError> {
    Ok(&held(all, identity)?.certificate)
}

/// By id or name.
pub(super) fn held<'a>(all: &'a AppCertificates, identity: &str) -> Result<&'a Held, ApiError> {
    let is_it = |held: &&Held| {
        [&held.certificate.id, &held.certificate.name].contains(&&identity.to_owned())
    };
    all.held.iter().find(is_it).ok_or_else(|| ApiError::not_found("sni endpoint"))
}

async fn one(
    context: &Context,
    access: &AppAccess,
    identity: &str,
) -> Result<Json<Value>, ApiError> {
    let all = read(context, &access.app).await?;
    Ok(Json(show_endpoint(context, &access.app, &all, held(&all, identity)?)))
}

fn say(context: &Context, access: &AppAccess, what: &str, one: &Certificate, fields: &Fields) {
    let names = fields.names.join(", ");
    let line =
        format!("{what} certificate {} for {names} by user {}", one.name, access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
}

/// How a domain names its certificate.
pub(super) fn brief(held: &Held) -> Value {
    json!({"id": held.certificate.id, "name": held.certificate.name})
}

fn show_endpoint(context: &Context, app: &App, all: &AppCertificates, held: &Held) -> Value {
    let (Held { certificate, fields }, now) = (held, Timestamp::now());
    let serves = |host: &str| {
        all.serving(host, now).is_some_and(|serving| serving.certificate.id == certificate.id)
    };
    let domains = all.domains.iter().filter(|domain| serves(&domain.hostname));
    let roots = &context.services.config.drains.authorities;
    let trusted = certs::is_trusted(&certificate.chain, fields, roots, now);
    json!({
        "id": certificate.id,
        "app": apps::brief(app),
        "name": certificate.name,
        "display_name": null,
        "cname": null,
        "certificate_chain": certificate.chain,
        "domains": domains.map(|domain| domain.id.as_str()).collect::<Vec<_>>(),
        "ssl_cert": {
            "id": certificate.id,
            "acm": certificate.issued_for.is_some(),
            "ca_signed?": trusted,
            "cert_domains": fields.names,
            "expires_at": fields.expires_at,
            "issuer": fields.issuer,
            "self_signed?": fields.issuer == fields.subject,
            "starts_at": fields.starts_at,
            "subject": fields.subject,
        },
        "created_at": certificate.created_at,
        "updated_at": certificate.updated_at,
    })
}
