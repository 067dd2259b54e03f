//! What a dyno's file system is made of: an image that the daemon has or can pull.

use super::daemon::Trouble;
use super::engine::Shared;
use crate::spec::DynoSpec;
use std::collections::BTreeSet;
use std::fmt;

/// An image by a name that the daemon understands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// `127.0.0.1:5000/app:v7`.
    pub reference: String,
    /// For the registry in it.
    pub credentials: Option<Credentials>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whoever knows where a stack with a slug on it can be had as an image.
pub trait Images: fmt::Debug + Send + Sync {
    /// None for a dyno that has none.
    fn image(&self, spec: &DynoSpec) -> Option<Image>;

    /// Whether an image that the daemon has is one of those that were pulled for dynos, and goes
    /// when none is made of it.
    fn is_ours(&self, reference: &str) -> bool;
}

/// Makes sure that the daemon has the image. One that it has is not asked for again: a name stands
/// for the same image for ever.
pub(super) async fn ensure(shared: &Shared, image: &Image) -> Result<(), Trouble> {
    if shared.daemon.has_image(&image.reference).await? {
        return Ok(());
    }
    shared.daemon.pull(image).await?;
    // Whenever one comes, others may have become superfluous.
    tidy(shared).await;
    Ok(())
}

/// Removes images that no dyno is made of. One that another dyno's start has just asked for is
/// pulled again.
async fn tidy(shared: &Shared) {
    let Ok(there) = shared.daemon.images().await else { return };
    let images = &shared.config.images;
    let used: BTreeSet<String> = shared
        .dynos()
        .values()
        .filter_map(|dyno| Some(images.image(&dyno.known.spec)?.reference))
        .collect();
    for reference in there.iter().filter(|r| images.is_ours(r) && !used.contains(*r)) {
        match shared.daemon.remove_image(reference).await {
            Ok(()) | Err(Trouble::Missing) => {}
            Err(error) => tracing::warn!(%error, reference, "an image cannot be removed"),
        }
    }
}
