//! Who asks, and for which app: the only ways a handler gets at an account or an app.

use super::context::Context;
use super::error::ApiError;
use crate::state::model::{Account, App, Token};
use crate::state::{accounts, apps};
use axum::extract::{FromRequestParts, Path};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;

/// Somebody with a valid token.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) account: Account,
    pub(super) token: Token,
}

impl Caller {
    /// What only whoever runs the platform may do.
    pub(super) fn operator(&self, action: &str) -> Result<(), ApiError> {
        if self.account.email == accounts::OPERATOR {
            return Ok(());
        }
        Err(ApiError::forbidden(format!("You cannot {action}: only the operator can.")))
    }

    /// Whether a path's `{user}` is who asks.
    pub(super) fn is(&self, user: &str) -> Result<(), ApiError> {
        let known = ["~", &self.account.id, &self.account.email].contains(&user);
        if known { Ok(()) } else { Err(ApiError::not_found("user")) }
    }
}

/// Somebody, and the app of the path that they may use. What is not theirs does not exist.
#[derive(Clone, Debug)]
pub(super) struct AppAccess {
    pub(super) account: Account,
    pub(super) app: App,
    parameters: HashMap<String, String>,
}

impl AppAccess {
    /// What only the owner may do to an app. A collaborator sees the app, so is told why not.
    pub(super) fn owner(&self, action: &str) -> Result<(), ApiError> {
        if self.account.id == self.app.owner.id {
            return Ok(());
        }
        Err(ApiError::forbidden(format!(
            "You cannot {action} {}: only its owner, {}, can.",
            self.app.name, self.app.owner.email
        )))
    }

    /// What would end the platform, were the app the platform itself; `instead` says what to do.
    pub(super) fn ordinary(&self, action: &str, instead: &str) -> Result<(), ApiError> {
        if !self.app.system {
            return Ok(());
        }
        let name = &self.app.name;
        let message = format!("You cannot {action} {name}: it is this platform itself. {instead}");
        Err(ApiError::invalid(message))
    }

    /// A further name of the path, such as the `{release}` below the app.
    pub(super) fn parameter(&self, name: &str) -> String {
        self.parameters.get(name).cloned().unwrap_or_default()
    }
}

impl FromRequestParts<Context> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let plain = header.and_then(token).ok_or_else(ApiError::unauthorized)?;
        let token = context
            .services
            .store
            .read(move |tx| accounts::authenticate(tx, &plain))
            .await?
            .ok_or_else(ApiError::unauthorized)?;
        Ok(Self { account: token.account.clone(), token })
    }
}

impl FromRequestParts<Context> for AppAccess {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, context).await?;
        let Path(parameters) = Path::<HashMap<String, String>>::from_request_parts(parts, context)
            .await
            .map_err(|_| ApiError::not_found("app"))?;
        let identity = parameters.get("app").cloned().unwrap_or_default();
        let account = caller.account.clone();
        let app = context
            .services
            .store
            .read(move |tx| apps::for_account(tx, &account.id, &identity))
            .await?;
        Ok(Self { account: caller.account, app, parameters })
    }
}

/// `Bearer KEY`, or Basic with the key as the password and any user.
fn token(header: &str) -> Option<String> {
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(value.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_every_form_that_clients_send() {
        let cases = [
            ("Bearer lth_1", Some("lth_1")),
            ("bearer lth_1", Some("lth_1")),
            ("Basic OmxthF8x", None),
            ("Basic Omx0aF8x", Some("lth_1")), // heroku3: ":KEY"
            ("Basic aGVyb2t1Omx0aF8x", Some("lth_1")), // "heroku:KEY"
            ("Digest x", None),
            ("Bearer", None),
        ];
        for (header, expected) in cases {
            assert_eq!(token(header).as_deref(), expected, "{header}");
        }
    }
}
