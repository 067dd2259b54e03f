//! Archives made to do harm.
