//! What a dyno's file system is made of: an image that the daemon has or can pull.

use super::daemon::{Daemon, Trouble};
use crate::spec::DynoSpec;
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
    fn image(&self, spec: &DynoSpec) -> Image;
}

/// Makes sure that the daemon has the image. One that it has is not asked for again: a name stands
/// for the same image for ever.
pub(super) async fn ensure(daemon: &Daemon, image: &Image) -> Result<(), Trouble> {
    if daemon.has_image(&image.reference).await? {
        return Ok(());
    }
    daemon.pull(image).await
}
