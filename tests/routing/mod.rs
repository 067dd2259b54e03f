//! Requests while what they are routed to changes under them.

mod care;
mod deploys;
