//! Who is at the door, and which app they mean. What they may not see does not exist.

use crate::services::Services;
use crate::state::model::{Account, App};
use crate::state::{StateError, accounts, apps};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const REALM: &str = "Basic realm=\"Lathe\"";

/// An account and an app it may push to and clone.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) account: Account,
    pub(super) app: App,
}

/// Why there is none. Git shows a plain-text body as `remote: …`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    #[error("no token, or one that is not known")]
    Credentials,
    #[error("no such app")]
    NoApp,
    #[error("who may do this could not be looked up")]
    State(#[source] StateError),
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            // Git asks without a token first and again with one after this answer.
            Self::Credentials => (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, REALM)],
                "Invalid credentials provided. The password is your API token.\n",
            )
                .into_response(),
            Self::NoApp => (StatusCode::NOT_FOUND, "Couldn't find that app.\n").into_response(),
            Self::State(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "git access");
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal error. Try again.\n").into_response()
            }
        }
    }
}

/// `repo` is the first segment of the path: `sample.git`.
pub(super) async fn check(
    services: &Services,
    headers: &HeaderMap,
    repo: &str,
) -> Result<Access, Denied> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| password(value.as_bytes()))
        .ok_or(Denied::Credentials)?;
    let name = repo.strip_suffix(".git").unwrap_or_default().to_owned();
    let found = services.store.read(move |tx| {
        let Some(token) = accounts::authenticate(tx, &token)? else { return Ok(None) };
        let app = match apps::for_account(tx, &token.account.id, &name) {
            Ok(app) => Some(app),
            Err(StateError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Some((token.account, app)))
    });
    match found.await.map_err(Denied::State)? {
        None => Err(Denied::Credentials),
        Some((_, None)) => Err(Denied::NoApp),
        Some((account, Some(app))) => Ok(Access { account, app }),
    }
}

/// The password of Basic credentials (RFC 7617); the user name may be anything.
fn password(header: &[u8]) -> Option<String> {
    let (scheme, credentials) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(credentials.trim_ascii()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (_, password) = text.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (header, expected) in [
            (basic("heroku:secret"), Some("secret")),
            (basic(":secret"), Some("secret")),
            (basic("a:b:c"), Some("b:c")),
            (basic("a:b:c").replace("Basic", "bAsIc"), Some("b:c")),
            (basic("a:"), None),
            (basic("secret"), None),
            ("Bearer secret".into(), None),
            ("Basic !!!".into(), None),
            ("Basic".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(password(header.as_bytes()).as_deref(), expected, "{header}");
        }
    }
}
