//! The end-to-end tests: real git, real containers, real clients.
