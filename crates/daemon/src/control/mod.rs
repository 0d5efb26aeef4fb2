//! What is not AWS's API: asked over a unix socket of mode 0600, one JSON document a line each way.
//!
//! [`protocol`] is what both sides say ([`flows`]: about flows), `server` answers, [`client`] asks.
//! [`follow`] is what a region's host and its other hosts say to each other, for as long as a connection lasts.

pub mod client;
pub mod flows;
pub mod follow;
pub mod protocol;
pub(crate) mod server;
