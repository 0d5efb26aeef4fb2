//! Frames: reading them, translating them, answering them.
//!
//! [`parse`] turns the bytes of an Ethernet frame into [`Headers`]: where the headers stand and what they say,
//! without copying. [`rewrite`](rewrite()) changes addresses, ports and hop limits with incremental checksums;
//! [`answer`] builds what a router sends back by itself (ICMP errors, TCP resets), [`arp`] and [`ndp`] what it
//! says about neighbours; [`fragment`](fragment()) cuts IPv4 packets, [`segment`](segment()) super-segments.
//!
//! Everything here takes bytes that a hostile tenant chose: nothing panics, every walk over headers is bounded.

pub mod answer;
pub mod arp;
pub mod checksum;
mod fragment;
mod frame;
pub mod ndp;
mod quote;
mod rewrite;
mod segment;

pub use answer::{IcmpError, icmp_error, tcp_reset};
pub use checksum::{Change, Sum, TransportChecksum};
pub use fragment::{FragmentError, fragment};
pub use frame::{
    ETHERNET_HEADER, Fragment, Frame, Headers, LONGEST, Malformed, Transport, is_icmp_error, parse, protocol,
    tcp_flags,
};
pub use quote::{Quote, quote};
pub use rewrite::{
    Rewrite, RewriteError, clamp_mss, complete_checksum, complete_crc, lower_hop_limit, rewrite,
    rewrite_quote, set_macs,
};
pub use segment::segment;

/// `N` bytes at an offset, if they are there.
fn bytes_at<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..)?.first_chunk::<N>().copied()
}

/// `N` bytes at an offset for writing, if they are there.
fn bytes_at_mut<const N: usize>(frame: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    frame.get_mut(at..)?.first_chunk_mut::<N>()
}

#[cfg(test)]
mod tests;
