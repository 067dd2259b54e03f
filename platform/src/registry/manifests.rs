//! Manifests: by tag, which finds a slug; by digest, which is compared with those of all slugs.

use super::access::Pull;
use super::error::RegistryError;
use super::form::Form;
use super::image::{Document, Image};
use super::reference::Reference;
use crate::engine::SlugTag;
use crate::services::Services;
use crate::stack::{self, Layer};
use crate::state::model::{App, Slug};
use crate::state::{StateError, Tx, releases, slugs};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;

pub(super) async fn show(
    State(services): State<Services>,
    pull: Pull,
    Path((_, reference)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, RegistryError> {
    let reference = Reference::parse(&reference).ok_or(RegistryError::NoManifest)?;
    let form = Form::accepted(
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()),
    );
    let (form, manifest) = match reference {
        Reference::Digest(digest) => by_digest(&services, pull.app, &digest).await?,
        tag => {
            let slug = by_tag(&services, pull.app, tag).await?;
            let layer = layer(&services, &slug.stack).await?;
            let image = Image::of(&slug, &layer).ok_or(RegistryError::NoManifest)?;
            (form, image.manifest(form))
        }
    };
    let digest = format!("sha256:{}", manifest.digest);
    let about = [
        (header::CONTENT_TYPE, form.manifest().to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
        (super::DIGEST, digest),
    ];
    Ok((about, manifest.bytes).into_response())
}

/// The slug that a tag means.
async fn by_tag(services: &Services, app: App, tag: Reference) -> Result<Slug, RegistryError> {
    let found = services.store.read(move |tx| tagged(tx, &app, &tag)).await;
    match found {
        Ok(Some(slug)) => Ok(slug),
        Ok(None) | Err(StateError::NotFound(_)) => Err(RegistryError::NoManifest),
        Err(error) => Err(error.into()),
    }
}

fn tagged(tx: &Tx<'_>, app: &App, tag: &Reference) -> Result<Option<Slug>, StateError> {
    let version = match tag {
        Reference::Latest => app.current,
        Reference::Release(version) => Some(*version),
        Reference::Slug(SlugTag { slug, stack }) => {
            let slugs = slugs::whole(tx, &app.id)?;
            let same = |s: &Slug| s.digest == Some(*slug) && s.stack.starts_with(stack.as_str());
            return Ok(slugs.into_iter().find(same));
        }
        Reference::Digest(_) => None,
    };
    let release = version.map(|version| releases::by_version(tx, &app.id, version)).transpose()?;
    Ok(release.and_then(|release| release.slug))
}

/// A manifest that somebody has been given before: the layers that it names have been made.
async fn by_digest(
    services: &Services,
    app: App,
    digest: &str,
) -> Result<(Form, Document), RegistryError> {
    for (slug, layer) in of_app(services, app).await? {
        let Some(image) = Image::of(&slug, &layer) else { continue };
        for form in Form::ALL {
            let manifest = image.manifest(form);
            if manifest.digest == digest {
                return Ok((form, manifest));
            }
        }
    }
    Err(RegistryError::NoManifest)
}

/// The slugs of an app whose stacks have their layers, newest first.
pub(super) async fn of_app(
    services: &Services,
    app: App,
) -> Result<Vec<(Slug, Layer)>, RegistryError> {
    let slugs = services.store.read(move |tx| slugs::whole(tx, &app.id)).await?;
    let config = services.config.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut layers: HashMap<String, Option<Layer>> = HashMap::new();
        for (stack, _) in stack::list(&config)? {
            layers.insert(stack.digest.clone(), Layer::kept(&stack));
        }
        let with_layer = |slug: Slug| Some((layers.get(&slug.stack)?.clone()?, slug));
        let known = slugs.into_iter().filter_map(with_layer);
        Ok(known.map(|(layer, slug)| (slug, layer)).collect())
    });
    read.await.map_err(|_| RegistryError::Interrupted)?
}

/// The layer of the stack with this digest, made if need be.
async fn layer(services: &Services, stack: &str) -> Result<Layer, RegistryError> {
    let (config, digest) = (services.config.clone(), stack.to_owned());
    let made = tokio::task::spawn_blocking(move || {
        let stack = stack::find(&config, &digest)?.ok_or(RegistryError::NoManifest)?;
        Ok(Layer::of(&stack)?)
    });
    made.await.map_err(|_| RegistryError::Interrupted)?
}
