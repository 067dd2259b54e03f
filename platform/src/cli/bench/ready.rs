//! What all ways to start a container share: the program as a slug, and a stack below it.

use super::{BenchError, probe};
use lathe_slug::{Ignore, PackLimits, SlugId, pack};
use std::fs;
use std::path::{Path, PathBuf};

/// A scratch directory in which every way has its own place.
pub(super) struct Ready {
    pub(super) dir: PathBuf,
    /// The least that is a root: what lies in it is no part of a start.
    pub(super) stack: PathBuf,
    pub(super) slug: Slug,
}

/// The program as an app's slug, packed.
pub(super) struct Slug {
    pub(super) id: SlugId,
    pub(super) archive: Vec<u8>,
}

impl Ready {
    pub(super) fn new(dir: &Path) -> Result<Self, BenchError> {
        let stack = dir.join("stack");
        for name in ["app", "dev", "etc", "proc", "sys", "tmp", "usr", "var"] {
            fs::create_dir_all(stack.join(name)).map_err(BenchError::at("make a stack"))?;
        }
        for (name, text) in
            [("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")]
        {
            fs::write(stack.join("etc").join(name), text)
                .map_err(BenchError::at("make a stack"))?;
        }
        let app = app(dir);
        probe::install(&app)?;
        let mut archive = Vec::new();
        let manifest = pack(&app, &Ignore::default(), &PackLimits::default(), &mut archive)?;
        let slug = Slug { id: manifest.id, archive };
        Ok(Self { dir: dir.to_owned(), stack, slug })
    }
}

/// The app unpacked, as a layer over the stack: the directory that holds `app`.
pub(super) fn layer(dir: &Path) -> PathBuf {
    dir.join("layer")
}

fn app(dir: &Path) -> PathBuf {
    layer(dir).join("app")
}
