//! The Buildpack API contract, told by small buildpacks made for one question each.
#![expect(clippy::unwrap_used, reason = "a test may panic anywhere")]

mod bench;
mod builds;
mod builtin;
mod choices;
mod hostile;
mod test_runs;
mod worker;
