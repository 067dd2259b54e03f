//! Requests while what they are routed to changes under them.

pub(crate) mod apart;
mod care;
mod deploys;
