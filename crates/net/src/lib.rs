//! Addresses and bytes: what every other room says about IP without knowing about AWS.
//!
//! Here are MAC addresses ([`Mac`]), prefixes that cannot hold host bits ([`Prefix`]), longest-prefix-match
//! tables ([`LpmTable`]), protocol and port ranges, and (in [`packet`]) views of frames with the rewriting and
//! checksum arithmetic that translation needs. Nothing here knows a VPC, holds a clock or does I/O.
//!
//! Start at [`prefix`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod lpm;
pub mod mac;
pub mod packet;
pub mod ports;
pub mod prefix;

pub use lpm::LpmTable;
pub use mac::Mac;
pub use ports::PortRange;
pub use prefix::{Family, Prefix, PrefixError};
