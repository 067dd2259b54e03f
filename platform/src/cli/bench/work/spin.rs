//! A hog: threads that count as fast as they can, with pauses if asked to.

use clap::Args;
use nix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the clock; about 0.1 ms.
const COUNTS: u64 = 100_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Spin {
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Milliseconds of work before each pause
    #[arg(long, default_value_t = 1000)]
    on_ms: u64,
    #[arg(long, default_value_t = 0)]
    off_ms: u64,
    /// Milliseconds to wait before it begins
    #[arg(long, default_value_t = 0)]
    after_ms: u64,
    /// Milliseconds of processor time of all threads after which it only rests
    #[arg(long, default_value_t = u64::MAX)]
    cpu_ms: u64,
}

pub(super) fn spin(how: &Spin) {
    let [on, off, after] = [how.on_ms, how.off_ms, how.after_ms].map(Duration::from_millis);
    let budget = Duration::from_millis(how.cpu_ms);
    thread::scope(|scope| {
        for _ in 0..how.threads {
            scope.spawn(move || {
                thread::sleep(after);
                while spent() < budget {
                    count(on, budget);
                    thread::sleep(off);
                }
                thread::sleep(Duration::MAX);
            });
        }
    });
}

fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn count(time: Duration, budget: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time && spent() < budget {
        for number in 0..COUNTS {
            black_box(number);
        }
    }
}
