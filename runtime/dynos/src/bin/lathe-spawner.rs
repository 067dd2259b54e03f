//! The engine's helpers as a program of their own, `lathe-spawner spawner --dir <dir>` and
//! `lathe-spawner visitor --dir <dir>`: for tests and for engines used without the `lathe` binary.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let words = [arguments.next(), arguments.next()];
    let (Some(dir), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        return usage();
    };
    if words == [Some("visitor".into()), Some("--dir".into())] {
        return match lathe_dynos::native::visitor::run(&dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if words != [Some("spawner".into()), Some("--dir".into())] {
        return usage();
    }
    match lathe_dynos::native::spawner::run(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "lathe-spawner: {error}: {}",
                error.source().map_or(String::new(), ToString::to_string)
            );
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: lathe-spawner spawner|visitor --dir <dir>");
    ExitCode::from(64)
}
