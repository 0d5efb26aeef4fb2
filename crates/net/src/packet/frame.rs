//! From bytes to headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::{arp, bytes_at};
use crate::Mac;

/// Length of an Ethernet II header; the IP header stands behind it.
pub const ETHERNET_HEADER: usize = 14;

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}

/// Bits of the TCP flags octet.
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// Longest IPv4 packet whose header says its length, in bytes. What is longer is a super-segment, which never travels
/// on a wire as it is.
pub const LONGEST: usize = 65_535;

/// Most IPv6 extension headers that are followed; real packets have at most three.
const MAX_EXTENSION_HEADERS: usize = 8;

/// A frame, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An ARP packet over Ethernet for IPv4.
    Arp(arp::Arp),
    /// An IP packet.
    Ip(Headers),
}

/// What a frame's headers say and where they stand. Offsets count from the frame's first byte and were checked
/// against the frame that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The sender on the link.
    pub src_mac: Mac,
    /// The receiver on the link.
    pub dst_mac: Mac,
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// The protocol behind the IP header and its extension headers.
    pub protocol: u8,
    /// IPv4's time to live, IPv6's hop limit.
    pub hop_limit: u8,
    /// IPv4's flag; always set for IPv6, which nobody fragments on the way (semantics 130).
    pub dont_fragment: bool,
    /// The place of this piece in a fragmented packet.
    pub fragment: Option<Fragment>,
    /// What the transport header says.
    pub transport: Transport,
    /// Where the transport header, or a later fragment's data, begins.
    pub transport_at: usize,
    /// Where the IP packet ends; Ethernet's padding may follow.
    pub end: usize,
}

impl Headers {
    /// Bytes of the IP packet: its header and everything behind it.
    pub fn length(&self) -> usize {
        self.end - ETHERNET_HEADER
    }
}

/// A piece of a fragmented packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What all pieces have in common (16 bits in IPv4).
    pub id: u32,
    /// Where in the whole its data begins, in bytes.
    pub offset: u16,
    /// Whether pieces follow.
    pub more: bool,
}

/// What a transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// The flags octet, see [`tcp_flags`].
        flags: u8,
        /// Length of the header with its options, in bytes.
        header: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The identifier of an echo or timestamp message and of its reply.
        id: Option<u16>,
    },
    /// Another protocol, told by its number alone.
    Other,
    /// A fragment that is not the first has no transport header.
    LaterFragment,
}

/// Why a frame is not looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its headers say or need.
    #[error("the frame ends inside its headers")]
    Truncated,
    /// Not IPv4, IPv6 or ARP in Ethernet II; VLAN-tagged frames are of this kind.
    #[error("EtherType {0:#06x} is none of IPv4, IPv6 and ARP")]
    EtherType(u16),
    /// The source MAC has the group bit.
    #[error("the source MAC is a group address")]
    SourceMac,
    /// The version does not agree with the EtherType, or a header length is impossible.
    #[error("the IP header's version or length is impossible")]
    IpHeader,
    /// IPv4 options name places that the packet has still to go to (RFC 7126, 4.3): its destination is not the one that
    /// rules are asked about.
    #[error("the packet is source-routed")]
    SourceRoute,
    /// The IPv4 header checksum is wrong.
    #[error("the IPv4 header checksum is wrong")]
    HeaderChecksum,
    /// Too many IPv6 extension headers, one twice that may stand once, hop-by-hop options elsewhere than at the beginning
    /// (RFC 8200, 4.1), or source routing (RFC 5095).
    #[error("the IPv6 extension headers are not acceptable")]
    ExtensionHeaders,
    /// A fragment that hides its transport header or exceeds 65,535 bytes (RFC 1858, RFC 3128).
    #[error("the fragment hides its transport header or is out of range")]
    Fragment,
    /// A TCP, UDP or ICMP header whose lengths are impossible.
    #[error("the transport header is impossible")]
    Transport,
    /// An ARP packet that is not for IPv4 over Ethernet, or says another sender than its frame.
    #[error("the ARP packet is impossible")]
    Arp,
}

/// Reads a frame.
#[inline(always)]
pub fn parse(frame: &[u8]) -> Result<Frame, Malformed> {
    let ethernet = frame
        .first_chunk::<ETHERNET_HEADER>()
        .ok_or(Malformed::Truncated)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
    let dst_mac = Mac([d0, d1, d2, d3, d4, d5]);
    let src_mac = Mac([s0, s1, s2, s3, s4, s5]);
    if src_mac.is_multicast() {
        return Err(Malformed::SourceMac);
    }
    match u16::from_be_bytes([t0, t1]) {
        0x0800 => ipv4(frame, src_mac, dst_mac).map(Frame::Ip),
        0x86dd => ipv6(frame, src_mac, dst_mac).map(Frame::Ip),
        0x0806 => arp::parse(frame).map(Frame::Arp),
        other => Err(Malformed::EtherType(other)),
    }
}

#[inline(always)]
fn ipv4(frame: &[u8], src_mac: Mac, dst_mac: Mac) -> Result<Headers, Malformed> {
    let header = bytes_at::<20>(frame, ETHERNET_HEADER).ok_or(Malformed::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let mut total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // A super-segment of TCP that no length can say has none ("BIG TCP"); no other frame is as long.
    if total == 0 && frame.len() > ETHERNET_HEADER + LONGEST && header[9] == protocol::TCP {
        total = frame.len() - ETHERNET_HEADER;
    }
    if header[0] >> 4 != 4 || header_len < 20 || total < header_len {
        return Err(Malformed::IpHeader);
    }
    let end = ETHERNET_HEADER + total;
    let transport_at = ETHERNET_HEADER + header_len;
    if frame.len() < end {
        return Err(Malformed::Truncated);
    }
    let whole = frame
        .get(ETHERNET_HEADER..transport_at)
        .ok_or(Malformed::Truncated)?;
    if Sum::default().bytes(whole).fold() != 0xffff {
        return Err(Malformed::HeaderChecksum);
    }
    if header_len > 20 && is_source_routed(whole.get(20..).unwrap_or_default()) {
        return Err(Malformed::SourceRoute);
    }
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let (offset, more) = ((flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let fragment = (offset != 0 || more).then(|| Fragment {
        id: u32::from(u16::from_be_bytes([header[4], header[5]])),
        offset,
        more,
    });
    // What the pieces make has one header in front, whose length counts too.
    if fragment.is_some() && usize::from(offset) + total > LONGEST {
        return Err(Malformed::Fragment);
    }
    let protocol = header[9];
    let transport = transport(frame, protocol, protocol::ICMP, fragment, transport_at, end)?;
    Ok(Headers {
        src_mac,
        dst_mac,
        src: IpAddr::V4(ipv4_address(&header, 12)),
        dst: IpAddr::V4(ipv4_address(&header, 16)),
        protocol,
        hop_limit: header[8],
        dont_fragment: flags & 0x4000 != 0,
        fragment,
        transport,
        transport_at,
        end,
    })
}

/// Whether IPv4 options hold a loose or strict source route that is not at its end, or cannot be read.
#[cold]
fn is_source_routed(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => return false,
            1 => options = rest,
            _ => {
                let length = rest.first().map_or(0, |length| usize::from(*length));
                let Some((option, rest)) = options.split_at_checked(length) else {
                    return true;
                };
                // The pointer to the next place, counted from one.
                let route = kind == 131 || kind == 137;
                if length < 2 || (route && option.get(2).is_none_or(|next| usize::from(*next) <= length)) {
                    return true;
                }
                options = rest;
            }
        }
    }
    false
}

#[inline]
fn ipv6(frame: &[u8], src_mac: Mac, dst_mac: Mac) -> Result<Headers, Malformed> {
    let header = bytes_at::<40>(frame, ETHERNET_HEADER).ok_or(Malformed::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed::IpHeader);
    }
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = ETHERNET_HEADER + 40 + payload;
    if frame.len() < end {
        return Err(Malformed::Truncated);
    }
    let extensions = skip_extensions(frame, header[6], ETHERNET_HEADER + 40, end)?;
    let transport = transport(
        frame,
        extensions.protocol,
        protocol::ICMPV6,
        extensions.fragment,
        extensions.end,
        end,
    )?;
    Ok(Headers {
        src_mac,
        dst_mac,
        src: IpAddr::V6(ipv6_address(&header, 8)),
        dst: IpAddr::V6(ipv6_address(&header, 24)),
        protocol: extensions.protocol,
        hop_limit: header[7],
        dont_fragment: true,
        fragment: extensions.fragment,
        transport,
        transport_at: extensions.end,
        end,
    })
}

/// The address at an offset of an IPv4 header, 12 or 16. Read as one word: four bytes written apart and read as a
/// word again cost a stall.
#[inline(always)]
fn ipv4_address(header: &[u8; 20], at: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from_be_bytes(bytes_at::<4>(header, at).unwrap_or_default()))
}

/// The address at an offset of an IPv6 header; the offsets are constants below 25.
#[inline]
fn ipv6_address(header: &[u8; 40], at: usize) -> Ipv6Addr {
    Ipv6Addr::from(bytes_at::<16>(header, at).unwrap_or_default())
}

/// Where a chain of extension headers leads.
pub(super) struct Extensions {
    /// What stands behind them.
    pub protocol: u8,
    /// Where.
    pub end: usize,
    /// The fragment header's saying. An atomic fragment (RFC 6946) counts as unfragmented.
    pub fragment: Option<Fragment>,
}

/// Follows IPv6 extension headers from `at`, where one of kind `next` stands, not beyond `end`.
#[inline]
pub(super) fn skip_extensions(
    frame: &[u8],
    mut next: u8,
    mut at: usize,
    end: usize,
) -> Result<Extensions, Malformed> {
    let mut fragment = None;
    let mut fragmented = false;
    let beginning = at;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let [following, length, kind, left] = bytes_at::<4>(frame, at).ok_or(Malformed::Truncated)?;
                // RFC 5095: routing header type 0 is refused; so is every one with segments left, whose
                // destination is not the one that rules are asked about.
                let routed = next == protocol::ROUTING && (kind == 0 || left != 0);
                if routed || (next == protocol::HOP_BY_HOP && at != beginning) {
                    return Err(Malformed::ExtensionHeaders);
                }
                at += (usize::from(length) + 1) * 8;
                next = following;
            }
            protocol::FRAGMENT => {
                let [following, _, o0, o1, i0, i1, i2, i3] =
                    bytes_at::<8>(frame, at).ok_or(Malformed::Truncated)?;
                if fragmented {
                    return Err(Malformed::ExtensionHeaders);
                }
                fragmented = true;
                let field = u16::from_be_bytes([o0, o1]);
                let (offset, more) = (field & 0xfff8, field & 1 != 0);
                if offset != 0 || more {
                    let id = u32::from_be_bytes([i0, i1, i2, i3]);
                    fragment = Some(Fragment { id, offset, more });
                }
                at += 8;
                next = following;
                // What stands in a later fragment is data, whatever it looks like.
                if offset != 0 {
                    break;
                }
            }
            _ => break,
        }
        if at > end {
            return Err(Malformed::Truncated);
        }
    }
    if at > end {
        return Err(Malformed::Truncated);
    }
    let later = fragment.is_some_and(|f| f.offset != 0);
    let followed = matches!(
        next,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS | protocol::FRAGMENT
    );
    if followed && !later {
        return Err(Malformed::ExtensionHeaders);
    }
    Ok(Extensions {
        protocol: next,
        end: at,
        fragment,
    })
}

/// Reads the transport header at `at` of a packet that ends at `end`.
#[inline(always)]
fn transport(
    frame: &[u8],
    number: u8,
    icmp: u8,
    fragment: Option<Fragment>,
    at: usize,
    end: usize,
) -> Result<Transport, Malformed> {
    if let Some(fragment) = fragment {
        let data = end - at;
        let in_range = usize::from(fragment.offset) + data <= 65_535;
        // Every piece but the last is a multiple of eight bytes long.
        if !in_range || data == 0 || (fragment.more && !data.is_multiple_of(8)) {
            return Err(Malformed::Fragment);
        }
        if fragment.offset != 0 {
            // RFC 3128: a second piece at offset 8 could overwrite the flags that were judged.
            return if number == protocol::TCP && fragment.offset < 16 {
                Err(Malformed::Fragment)
            } else {
                Ok(Transport::LaterFragment)
            };
        }
    }
    let segment = frame.get(at..end).ok_or(Malformed::Truncated)?;
    let wrong = if fragment.is_some() {
        Malformed::Fragment
    } else {
        Malformed::Transport
    };
    match number {
        protocol::TCP => {
            let tcp = segment.first_chunk::<20>().ok_or(wrong)?;
            let header = (tcp[12] >> 4) * 4;
            if header < 20 || usize::from(header) > segment.len() {
                return Err(wrong);
            }
            Ok(Transport::Tcp {
                src: u16::from_be_bytes([tcp[0], tcp[1]]),
                dst: u16::from_be_bytes([tcp[2], tcp[3]]),
                flags: tcp[13],
                header,
            })
        }
        protocol::UDP => {
            let udp = segment.first_chunk::<8>().ok_or(wrong)?;
            let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
            // The first fragment holds a part of what the length field says.
            if length < 8 || (fragment.is_none() && length > segment.len()) {
                return Err(wrong);
            }
            Ok(Transport::Udp {
                src: u16::from_be_bytes([udp[0], udp[1]]),
                dst: u16::from_be_bytes([udp[2], udp[3]]),
            })
        }
        _ if number == icmp => {
            let message = segment.first_chunk::<8>().ok_or(wrong)?;
            let id = u16::from_be_bytes([message[4], message[5]]);
            Ok(Transport::Icmp {
                kind: message[0],
                code: message[1],
                id: has_id(icmp, message[0]).then_some(id),
            })
        }
        _ => Ok(Transport::Other),
    }
}

/// Whether an ICMP message carries an identifier: echo and, in IPv4, timestamp.
pub(super) fn has_id(icmp: u8, kind: u8) -> bool {
    if icmp == protocol::ICMP {
        matches!(kind, 0 | 8 | 13 | 14)
    } else {
        matches!(kind, 128 | 129)
    }
}

/// Whether an ICMP (`protocol` 1) or ICMPv6 (58) type reports an error about another packet, which it quotes.
pub fn is_icmp_error(number: u8, kind: u8) -> bool {
    match number {
        protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        protocol::ICMPV6 => kind < 128,
        _ => false,
    }
}
