//! The end-to-end tests: real git, real containers, real clients; and the properties of the source.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod api;
mod backup;
mod bench;
mod bootstrap;
mod build;
mod buildpacks;
mod clock;
mod cold;
mod credit;
mod drill;
mod durable;
mod engines;
mod fuzz;
mod heroku;
mod hosting;
mod https;
mod logs;
mod neighbours;
mod push;
mod reach;
mod releases;
mod routing;
mod run;
mod serve;
mod slugs;
mod state;
mod survive;
mod tidy;
mod upgrade;
