//! From a dyno's pipes and the cell's mind to lines in the app's log.

pub(crate) mod last_words;
pub(crate) mod pump;
pub(crate) mod state_line;
pub(crate) mod voice;

pub use pump::carry;
