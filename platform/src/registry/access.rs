//! Who pulls, and from which app. What they may not see does not exist.

use super::error::RegistryError;
use crate::engine::AppImages;
use crate::services::Services;
use crate::state::model::App;
use crate::state::{StateError, accounts, apps};
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;
use subtle::ConstantTimeEq;

/// An app whose images whoever asks may have.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    pub(super) app: App,
}

/// Who asks.
enum Who {
    /// The Docker daemon that runs our dynos.
    Engine,
    Token(String),
}

/// `docker login` asks this to see whether a token is good.
pub(super) async fn ping(
    State(services): State<Services>,
    headers: HeaderMap,
) -> Result<StatusCode, RegistryError> {
    let Who::Token(token) = who(&services.images, &headers)? else { return Ok(StatusCode::OK) };
    let known = services.store.read(move |tx| accounts::authenticate(tx, &token)).await?;
    known.map(|_| StatusCode::OK).ok_or(RegistryError::Credentials)
}

impl FromRequestParts<Services> for Pull {
    type Rejection = RegistryError;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Services,
    ) -> Result<Self, RegistryError> {
        let who = who(&services.images, &parts.headers)?;
        let Path(parameters) = Path::<HashMap<String, String>>::from_request_parts(parts, services)
            .await
            .map_err(|_| RegistryError::NoApp)?;
        let name = parameters.get("app").cloned().unwrap_or_default();
        let found = services.store.read(move |tx| match who {
            Who::Engine => apps::by_id(tx, &name).map(Some),
            Who::Token(token) => {
                let Some(token) = accounts::authenticate(tx, &token)? else { return Ok(None) };
                apps::for_account(tx, &token.account.id, &name).map(Some)
            }
        });
        match found.await {
            Ok(Some(app)) => Ok(Self { app }),
            Ok(None) => Err(RegistryError::Credentials),
            Err(StateError::NotFound(_)) => Err(RegistryError::NoApp),
            Err(error) => Err(error.into()),
        }
    }
}

fn who(images: &AppImages, headers: &HeaderMap) -> Result<Who, RegistryError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (user, password) = header.and_then(credentials).ok_or(RegistryError::Credentials)?;
    let key = images.key().as_bytes();
    if user == AppImages::USER && bool::from(password.as_bytes().ct_eq(key)) {
        return Ok(Who::Engine);
    }
    Ok(Who::Token(password))
}

/// User and password: a token as a bearer's, or as the password of Basic credentials (RFC 7617)
/// with any user.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, value) = header.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((String::new(), value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_docker_and_others_send_it() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (header, expected) in [
            (basic("me:secret"), Some(("me", "secret"))),
            (basic("me:se:cret"), Some(("me", "se:cret"))),
            (basic("secret"), None),
            ("bearer secret".into(), Some(("", "secret"))),
            ("Digest secret".into(), None),
            ("Basic !".into(), None),
            (String::new(), None),
        ] {
            let found = credentials(&header);
            let found = found.as_ref().map(|(user, word)| (user.as_str(), word.as_str()));
            assert_eq!(found, expected, "{header}");
        }
    }
}
