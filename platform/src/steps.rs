//! The points that a push passes, told as debug events: a log shows them, `lathe bench push` times them.

/// Where they are told; `LATHE_LOG=lathe::push=debug` shows them.
pub const TARGET: &str = "lathe::push";

/// Says that a push has come to a point. With nobody listening it costs one comparison.
pub fn passed(point: &'static str) {
    tracing::debug!(target: TARGET, point);
}
