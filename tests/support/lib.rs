//! What the end-to-end tests share: a platform to drive, and real clients to drive it with.
