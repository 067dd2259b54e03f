//! Nothing to start.
