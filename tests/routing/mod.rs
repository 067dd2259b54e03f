//! Requests while what they are routed to changes under them.

mod apart;
mod care;
mod deploys;
