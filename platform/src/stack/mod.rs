//! The stacks: the base file systems on which slugs are compiled and dynos run.
//!
//! Both are Debian, made by debootstrap. The build stack is a full copy of the run stack with
//! more packages: a copy costs half a gigabyte of disk once, and in return neither tree can
//! change the other. (Hard links would: package scripts write `ld.so.cache` and others in place.)
//! They are built together, so that what is compiled against the one finds the very same
//! libraries in the other.

mod assemble;
mod clean;
mod jail;
mod known;
mod layer;
mod recipe;
mod shelf;

pub use known::Known;
pub use layer::{Layer, LayerError};
pub use recipe::{BUILD, HEROKU_STACK, RUN, Recipe};
pub use shelf::{Record, ShelfError};

use crate::config::Config;
use crate::host::tool::ToolError;
use shelf::{Shelf, Shelved};
use std::path::PathBuf;

/// A base file system on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// `lathe-12`
    pub name: String,
    /// SHA-256 over its recipe and the versions of all its packages, in hexadecimal.
    pub digest: String,
    /// The directory to mount; read-only for whoever mounts it.
    pub root: PathBuf,
}

/// The two stacks that belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stacks {
    pub run: Stack,
    pub build: Stack,
}

/// Why there is no stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("building a stack takes root")]
    NotRoot,
    #[error("the stacks that were just built are gone again")]
    Gone,
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("{step} of stack {stack}")]
    Step {
        stack: &'static str,
        step: &'static str,
        #[source]
        source: ToolError,
    },
    #[error("cannot {step} in stack {stack}")]
    File {
        stack: &'static str,
        step: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl StackError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotRoot => {
                "Run `sudo lathe stacks:build` once; the stacks then serve any user.".into()
            }
            Self::Gone => "Somebody else removes what is in stacks.dir; see who.".into(),
            Self::Shelf(_) => {
                "Check that stacks.dir is on a disk with 3 GB free and that root may write there."
                    .into()
            }
            Self::Step { source, .. } => source.remedy(),
            Self::File { .. } => "Check the disk below stacks.dir, then try again.".into(),
        }
    }
}

/// Finds the stacks this configuration asks for, and builds them when there are none.
/// Waits while another process builds them.
pub fn ensure(config: &Config, progress: &mut dyn FnMut(&str)) -> Result<Stacks, StackError> {
    let shelf = Shelf::at(&config.stacks.dir);
    if let Some(found) = newest(&shelf, config)? {
        return Ok(found);
    }
    require_root()?;
    let lock = shelf.lock(progress)?;
    if let Some(found) = newest(&shelf, config)? {
        return Ok(found);
    }
    assemble::both(config, &lock, progress)?;
    newest(&shelf, config)?.ok_or(StackError::Gone)
}

/// Builds both stacks anew from what the mirror has now, beside the old ones, which stay.
pub fn renew(config: &Config, progress: &mut dyn FnMut(&str)) -> Result<(), StackError> {
    require_root()?;
    let lock = Shelf::at(&config.stacks.dir).lock(progress)?;
    assemble::both(config, &lock, progress)
}

/// Whether somebody builds stacks at this moment.
pub fn is_building(config: &Config) -> bool {
    Shelf::at(&config.stacks.dir).is_locked()
}

/// The stack with this digest, if it is on this machine: what an app was compiled for. An error says
/// that it may be.
pub fn find(config: &Config, digest: &str) -> Result<Option<Stack>, StackError> {
    let found = Shelf::at(&config.stacks.dir).find(digest)?;
    Ok(found.map(Shelved::into_stack))
}

/// All stacks on this machine, newest first.
pub fn list(config: &Config) -> Result<Vec<(Stack, Record)>, StackError> {
    let shelved = Shelf::at(&config.stacks.dir).list()?;
    Ok(shelved.into_iter().map(|stack| (stack.clone().into_stack(), stack.record)).collect())
}

/// The newest build stack of the wanted recipe whose run stack is there and wanted too.
fn newest(shelf: &Shelf, config: &Config) -> Result<Option<Stacks>, ShelfError> {
    let run_recipe = Recipe::run(&config.stacks).digest();
    let build_recipe = Recipe::build(&config.stacks).digest();
    let shelved = shelf.list()?;
    let run_of = |build: &Shelved| {
        let below = build.record.base.as_deref()?;
        shelved.iter().find(|run| run.record.digest == below && run.record.recipe == run_recipe)
    };
    Ok(shelved.iter().filter(|stack| stack.record.recipe == build_recipe).find_map(|build| {
        let run = run_of(build)?.clone().into_stack();
        Some(Stacks { run, build: build.clone().into_stack() })
    }))
}

fn require_root() -> Result<(), StackError> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(StackError::NotRoot) }
}
