//! `lathe bench work`: what the dynos of a measurement run. It ends when its standard input does.

mod document;
mod serve;
mod spin;

pub(super) use serve::{PORT, Run};

use super::BenchError;
use clap::Subcommand;
use std::io::Read;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Work {
    /// Uses all the CPU it gets, now and then or all the time
    Spin(spin::Spin),
    /// Answers requests that each cost the same CPU time
    Serve(serve::Serve),
}

pub(super) fn work(what: &Work) -> Result<(), BenchError> {
    std::thread::spawn(|| {
        let mut nothing = Vec::new();
        // Whether it ends or fails: nobody holds the other end any more.
        drop(std::io::stdin().take(1).read_to_end(&mut nothing));
        std::process::exit(0);
    });
    match what {
        Work::Spin(how) => {
            spin::spin(how);
            Ok(())
        }
        Work::Serve(how) => serve::serve(how),
    }
}
