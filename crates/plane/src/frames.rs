//! Frames from packets, for tests: what the rules see of one, made into bytes with every sum right.

use std::net::IpAddr;

use atoll_fabric::{L4, Packet, Port, Quote};
use atoll_net::Mac;
use atoll_net::packet::{Headers, Sum, protocol, tcp_flags};

use crate::engine::l4;
use crate::port::Attachment;
use crate::vnet;

/// The internet's port in tests.
pub(crate) const INTERNET: Attachment = Attachment::Internet {
    router: ROUTER,
    station: STATION,
};
/// The fabric's side of the link to the internet.
pub(crate) const ROUTER: Mac = Mac([2, 0xff, 0, 0, 0, 1]);
/// The other side of it.
pub(crate) const STATION: Mac = Mac([2, 0xff, 0, 0, 0, 2]);

/// What else a frame is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dress {
    /// Options of the IPv4 header, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Extension headers of IPv6: the first one's number, and bytes whose last next-header field says the transport's.
    pub extensions: Option<(u8, Vec<u8>)>,
    /// Options of TCP, a multiple of 4 bytes.
    pub tcp_options: Vec<u8>,
    /// UDP without a checksum (IPv4 alone).
    pub no_sum: bool,
    /// Behind the packet, as Ethernet pads short frames.
    pub padding: usize,
}

/// What the rules see of a frame that is whole and quotes nothing.
pub(crate) fn seen(ingress: Port, headers: &Headers) -> Packet {
    Packet {
        ingress,
        src_mac: headers.src_mac,
        dst_mac: headers.dst_mac,
        src: headers.src,
        dst: headers.dst,
        protocol: headers.protocol,
        l4: l4(headers.transport),
        hop_limit: headers.hop_limit,
        length: headers.length() as u32,
        dont_fragment: headers.dont_fragment,
        fragment: None,
        quote: None,
    }
}

/// The vnet header and the frame of a packet, filled up to its length.
pub(crate) fn frame(packet: &Packet) -> Vec<u8> {
    dressed(packet, &Dress::default())
}

/// The same with more to it.
pub(crate) fn dressed(packet: &Packet, dress: &Dress) -> Vec<u8> {
    let (src_mac, dst_mac) = match packet.ingress {
        Port::Internet => (STATION, ROUTER),
        Port::Eni(_) => (packet.src_mac, packet.dst_mac),
    };
    let mut frame = vec![0; vnet::LENGTH];
    frame.extend(dst_mac.0);
    frame.extend(src_mac.0);
    let header = match packet.src {
        IpAddr::V4(_) => 20 + dress.options.len(),
        IpAddr::V6(_) => 40 + dress.extensions.as_ref().map_or(0, |(_, bytes)| bytes.len()),
    };
    let room = (packet.length as usize).saturating_sub(header);
    let segment = match packet.fragment {
        Some(fragment) if fragment.offset > 0 => filler(room),
        _ => segment(packet, room, dress),
    };
    frame.extend(network(packet, &segment, dress));
    frame.extend(segment);
    frame.extend(vec![0; dress.padding]);
    frame
}

fn filler(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 + 3) as u8).collect()
}

/// Ethernet's type and the IP header.
fn network(packet: &Packet, segment: &[u8], dress: &Dress) -> Vec<u8> {
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = vec![0u8; 20];
            header.extend(&dress.options);
            header[0] = 0x40 | (header.len() / 4) as u8;
            header[1] = 0x28;
            let length = (header.len() + segment.len()) as u16;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            let (id, offset, more) = packet
                .fragment
                .map_or((0x1234, 0, false), |f| (f.id as u16, f.offset, f.more));
            header[4..6].copy_from_slice(&id.to_be_bytes());
            let flags = u16::from(packet.dont_fragment) << 14 | u16::from(more) << 13 | (offset / 8);
            header[6..8].copy_from_slice(&flags.to_be_bytes());
            (header[8], header[9]) = (packet.hop_limit, packet.protocol);
            header[12..16].copy_from_slice(&src.octets());
            header[16..20].copy_from_slice(&dst.octets());
            let sum = Sum::default().bytes(&header).checksum();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&[8, 0][..], &header].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (next, extensions) = match &dress.extensions {
                Some((next, bytes)) => (*next, &bytes[..]),
                None => (packet.protocol, &[][..]),
            };
            let mut header = vec![0x86, 0xdd, 0x62, 0x81, 0x23, 0x45];
            header.extend(((extensions.len() + segment.len()) as u16).to_be_bytes());
            header.extend([next, packet.hop_limit]);
            header.extend(src.octets());
            header.extend(dst.octets());
            header.extend(extensions);
            header
        }
        _ => panic!("one family"),
    }
}

/// The transport header with data behind it.
fn segment(packet: &Packet, room: usize, dress: &Dress) -> Vec<u8> {
    let mut bytes = match (packet.protocol, packet.l4) {
        (protocol::TCP, L4::Ports { src, dst, tcp_flags }) => {
            let mut bytes = vec![0u8; 20];
            bytes.extend(&dress.tcp_options);
            bytes[..2].copy_from_slice(&src.to_be_bytes());
            bytes[2..4].copy_from_slice(&dst.to_be_bytes());
            bytes[4..8].copy_from_slice(&0x0102_0304u32.to_be_bytes());
            (bytes[12], bytes[13]) = (((20 + dress.tcp_options.len()) << 2) as u8, tcp_flags);
            bytes[14..16].copy_from_slice(&[0xfa, 0xf0]);
            bytes
        }
        (protocol::UDP, L4::Ports { src, dst, .. }) => {
            let length = room.max(8) as u16;
            [src, dst, length, 0]
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect()
        }
        (_, L4::Icmp { kind, code, id }) => {
            let [high, low] = id.to_be_bytes();
            let mut bytes = vec![kind, code, 0, 0, high, low, 0, 1];
            if let Some(quote) = &packet.quote {
                bytes.extend(quoted(quote));
            }
            bytes
        }
        _ => Vec::new(),
    };
    let rest = room.saturating_sub(bytes.len());
    bytes.extend(filler(rest));
    let sum = Sum::default().bytes(&bytes);
    let whole = |sum: Sum| sum.pseudo_header(packet.src, packet.dst, packet.protocol, bytes.len() as u32);
    let (at, sum) = match packet.protocol {
        protocol::TCP => (16, whole(sum).checksum()),
        protocol::UDP if dress.no_sum => (6, 0),
        protocol::UDP => (
            6,
            Some(whole(sum).checksum())
                .filter(|sum| *sum != 0)
                .unwrap_or(0xffff),
        ),
        protocol::ICMPV6 => (2, whole(sum).checksum()),
        protocol::ICMP => (2, sum.checksum()),
        _ => return bytes,
    };
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// The packet that an ICMP error is about, as far as errors tell it.
fn quoted(quote: &Quote) -> Vec<u8> {
    let packet = Packet {
        ingress: Port::Internet,
        src_mac: Mac::default(),
        dst_mac: Mac::default(),
        src: quote.src,
        dst: quote.dst,
        protocol: quote.protocol,
        l4: match quote.l4 {
            L4::Ports { src, dst, .. } if quote.protocol == protocol::TCP => L4::Ports {
                src,
                dst,
                tcp_flags: tcp_flags::ACK,
            },
            other => other,
        },
        hop_limit: 60,
        length: 68,
        dont_fragment: true,
        fragment: None,
        quote: None,
    };
    frame(&packet)[vnet::LENGTH + 14..].to_vec()
}
