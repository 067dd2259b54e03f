//! What a slug is: one gzip tar under `./app/`, written by the compiler and read by the runtime.

mod id;

pub use id::{ParseSlugIdError, SlugId};
