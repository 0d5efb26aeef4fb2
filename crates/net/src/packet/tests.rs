//! Properties of reading, rewriting, answering and cutting; `smoltcp` reads what is built here and judges its
//! checksums.

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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), 0..200), kind in 0..4u8, new_src in v4(), new_dst in v6()) {
        if let Some([a, b]) = bytes.get_mut(12..14).and_then(|b| b.first_chunk_mut::<2>()) {
            match kind {
                0 => (*a, *b) = (8, 0),
                1 => (*a, *b) = (0x86, 0xdd),
                2 => (*a, *b) = (8, 6),
                _ => {}
            }
        }
        exercise(&bytes, &Rewrite { src: Some(new_src), dst: Some(new_dst), src_port: Some(1), dst_port: Some(2), icmp_id: Some(3) });
    }

    #[test]
    fn no_mutilated_frame_makes_it_panic(
        (mut bytes, src, dst) in valid(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cutting in any::<bool>(),
        mend in any::<bool>(),
    ) {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if mend && bytes[12] == 8 && bytes.len() >= 34 {
            let header = usize::from(bytes[14] & 15).max(5) * 4;
            if let Some(ip) = bytes.get_mut(14..14 + header) {
                ip[10..12].fill(0);
                let sum = Sum::default().bytes(ip).checksum();
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
            }
        }
        if cutting {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        exercise(&bytes, &Rewrite { src: Some(src), dst: Some(dst), src_port: Some(1), dst_port: Some(2), icmp_id: Some(3) });
    }

    #[test]
    fn incremental_checksums_equal_recomputed_ones((mut bytes, src, dst) in valid(), ports in any::<[u16; 2]>(), both in any::<bool>()) {
        prop_assert!(intact(&bytes));
        let headers = ip(&bytes);
        let new = Rewrite { src: both.then_some(src), dst: Some(dst), src_port: Some(ports[0]), dst_port: both.then_some(ports[1]), icmp_id: Some(ports[0]) };
        rewrite(&mut bytes, &headers, &new, TransportChecksum::Complete).unwrap();
        lower_hop_limit(&mut bytes, &headers, 1).unwrap();
        prop_assert!(intact(&bytes));
        let after = ip(&bytes);
        prop_assert_eq!(after.dst, dst);
        prop_assert_eq!(after.src, if both { src } else { headers.src });
        prop_assert_eq!(after.hop_limit, 63);
        match after.transport {
            Transport::Tcp { src, .. } | Transport::Udp { src, .. } => prop_assert_eq!(src, ports[0]),
            Transport::Icmp { id: Some(id), .. } => prop_assert_eq!(id, ports[0]),
            _ => {}
        }
    }

    #[test]
    fn a_partial_checksum_finishes_right_after_a_rewriting((mut bytes, src, dst) in valid(), port in any::<u16>()) {
        let headers = ip(&bytes);
        let offset = match headers.transport {
            Transport::Tcp { .. } => 16,
            Transport::Udp { .. } => 6,
            _ => return Ok(()),
        };
        let length = (headers.end - headers.transport_at) as u32;
        let partial = Sum::default().pseudo_header(headers.src, headers.dst, headers.protocol, length).fold();
        let at = headers.transport_at + offset;
        bytes[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        let new = Rewrite { src: Some(src), dst: Some(dst), src_port: Some(port), ..Rewrite::default() };
        rewrite(&mut bytes, &headers, &new, TransportChecksum::Partial).unwrap();
        complete_checksum(&mut bytes, &headers, headers.transport_at, offset).unwrap();
        prop_assert!(intact(&bytes));
    }

    #[test]
    fn a_quoted_packet_is_translated_with_its_error((mut bytes, src, dst) in valid(), port in any::<u16>()) {
        let headers = ip(&bytes);
        let Some(quoted) = quote(&bytes, &headers) else { return Ok(()) };
        let inner_before = bytes[quoted.network_at..headers.end].to_vec();
        let outer = Rewrite { dst: Some(dst), ..Rewrite::default() };
        let inner = Rewrite { src: Some(dst), src_port: Some(port), ..Rewrite::default() };
        rewrite(&mut bytes, &headers, &outer, TransportChecksum::Complete).unwrap();
        rewrite_quote(&mut bytes, &headers, &quoted, &inner, TransportChecksum::Complete).unwrap();
        prop_assert!(intact(&bytes));
        let after = quote(&bytes, &ip(&bytes)).unwrap();
        prop_assert_eq!((after.src, after.dst), (dst, quoted.dst));
        // The quoted packet as a packet of its own was right and is right again.
        for (network, right) in [(&inner_before[..], true), (&bytes[quoted.network_at..headers.end], true)] {
            let mut own = bytes[..ETHERNET_HEADER].to_vec();
            own.extend(network);
            prop_assert_eq!(intact(&own), right);
        }
        let _ = src;
    }

    #[test]
    fn fragments_join_to_the_packet(data in vec(any::<u8>(), 1..4000), mtu in 68u32..1600, options in any::<bool>()) {
        let src = IpAddr::from([10, 0, 0, 1]);
        let options: &[u8] = if options { &[0x94, 4, 0, 0, 7, 3, 4, 1] } else { &[] };
        let bytes = frame(src, src, protocol::UDP, options, &udp(1, 2, &data));
        let headers = ip(&bytes);
        let pieces = fragment(&bytes, &headers, mtu).unwrap();
        let mut joined: Vec<u8> = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let h = ip(piece);
            prop_assert!(h.length() <= mtu as usize);
            let at = h.fragment.map_or(0, |f| usize::from(f.offset));
            prop_assert_eq!(at, joined.len());
            prop_assert_eq!(h.fragment.is_some_and(|f| f.more), n + 1 < pieces.len());
            joined.extend(&piece[h.transport_at..h.end]);
            // A later piece keeps only the option that is marked for copying.
            if n > 0 && !options.is_empty() {
                prop_assert_eq!(h.transport_at, ETHERNET_HEADER + 24);
            }
            // Pieces may be cut again.
            let again = fragment(piece, &h, 68).unwrap();
            let sum: usize = again.iter().map(|p| { let h = ip(p); h.end - h.transport_at }).sum();
            prop_assert_eq!(sum, h.end - h.transport_at);
        }
        prop_assert_eq!(&joined[..], &bytes[headers.transport_at..headers.end]);
    }

    #[test]
    fn errors_and_resets_are_intact((bytes, _, _) in valid(), mtu in 576u32..9000) {
        let headers = ip(&bytes);
        if let Some(answer) = icmp_error(&bytes, &headers, headers.dst, IcmpError::PacketTooBig { mtu }) {
            prop_assert!(intact(&answer));
            let h = ip(&answer);
            prop_assert_eq!((h.src, h.dst), (headers.dst, headers.src));
            prop_assert_eq!((h.src_mac, h.dst_mac), (headers.dst_mac, headers.src_mac));
            let about = quote(&answer, &h).unwrap();
            prop_assert_eq!((about.src, about.dst, about.protocol), (headers.src, headers.dst, headers.protocol));
            // Never an error about an error.
            prop_assert!(icmp_error(&answer, &h, h.dst, IcmpError::TimeExceeded).is_none());
        }
        if let Some(answer) = tcp_reset(&bytes, &headers) {
            prop_assert!(intact(&answer));
            prop_assert!(tcp_reset(&answer, &ip(&answer)).is_none());
        }
    }
}

#[test]
fn tagged_short_and_foreign_frames_are_malformed() {
    let src = IpAddr::from([10, 0, 0, 1]);
    let good = frame(src, src, protocol::UDP, &[], &udp(1, 2, b"x"));
    let mut tagged = good[..12].to_vec();
    tagged.extend([0x81, 0, 0, 5]);
    tagged.extend(&good[12..]);
    assert_eq!(parse(&tagged), Err(Malformed::EtherType(0x8100)));
    for length in 0..good.len() {
        assert!(parse(&good[..length]).is_err(), "{length}");
    }
    // Ethernet's padding is no part of the packet.
    let mut padded = good.clone();
    padded.extend([0; 17]);
    assert_eq!(ip(&padded).end, good.len());
    let mut group = good.clone();
    group[6] |= 1;
    assert_eq!(parse(&group), Err(Malformed::SourceMac));
    let mut wrong = good;
    wrong[24] ^= 1;
    assert_eq!(parse(&wrong), Err(Malformed::HeaderChecksum));
}

#[test]
fn fragments_that_hide_the_ports_are_malformed() {
    let src = IpAddr::from([10, 0, 0, 1]);
    let fragment_of = |number: u8, field: u16, data: &[u8]| {
        let mut bytes = frame(src, src, 47, &[], data);
        bytes[23] = number;
        bytes[20..22].copy_from_slice(&field.to_be_bytes());
        bytes[24..26].fill(0);
        let sum = Sum::default().bytes(&bytes[14..34]).checksum();
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        parse(&bytes)
    };
    assert_eq!(
        fragment_of(6, 0x2000, &[0; 16]),
        Err(Malformed::Fragment),
        "tiny first"
    );
    assert_eq!(
        fragment_of(6, 1, &[0; 16]),
        Err(Malformed::Fragment),
        "overlap at 8"
    );
    assert_eq!(
        fragment_of(17, 0x2001, &[0; 15]),
        Err(Malformed::Fragment),
        "odd middle"
    );
    assert_eq!(
        fragment_of(17, 0x1fff, &[0; 16]),
        Err(Malformed::Fragment),
        "beyond 65,535"
    );
    let Ok(Frame::Ip(later)) = fragment_of(17, 0x2001, &[0; 16]) else {
        panic!()
    };
    assert_eq!(later.transport, Transport::LaterFragment);
    assert_eq!(
        later.fragment,
        Some(Fragment {
            id: 0x1234,
            offset: 8,
            more: true
        })
    );
}

#[test]
fn ipv6_extension_headers_are_followed_within_bounds() {
    let a: IpAddr = "2001:db8::1".parse().unwrap();
    let with = |first: u8, extensions: &[u8], segment: &[u8]| {
        let mut bytes = frame(a, a, 47, &[], &[extensions, segment].concat());
        bytes[20] = first;
        parse(&bytes)
    };
    let segment = udp(5, 6, b"data");
    let Ok(Frame::Ip(headers)) = with(0, &[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0], &segment)
    else {
        panic!()
    };
    assert_eq!(headers.transport, Transport::Udp { src: 5, dst: 6 });
    let routing = [17, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        with(43, &routing, &segment),
        Err(Malformed::ExtensionHeaders),
        "RFC 5095"
    );
    let endless = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    assert_eq!(with(60, &endless, &segment), Err(Malformed::ExtensionHeaders));
    let twice = [[44, 0, 0, 0, 0, 0, 0, 7], [17, 0, 0, 0, 0, 0, 0, 7]].concat();
    assert_eq!(with(44, &twice, &segment), Err(Malformed::ExtensionHeaders));
    let Ok(Frame::Ip(atomic)) = with(44, &[17, 0, 0, 0, 0, 0, 0, 7], &segment) else {
        panic!()
    };
    assert_eq!(
        (atomic.fragment, atomic.transport),
        (None, Transport::Udp { src: 5, dst: 6 })
    );
    let Ok(Frame::Ip(later)) = with(44, &[17, 0, 0, 8, 0, 0, 0, 7], &[0; 8]) else {
        panic!()
    };
    assert_eq!(
        later.fragment,
        Some(Fragment {
            id: 7,
            offset: 8,
            more: false
        })
    );
    assert_eq!((later.protocol, later.transport), (17, Transport::LaterFragment));
}

#[test]
fn a_udp_packet_without_checksum_stays_without() {
    let src = IpAddr::from([10, 0, 0, 1]);
    let mut bytes = frame(src, src, protocol::UDP, &[], &udp(1, 2, b"x"));
    bytes[40..42].fill(0);
    let headers = ip(&bytes);
    let new = Rewrite {
        src: Some(IpAddr::from([10, 0, 0, 9])),
        src_port: Some(9),
        ..Rewrite::default()
    };
    rewrite(&mut bytes, &headers, &new, TransportChecksum::Complete).unwrap();
    assert_eq!(bytes[40..42], [0, 0]);
}

#[test]
fn the_other_family_is_refused() {
    let src = IpAddr::from([10, 0, 0, 1]);
    let mut bytes = frame(src, src, protocol::UDP, &[], &udp(1, 2, b"x"));
    let headers = ip(&bytes);
    let new = Rewrite {
        src: Some("::1".parse().unwrap()),
        ..Rewrite::default()
    };
    assert_eq!(
        rewrite(&mut bytes, &headers, &new, TransportChecksum::Complete),
        Err(RewriteError::Family)
    );
}

#[test]
fn a_syn_offers_no_more_than_the_clamp() {
    let src = IpAddr::from([10, 0, 0, 1]);
    for options in [&[2u8, 4, 0x23, 0, 1, 1, 0, 0][..], &[1, 2, 4, 0x23, 0, 1, 1, 0]] {
        let mut segment = tcp(1, 2, tcp_flags::SYN, options);
        segment[12] = 7 << 4;
        let mut bytes = frame(src, src, protocol::TCP, &[], &segment);
        let headers = ip(&bytes);
        clamp_mss(&mut bytes, &headers, 1460, TransportChecksum::Complete).unwrap();
        assert!(intact(&bytes));
        assert!(bytes.windows(4).any(|w| w == [2, 4, 0x05, 0xb4]));
        clamp_mss(&mut bytes, &headers, 8000, TransportChecksum::Complete).unwrap();
        assert!(bytes.windows(4).any(|w| w == [2, 4, 0x05, 0xb4]), "never raised");
    }
}

#[test]
fn a_reset_fits_the_segment_it_answers() {
    let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    let reset = |flags: u8, data: &[u8]| {
        let bytes = frame(a, b, protocol::TCP, &[], &tcp(1, 2, flags, data));
        let answer = tcp_reset(&bytes, &ip(&bytes)).unwrap();
        let headers = ip(&answer);
        assert_eq!((headers.src, headers.dst), (b, a));
        let packet = TcpPacket::new_checked(&answer[headers.transport_at..]).unwrap();
        assert_eq!((packet.src_port(), packet.dst_port(), packet.rst()), (2, 1, true));
        (packet.seq_number().0, packet.ack().then(|| packet.ack_number().0))
    };
    assert_eq!(reset(tcp_flags::ACK, b"abc"), (2000, None));
    assert_eq!(reset(tcp_flags::SYN, b""), (0, Some(1001)));
    assert_eq!(reset(0, b"abc"), (0, Some(1003)));
}

#[test]
fn a_short_packet_of_another_protocol_can_be_quoted() {
    let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    let bytes = frame(a, b, 47, &[], &[1, 2, 3]);
    let error = icmp_error(&bytes, &ip(&bytes), b, IcmpError::TimeExceeded).unwrap();
    let about = quote(&error, &ip(&error)).unwrap();
    assert_eq!(
        (about.src, about.protocol, about.transport),
        (a, 47, Transport::Other)
    );
}

#[test]
fn arp_and_neighbour_discovery_are_answered() {
    let mut bytes = [[0xff; 6], A.0].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(A.0);
    bytes.extend([10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    let Ok(Frame::Arp(request)) = parse(&bytes) else {
        panic!()
    };
    assert!(request.request && !request.is_gratuitous_or_probe());
    let Ok(Frame::Arp(answer)) = parse(&arp::reply(&request, B)) else {
        panic!()
    };
    let target = Ipv4Addr::new(10, 0, 0, 1);
    assert_eq!(
        (answer.request, answer.sender, answer.sender_mac),
        (false, target, B)
    );
    // Who speaks for another MAC than its frame's is spoofing.
    bytes[22] ^= 4;
    assert_eq!(parse(&bytes), Err(Malformed::Arp));

    let host: Ipv6Addr = "2001:db8::5".parse().unwrap();
    let router: Ipv6Addr = "fe80::1".parse().unwrap();
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(router.octets());
    message.extend([1, 1]);
    message.extend(A.0);
    let mut bytes = frame(host.into(), "ff02::1:ff00:1".parse().unwrap(), 58, &[], &message);
    bytes[21] = 255;
    let Some(ndp::Discovery::Solicitation(asked)) = ndp::parse(&bytes, &ip(&bytes), false) else {
        panic!()
    };
    assert_eq!(
        (asked.sender, asked.target, asked.source_mac),
        (host, router, Some(A))
    );
    let answer = ndp::advertisement(&asked, B, true);
    assert!(intact(&answer));
    let headers = ip(&answer);
    assert_eq!((headers.dst, headers.hop_limit), (host.into(), 255));
    assert_eq!(ndp::parse(&answer, &headers, false), Some(ndp::Discovery::Other));
    // From beyond the link.
    bytes[21] = 254;
    assert_eq!(
        ndp::parse(&bytes, &ip(&bytes), false),
        Some(ndp::Discovery::Invalid)
    );
}
