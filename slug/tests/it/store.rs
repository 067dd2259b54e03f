//! The store, and what crashes leave it.
