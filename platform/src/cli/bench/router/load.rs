//! The load: Debian's wrk asks from many connections, the next request as soon as one is answered.

use super::super::BenchError;
use super::HOST;
use super::rival::{Places, on};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

/// Says figures in place of wrk's own text: requests, microseconds, failures, latencies.
const SCRIPT: &str = "done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n@ %d %d %d %d %d\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50.0), latency:percentile(99.0)))
end
";

/// What to ask, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) connections: u32,
    /// Whether a connection is used again.
    pub(super) keep_alive: bool,
    pub(super) seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Answers {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    pub(super) failures: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

pub(super) fn ask(
    address: SocketAddr,
    ask: Ask,
    dir: &Path,
    places: &Places,
) -> Result<Answers, BenchError> {
    let script = dir.join("wrk.lua");
    fs::write(&script, SCRIPT).map_err(BenchError::at("write a script"))?;
    let mut command = on(places.others.as_ref(), Path::new("/usr/bin/wrk"));
    command.args(["--threads", "1", "--timeout", "30"]);
    command.args(["--connections", &ask.connections.to_string()]);
    command.args(["--duration", &format!("{}s", ask.seconds)]);
    command.arg("--script").arg(script);
    command.args(["--header", &format!("Host: {HOST}")]);
    if !ask.keep_alive {
        command.args(["--header", "Connection: close"]);
    }
    command.arg(format!("http://{address}/things/4711"));
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::at("run wrk"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || io::Error::other(format!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    parse(&text).ok_or_else(|| BenchError::at("understand wrk")(said()))
}

fn parse(text: &str) -> Option<Answers> {
    let line = text.lines().find_map(|line| line.strip_prefix("@ "))?;
    let figures: Vec<u32> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [requests, micros, failures, p50_us, p99_us] = figures.try_into().ok()?;
    let ms = |micros: u32| f64::from(micros) / 1000.0;
    (requests > 0).then(|| Answers {
        requests: requests.into(),
        seconds: f64::from(micros) / 1e6,
        failures: failures.into(),
        p50_ms: ms(p50_us),
        p99_ms: ms(p99_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_wrk_says() {
        let said = "Running 1s test\n  Req/Sec  10k\n\n@ 40000 1000000 2 812 7400\n";
        let expected =
            Answers { requests: 40_000, seconds: 1.0, failures: 2, p50_ms: 0.812, p99_ms: 7.4 };
        assert_eq!(parse(said), Some(expected));
        for nothing in ["", "@ 0 1000000 0 0 0\n", "@ 1 2 3\n", "@ a b c d e\n"] {
            assert_eq!(parse(nothing), None);
        }
    }
}
