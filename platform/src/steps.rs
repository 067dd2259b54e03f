//! The points that a push passes, told as debug events: a log shows them, `lathe bench push` times them.

/// Where they are told; `LATHE_LOG=lathe::push=debug` shows them.
pub const TARGET: &str = "lathe::push";

/// Where the loops tell how long a turn took; the cell's knows it under its own name.
pub const PACE: &str = lathe_dynos::PACE;

/// Says that a push has come to a point. With nobody listening it costs one comparison.
pub fn passed(point: &'static str) {
    tracing::debug!(target: TARGET, point);
}

/// Says how long a turn of a loop took.
pub fn turned(name: &'static str, took: std::time::Duration) {
    let took_ms = took.as_secs_f64() * 1000.0;
    tracing::debug!(target: PACE, name, took_ms);
}
