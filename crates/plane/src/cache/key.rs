//! What tells flows apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::flows::{BLOCK, FlowKey};
use atoll_fabric::packet::protocol;
use atoll_fabric::{L4, Packet, Quote};
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

    /// The key that a frame will have if it is the most common kind of a packet, all of whose fields stand at fixed
    /// places: TCP or UDP right behind an IP header without options, in one piece. Nothing is judged by it; it is
    /// for looking ahead ([`Key::is_of`]).
    #[inline(always)]
    pub(crate) fn at_a_glance(slot: PortSlot, frame: &[u8]) -> Option<Key> {
        let known = |protocol: u8| protocol == protocol::TCP || protocol == protocol::UDP;
        let head = frame.first_chunk::<38>()?;
        let word = |head: &[u8], at: usize| {
            let bytes = head.get(at..).and_then(|tail| tail.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let mut words = [0; 10];
        words[0] = slot.0;
        match (head[12], head[13]) {
            (0x08, 0x00) if head[14] == 0x45 && head[20] & 0x3f == 0 && head[21] == 0 && known(head[23]) => {
                words[1] = word(head, 34);
                words[2] = word(head, 26);
                words[3] = word(head, 30);
                Some(Key {
                    words,
                    protocol: head[23],
                    v6: false,
                })
            }
            (0x86, 0xdd) if known(head[20]) => {
                let head = frame.first_chunk::<58>()?;
                words[1] = word(head, 54);
                for (nth, part) in words[2..].iter_mut().enumerate() {
                    *part = word(head, 22 + 4 * nth);
                }
                Some(Key {
                    words,
                    protocol: head[20],
                    v6: true,
                })
            }
            _ => None,
        }
    }

    /// Whether it is the key of a packet that came in at its port.
    #[inline(always)]
    pub(crate) fn is_of(&self, headers: &Headers) -> bool {
        let (Transport::Tcp { src, dst, .. } | Transport::Udp { src, dst }) = headers.transport else {
            return false;
        };
        if headers.fragment.is_some() || self.protocol != headers.protocol {
            return false;
        }
        match (headers.src, headers.dst) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                !self.v6
                    && self.words[1] == (u32::from(src) << 16 | u32::from(dst))
                    && self.words[2] == from.to_bits()
                    && self.words[3] == to.to_bits()
            }
            _ => Key::of_headers(self.slot(), headers) == Some(*self),
        }
    }

    /// The key of a packet as the rules see it: a piece has that of the packet that it is of.
    pub(crate) fn of_packet(slot: PortSlot, packet: &Packet) -> Key {
        let numbers = match packet.l4 {
            L4::Ports { src, dst, .. } => (src, dst),
            L4::Icmp { kind, code, id } => (id, u16::from_be_bytes([kind, code])),
            L4::Other => (0, 0),
        };
        Key::new(slot, packet.src, packet.dst, packet.protocol, numbers)
    }

    /// The key of what answers the packet that an ICMP error quotes, where that error comes in and so the quoted packet went
    /// out; `None` if it has no ports.
    pub(crate) fn of_quoted(slot: PortSlot, quote: &Quote) -> Option<Key> {
        let L4::Ports { src, dst, .. } = quote.l4 else {
            return None;
        };
        Some(Key::new(slot, quote.dst, quote.src, quote.protocol, (dst, src)))
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

    /// The same whatever the source port: what a decision is about.
    pub(crate) fn any_source_port(&self) -> Key {
        let mut ask = *self;
        ask.words[1] &= 0xffff;
        ask
    }

    /// The same with a source port.
    pub(crate) fn with_source_port(&self, port: u16) -> Key {
        let mut key = *self;
        key.words[1] = u32::from(port) << 16 | key.words[1] & 0xffff;
        key
    }

    /// The same whatever the source port's low byte: what a decision is about where a NAT gateway is on the way.
    pub(crate) fn any_port_of_block(&self) -> Key {
        let mut ask = *self;
        ask.words[1] &= !(u32::from(BLOCK - 1) << 16);
        ask
    }

    /// The same whatever the destination port: what answers such.
    pub(crate) fn any_destination_port(&self) -> Key {
        let mut key = *self;
        key.words[1] &= 0xffff_0000;
        key
    }

    #[inline]
    pub(crate) fn is_v6(&self) -> bool {
        self.v6
    }

    #[inline]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The port that the flow comes in at.
    pub(crate) fn slot(&self) -> PortSlot {
        PortSlot(self.words[0])
    }

    /// Source and destination.
    pub(crate) fn addresses(&self) -> (IpAddr, IpAddr) {
        let words = &self.words;
        if !self.v6 {
            let address = |at: usize| IpAddr::V4(Ipv4Addr::from_bits(words[at]));
            return (address(2), address(3));
        }
        let address = |at: usize| {
            let bits = words[at..at + 4]
                .iter()
                .fold(0, |bits, word| bits << 32 | u128::from(*word));
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        (address(2), address(6))
    }

    /// The transport part, as far as it tells flows apart; without TCP's flags.
    pub(crate) fn l4(&self) -> L4 {
        let (first, second) = ((self.words[1] >> 16) as u16, self.words[1] as u16);
        match self.protocol {
            protocol::TCP | protocol::UDP => L4::Ports {
                src: first,
                dst: second,
                tcp_flags: 0,
            },
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code] = second.to_be_bytes();
                L4::Icmp {
                    kind,
                    code,
                    id: first,
                }
            }
            _ => L4::Other,
        }
    }

    /// The connection that it is of, as whoever sends it sees that: of ports, as a glance finds them.
    pub(crate) fn connection(&self) -> FlowKey {
        let (local, remote) = self.addresses();
        FlowKey {
            local,
            remote,
            protocol: self.protocol,
            local_port: (self.words[1] >> 16) as u16,
            remote_port: self.words[1] as u16,
        }
    }

    /// A key from its parts.
    pub(crate) fn from_words(words: [u32; 10], protocol: u8, v6: bool) -> Key {
        Key { words, protocol, v6 }
    }

    /// Slot, numbers, then the addresses: a word each in IPv4, four in IPv6, the highest first.
    #[inline]
    pub(crate) fn words(&self) -> &[u32; 10] {
        &self.words
    }
}
