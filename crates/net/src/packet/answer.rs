//! What a router answers by itself: ICMP errors and TCP resets.
//!
//! The frame that an answer is built from is the one that came in; the answer goes back to its sender, so the
//! MAC addresses are those of the frame, exchanged.

use std::net::IpAddr;

use super::bytes_at;
use super::checksum::Sum;
use super::frame::{ETHERNET_HEADER, Headers, Transport, is_icmp_error, protocol, tcp_flags};
use crate::Mac;

/// Hop limit of what a router sends itself.
const HOP_LIMIT: u8 = 64;
/// An ICMP error is at most this long (RFC 1812 section 4.3.2.3).
const ICMP_ERROR_MAX: usize = 576;
/// An ICMPv6 error is at most this long: the smallest MTU (RFC 4443 section 2.4).
const ICMPV6_ERROR_MAX: usize = 1280;

/// What went wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Larger than the next link takes, and not to be fragmented: type 3 code 4, or ICMPv6's type 2.
    PacketTooBig {
        /// What the link takes, in bytes of the IP packet.
        mtu: u32,
    },
    /// The hop limit was used up: type 11 code 0, or ICMPv6's type 3.
    TimeExceeded,
    /// No way there: type 3 or ICMPv6's type 1, with a code of its family.
    Unreachable {
        /// The code.
        code: u8,
    },
}

/// The frame of an ICMP error from the address `from` about the packet in `frame`. `None` where no error may be
/// sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4): about another ICMP error, a later fragment, a packet to
/// or from a multicast, broadcast or unspecified address; or if `from` is of the other family.
pub fn icmp_error(frame: &[u8], headers: &Headers, from: IpAddr, error: IcmpError) -> Option<Vec<u8>> {
    let about_error = matches!(headers.transport,
        Transport::Icmp { kind, .. } if is_icmp_error(headers.protocol, kind));
    if about_error
        || headers.transport == Transport::LaterFragment
        || headers.dst_mac.is_multicast()
        || !is_host(headers.src)
        || !is_host(headers.dst)
        || from.is_ipv4() != headers.src.is_ipv4()
    {
        return None;
    }
    let v4 = from.is_ipv4();
    let (network, limit) = if v4 {
        (20, ICMP_ERROR_MAX)
    } else {
        (40, ICMPV6_ERROR_MAX)
    };
    let quoted = headers.length().min(limit - network - 8);
    let quotation = frame.get(ETHERNET_HEADER..ETHERNET_HEADER + quoted)?;
    let (kind, code, rest) = match (error, v4) {
        (IcmpError::PacketTooBig { mtu }, true) => (3, 4, mtu.min(0xffff)),
        (IcmpError::PacketTooBig { mtu }, false) => (2, 0, mtu),
        (IcmpError::TimeExceeded, true) => (11, 0, 0),
        (IcmpError::TimeExceeded, false) => (3, 0, 0),
        (IcmpError::Unreachable { code }, true) => (3, code, 0),
        (IcmpError::Unreachable { code }, false) => (1, code, 0),
    };
    let mut message = Vec::with_capacity(8 + quoted);
    message.extend_from_slice(&[kind, code, 0, 0]);
    message.extend_from_slice(&rest.to_be_bytes());
    message.extend_from_slice(quotation);
    let number = if v4 { protocol::ICMP } else { protocol::ICMPV6 };
    let sum = if v4 {
        Sum::default()
    } else {
        Sum::default().pseudo_header(from, headers.src, number, u32::try_from(message.len()).ok()?)
    };
    let sum = sum.bytes(&message).checksum().to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ip_frame(
        headers.dst_mac,
        headers.src_mac,
        from,
        headers.src,
        number,
        &message,
    )
}

/// The frame of a TCP reset that ends the connection which the segment in `frame` belongs to, in the name of the
/// other end (RFC 9293 section 3.10.7.1). `None` if the packet is no TCP, a fragment, or itself a reset.
pub fn tcp_reset(frame: &[u8], headers: &Headers) -> Option<Vec<u8>> {
    let Transport::Tcp {
        src,
        dst,
        flags,
        header,
    } = headers.transport
    else {
        return None;
    };
    if flags & tcp_flags::RST != 0
        || headers.fragment.is_some()
        || headers.dst_mac.is_multicast()
        || !is_host(headers.src)
        || !is_host(headers.dst)
    {
        return None;
    }
    let at = headers.transport_at;
    let sequence = u32::from_be_bytes(bytes_at::<4>(frame, at + 4)?);
    let acknowledged = bytes_at::<4>(frame, at + 8)?;
    let mut segment = [0u8; 20];
    segment[..2].copy_from_slice(&dst.to_be_bytes());
    segment[2..4].copy_from_slice(&src.to_be_bytes());
    segment[12] = 5 << 4;
    if flags & tcp_flags::ACK != 0 {
        segment[4..8].copy_from_slice(&acknowledged);
        segment[13] = tcp_flags::RST;
    } else {
        let data = u32::try_from(headers.end - at - usize::from(header)).ok()?;
        let counted = u32::from(flags & tcp_flags::SYN != 0) + u32::from(flags & tcp_flags::FIN != 0);
        let next = sequence.wrapping_add(data).wrapping_add(counted);
        segment[8..12].copy_from_slice(&next.to_be_bytes());
        segment[13] = tcp_flags::RST | tcp_flags::ACK;
    }
    let sum = Sum::default()
        .pseudo_header(headers.dst, headers.src, protocol::TCP, 20)
        .bytes(&segment)
        .checksum();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip_frame(
        headers.dst_mac,
        headers.src_mac,
        headers.dst,
        headers.src,
        protocol::TCP,
        &segment,
    )
}

/// Whether an address can be one machine's.
fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => !a.is_multicast() && !a.is_broadcast() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_multicast() && !a.is_unspecified(),
    }
}

/// An Ethernet frame with an IP packet without options.
fn ip_frame(
    src_mac: Mac,
    dst_mac: Mac,
    src: IpAddr,
    dst: IpAddr,
    number: u8,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(ETHERNET_HEADER + 40 + payload.len());
    frame.extend_from_slice(&dst_mac.0);
    frame.extend_from_slice(&src_mac.0);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend_from_slice(&[0x08, 0x00]);
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).ok()?.to_be_bytes());
            header[8] = HOP_LIMIT;
            header[9] = number;
            header[12..16].copy_from_slice(&src.octets());
            header[16..].copy_from_slice(&dst.octets());
            let sum = Sum::default().bytes(&header).checksum();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend_from_slice(&header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend_from_slice(&[0x86, 0xdd]);
            let mut header = [0u8; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&u16::try_from(payload.len()).ok()?.to_be_bytes());
            header[6] = number;
            header[7] = HOP_LIMIT;
            header[8..24].copy_from_slice(&src.octets());
            header[24..].copy_from_slice(&dst.octets());
            frame.extend_from_slice(&header);
        }
        _ => return None,
    }
    frame.extend_from_slice(payload);
    Some(frame)
}
