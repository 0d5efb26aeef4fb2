//! What tells flows apart.

use std::net::IpAddr;

use atoll_fabric::{L4, Packet};
use atoll_net::packet::{Headers, Transport};

use crate::port::PortSlot;

/// A flow in one direction, as words to compare: the port it comes in at, addresses, ports or ICMP's type, code
/// and identifier. (The MAC addresses are its path's.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    words: [u32; 10],
    protocol: u8,
    v6: bool,
}

impl Key {
    #[inline(always)]
    fn new(slot: PortSlot, src: IpAddr, dst: IpAddr, protocol: u8, numbers: (u16, u16)) -> Key {
        let mut words = [0; 10];
        words[0] = slot.0;
        words[1] = u32::from(numbers.0) << 16 | u32::from(numbers.1);
        let v6 = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                words[2] = src.to_bits();
                words[3] = dst.to_bits();
                false
            }
            (src, dst) => {
                let wide = |addr: IpAddr| match addr {
                    IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(a) => a.to_bits(),
                };
                for (n, addr) in [wide(src), wide(dst)].into_iter().enumerate() {
                    for part in 0..4 {
                        words[2 + n * 4 + part] = (addr >> (96 - 32 * part)) as u32;
                    }
                }
                true
            }
        };
        Key { words, protocol, v6 }
    }

    /// The key of a packet that came in at a port; `None` for fragments, which no key tells apart.
    #[inline(always)]
    pub(crate) fn of_headers(slot: PortSlot, headers: &Headers) -> Option<Key> {
        if headers.fragment.is_some() {
            return None;
        }
        let numbers = match headers.transport {
            Transport::Tcp { src, dst, .. } | Transport::Udp { src, dst } => (src, dst),
            Transport::Icmp { kind, code, id } => (id.unwrap_or(0), u16::from_be_bytes([kind, code])),
            Transport::Other => (0, 0),
            Transport::LaterFragment => return None,
        };
        Some(Key::new(
            slot,
            headers.src,
            headers.dst,
            headers.protocol,
            numbers,
        ))
    }

    /// The key of what answers a packet that leaves by a port.
    pub(crate) fn of_reply(slot: PortSlot, sent: &Packet) -> Key {
        let numbers = match sent.l4 {
            L4::Ports { src, dst, .. } => (dst, src),
            L4::Icmp { kind, code, id } => {
                let kind = match kind {
                    // Echo and timestamp, of both families.
                    0 => 8,
                    8 => 0,
                    13 => 14,
                    14 => 13,
                    128 => 129,
                    129 => 128,
                    other => other,
                };
                (id, u16::from_be_bytes([kind, code]))
            }
            L4::Other => (0, 0),
        };
        Key::new(slot, sent.dst, sent.src, sent.protocol, numbers)
    }

    #[inline]
    pub(crate) fn is_v6(&self) -> bool {
        self.v6
    }

    #[inline]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// A key from its parts.
    pub(super) fn from_words(words: [u32; 10], protocol: u8, v6: bool) -> Key {
        Key { words, protocol, v6 }
    }

    /// Slot, numbers, then the addresses: a word each in IPv4, four in IPv6, the highest first.
    #[inline]
    pub(crate) fn words(&self) -> &[u32; 10] {
        &self.words
    }
}
