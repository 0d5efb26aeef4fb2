//! Properties of reading, rewriting, answering and cutting; `smoltcp` reads what is built here and judges its
//! checksums.

mod cases;
mod properties;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket};

use super::*;
use crate::Mac;

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 1, 0, 0, 0, 1]);

/// An IP frame around a transport segment, with right checksums.
fn frame(src: IpAddr, dst: IpAddr, number: u8, options: &[u8], segment: &[u8]) -> Vec<u8> {
    let mut frame = [B.0, A.0].concat();
    let mut segment = segment.to_vec();
    let at = match number {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        protocol::ICMP | protocol::ICMPV6 => Some(2),
        _ => None,
    };
    if let Some(at) = at {
        segment[at..at + 2].fill(0);
        let sum = if number == protocol::ICMP {
            Sum::default()
        } else {
            Sum::default().pseudo_header(src, dst, number, segment.len() as u32)
        };
        let sum = match sum.bytes(&segment).checksum() {
            0 if number == protocol::UDP => 0xffff,
            sum => sum,
        };
        segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([8, 0]);
            let header_len = 20 + options.len();
            let mut header = vec![0u8; 20];
            header[0] = 0x40 | (header_len / 4) as u8;
            header[2..4].copy_from_slice(&((header_len + segment.len()) as u16).to_be_bytes());
            header[4..6].copy_from_slice(&0x1234u16.to_be_bytes());
            header[8] = 64;
            header[9] = number;
            header[12..16].copy_from_slice(&src.octets());
            header[16..20].copy_from_slice(&dst.octets());
            header.extend(options);
            let sum = Sum::default().bytes(&header).checksum();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(((options.len() + segment.len()) as u16).to_be_bytes());
            frame.push(if options.is_empty() { number } else { 60 });
            frame.push(64);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            frame.extend(options);
        }
        _ => panic!("one family"),
    }
    frame.extend(segment);
    frame
}

fn tcp(src: u16, dst: u16, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = vec![0u8; 20];
    segment[..2].copy_from_slice(&src.to_be_bytes());
    segment[2..4].copy_from_slice(&dst.to_be_bytes());
    segment[4..8].copy_from_slice(&1000u32.to_be_bytes());
    segment[8..12].copy_from_slice(&2000u32.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = flags;
    segment.extend(data);
    segment
}

fn udp(src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
    let mut segment = vec![0u8; 8];
    segment[..2].copy_from_slice(&src.to_be_bytes());
    segment[2..4].copy_from_slice(&dst.to_be_bytes());
    segment[4..6].copy_from_slice(&((8 + data.len()) as u16).to_be_bytes());
    segment.extend(data);
    segment
}

fn echo(kind: u8, id: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend([0, 1]);
    message.extend(data);
    message
}

fn ip(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?} of {frame:02x?}"),
    }
}

/// Whether every checksum of the frame is right, by smoltcp.
fn intact(frame: &[u8]) -> bool {
    let headers = ip(frame);
    let network = &frame[ETHERNET_HEADER..headers.end];
    let segment = &frame[headers.transport_at..headers.end];
    let header_right = match headers.src {
        IpAddr::V4(_) => Ipv4Packet::new_checked(network).unwrap().verify_checksum(),
        IpAddr::V6(_) => Ipv6Packet::new_checked(network).is_ok(),
    };
    let (src, dst) = (headers.src.into(), headers.dst.into());
    header_right
        && match (headers.transport, headers.src, headers.dst) {
            (Transport::Tcp { .. }, ..) => TcpPacket::new_checked(segment)
                .unwrap()
                .verify_checksum(&src, &dst),
            (Transport::Udp { .. }, ..) => UdpPacket::new_checked(segment)
                .unwrap()
                .verify_checksum(&src, &dst),
            (Transport::Icmp { .. }, IpAddr::V4(_), _) => {
                Icmpv4Packet::new_checked(segment).unwrap().verify_checksum()
            }
            (Transport::Icmp { .. }, IpAddr::V6(s), IpAddr::V6(d)) => Icmpv6Packet::new_checked(segment)
                .unwrap()
                .verify_checksum(&s, &d),
            _ => true,
        }
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<u32>().prop_map(|a| IpAddr::V4(Ipv4Addr::from(a)))
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|a| IpAddr::V6(Ipv6Addr::from(a)))
}

/// A frame of any protocol and family with right checksums, and addresses of its family.
fn valid() -> impl Strategy<Value = (Vec<u8>, IpAddr, IpAddr)> {
    let pair = prop_oneof![
        (v4(), v4(), v4(), v4()).prop_map(|a| (a, false)),
        (v6(), v6(), v6(), v6()).prop_map(|a| (a, true)),
    ];
    (
        pair,
        0..5u8,
        any::<[u16; 2]>(),
        vec(any::<u8>(), 0..200),
        any::<bool>(),
    )
        .prop_map(
            |(((src, dst, new_src, new_dst), six), kind, [p, q], data, options)| {
                let (number, segment) = match kind {
                    0 => (protocol::TCP, tcp(p, q, 0x18, &data)),
                    1 => (protocol::UDP, udp(p, q, &data)),
                    2 if six => (protocol::ICMPV6, echo(128, p, &data)),
                    2 => (protocol::ICMP, echo(8, p, &data)),
                    3 if six => (
                        protocol::ICMPV6,
                        error(1, &frame(dst, src, protocol::UDP, &[], &udp(p, q, &data))),
                    ),
                    3 => (
                        protocol::ICMP,
                        error(3, &frame(dst, src, protocol::TCP, &[], &tcp(p, q, 0x10, &data))),
                    ),
                    _ => (47, data.clone()),
                };
                let options: &[u8] = match (options, six) {
                    (false, _) => &[],
                    (true, false) => &[1, 1, 0, 0],
                    (true, true) => &[number, 0, 1, 4, 0, 0, 0, 0],
                };
                (frame(src, dst, number, options, &segment), new_src, new_dst)
            },
        )
}

fn error(kind: u8, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 4, 0, 0, 0, 0, 5, 0xdc];
    message.extend(&about[ETHERNET_HEADER..]);
    message
}

/// Runs everything that takes a frame.
fn exercise(frame: &[u8], new: &Rewrite) {
    match parse(frame) {
        Ok(Frame::Ip(headers)) => {
            assert!(headers.end <= frame.len() && headers.transport_at <= headers.end);
            for checksum in [TransportChecksum::Complete, TransportChecksum::Partial] {
                let mut copy = frame.to_vec();
                let _ = rewrite(&mut copy, &headers, new, checksum);
                let _ = lower_hop_limit(&mut copy, &headers, 1);
                let _ = clamp_mss(&mut copy, &headers, 1220, checksum);
                let _ = set_macs(&mut copy, A, B);
                if let Some(quote) = quote(frame, &headers) {
                    let _ = rewrite_quote(&mut copy, &headers, &quote, new, checksum);
                }
                let _ = complete_checksum(&mut copy, &headers, headers.transport_at, 6);
                assert_eq!(copy.len(), frame.len());
            }
            let _ = ndp::parse(frame, &headers, true);
            let _ = tcp_reset(frame, &headers);
            let from = headers.dst;
            let _ = icmp_error(frame, &headers, from, IcmpError::PacketTooBig { mtu: 1500 });
            let _ = fragment(frame, &headers, 68);
        }
        Ok(Frame::Arp(arp)) => {
            arp::reply(&arp, B);
        }
        Err(_) => {}
    }
}
