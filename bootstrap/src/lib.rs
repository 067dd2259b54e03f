//! Lathe compiled by Lathe, stage by stage: the `lathe` in each stage's slug builds the next.
//!
//! A stage is a platform of its own, on a data directory nobody has used, driven from outside as any
//! user would: by the executable's own verbs, by `git push` and by the API. There is no back door, and
//! what is compared is the whole slug, nothing of it left out.

mod bare;
mod builder;
mod check;
mod compiling;
mod downloads;
mod judge;
mod platform;
mod program;
mod progress;
mod report;
mod source;
mod stage;
mod stop;
mod surroundings;
mod table;

pub use bare::BareError;
pub use builder::{Builder, BuilderError};
pub use check::{CheckError, Plan, check};
pub use downloads::DownloadsError;
pub use judge::Verdict;
pub use platform::PlatformError;
pub use program::ProgramError;
pub use progress::{Progress, Step};
pub use report::{Comparison, Report, Stage};
pub use source::{Origin, SourceError, check_out};
pub use stage::StageError;
pub use stop::Stop;
pub use surroundings::{Surroundings, SurroundingsError};
