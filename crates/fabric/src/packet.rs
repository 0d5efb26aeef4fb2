//! What the rules may see of a packet.

use std::net::IpAddr;

use atoll_model::EniId;
use atoll_net::{Family, Mac};

/// IP protocol numbers that the rules treat apart.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP flags, as in the header's 14th octet.
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Begin.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;
}

/// Where a packet comes in or goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// A network interface.
    Eni(EniId),
    /// The internet: everything outside the internet gateways.
    Internet,
}

/// The transport part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    /// TCP or UDP.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// TCP's flags ([`tcp`]); 0 for UDP.
        tcp_flags: u8,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier of a query or its answer; 0 for messages without one.
        id: u16,
    },
    /// Another protocol, or a later fragment whose first one nobody saw: no ports, so only rules about every
    /// port match it.
    Other,
}

/// What the header says about fragmentation, when it says that there is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Offset in bytes; 0 for the first fragment.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// The packet that an ICMP error quotes, as quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quote {
    /// Its source.
    pub src: IpAddr,
    /// Its destination.
    pub dst: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// Its ports or ICMP identifier, as far as they are quoted.
    pub l4: L4,
}

/// All that the rules may see of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Where it came in.
    pub ingress: Port,
    /// Source MAC; not looked at from [`Port::Internet`].
    pub src_mac: Mac,
    /// Destination MAC; not looked at from [`Port::Internet`].
    pub dst_mac: Mac,
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family (else `malformed`).
    pub dst: IpAddr,
    /// IP protocol; for IPv6 the upper-layer one, extension headers passed over.
    pub protocol: u8,
    /// Transport part. Later fragments carry their first one's ports, when the caller knows them.
    pub l4: L4,
    /// Time to live or hop limit as it came in.
    pub hop_limit: u8,
    /// Bytes of the IP packet as it goes on the wire; of a super-segment, headers and `gso_size` (semantics 129).
    pub length: u32,
    /// IPv4's DF bit; IPv6 never fragments in the network (semantics 130), whatever stands here.
    pub dont_fragment: bool,
    /// Fragmentation.
    pub fragment: Option<Fragment>,
    /// Of an ICMP error: what it quotes. `None` when the quotation cannot be read.
    pub quote: Option<Quote>,
}

impl Packet {
    /// IP version, by the destination.
    pub fn family(&self) -> Family {
        Family::of(self.dst)
    }

    /// Whether it must be walked even where a cached answer exists: its meaning depends on more than its flow's
    /// key, or it changes its flow's state (TCP's SYN, FIN and RST).
    pub fn always_walks(&self) -> bool {
        let flags = match self.l4 {
            L4::Ports { tcp_flags, .. } => tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0,
            L4::Icmp { .. } => self.is_icmp_error(),
            L4::Other => false,
        };
        flags || self.fragment.is_some() || self.quote.is_some()
    }

    /// Whether it is an ICMP or ICMPv6 error: a packet about another packet.
    pub fn is_icmp_error(&self) -> bool {
        match (self.protocol, self.l4) {
            (protocol::ICMP, L4::Icmp { kind, .. }) => matches!(kind, 3 | 4 | 5 | 11 | 12),
            (protocol::ICMPV6, L4::Icmp { kind, .. }) => kind < 128,
            _ => false,
        }
    }

    /// Whether it cannot be cut into fragments on the way.
    pub fn is_unfragmentable(&self) -> bool {
        self.dont_fragment || self.family() == Family::V6
    }
}

/// The 16 bits a rule's range speaks about: destination port, or ICMP type and code; `None` where there are none.
pub(crate) fn rule_key(packet: &Packet) -> Option<u16> {
    match (packet.protocol, packet.l4) {
        (protocol::TCP | protocol::UDP, L4::Ports { dst, .. }) => Some(dst),
        (protocol::ICMP | protocol::ICMPV6, L4::Icmp { kind, code, .. }) => {
            Some(u16::from(kind) << 8 | u16::from(code))
        }
        _ => None,
    }
}

/// [`rule_key`] of the packets that answer this one; `None` where ports do not say.
pub(crate) fn reversed_key(packet: &Packet) -> Option<u16> {
    match (packet.protocol, packet.l4) {
        (protocol::TCP | protocol::UDP, L4::Ports { src, .. }) => Some(src),
        _ => None,
    }
}
