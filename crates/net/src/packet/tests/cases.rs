//! Single frames.

use super::*;

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
    assert_eq!(
        with(
            60,
            &[[0, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0]].concat(),
            &segment
        ),
        Err(Malformed::ExtensionHeaders),
        "hop-by-hop options stand first: RFC 8200, 4.1"
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
fn what_hides_the_transport_header_is_told_by_its_number() {
    // AH and ESP: nothing behind them is looked at.
    let a: IpAddr = "2001:db8::1".parse().unwrap();
    for number in [50, 51, 59, 135] {
        let Ok(Frame::Ip(headers)) = parse(&frame(a, a, number, &[], &[17, 4, 0, 0, 0, 0, 0, 0])) else {
            panic!("{number}")
        };
        assert_eq!((headers.protocol, headers.transport), (number, Transport::Other));
    }
}

#[test]
fn a_packet_with_a_route_left_to_go_is_malformed() {
    // RFC 7126, 4.3 and 4.4.
    let a = IpAddr::from([10, 0, 0, 1]);
    let with = |options: &[u8]| parse(&frame(a, a, protocol::UDP, options, &udp(5, 6, b"data")));
    for kind in [131, 137] {
        assert_eq!(with(&[kind, 7, 4, 10, 0, 0, 9, 0]), Err(Malformed::SourceRoute));
        assert_eq!(with(&[1, kind, 7, 4, 10, 0, 0, 9]), Err(Malformed::SourceRoute));
        // At its end it is a record of where the packet was.
        assert!(with(&[kind, 7, 8, 10, 0, 0, 9, 0]).is_ok());
        assert!(with(&[0, kind, 7, 4, 10, 0, 0, 9]).is_ok());
    }
    // Recording a route does not lead the packet, and what cannot be read might.
    assert!(with(&[7, 7, 4, 0, 0, 0, 0, 0]).is_ok());
    assert_eq!(with(&[7, 9, 4, 0, 0, 0, 0, 0]), Err(Malformed::SourceRoute));
    assert_eq!(with(&[7, 1, 131, 7, 4, 0, 0, 0]), Err(Malformed::SourceRoute));
}

#[test]
fn fragments_make_no_packet_that_is_too_long() {
    // 65,512 + 8 + 20 bytes of header: what they made would be longer than its length field says.
    let a = IpAddr::from([10, 0, 0, 1]);
    let with = |offset: u16, data: usize| {
        let mut bytes = frame(a, a, protocol::UDP, &[], &vec![0; data.max(8)]);
        bytes[20..22].copy_from_slice(&(offset / 8).to_be_bytes());
        bytes[24..26].fill(0);
        let sum = Sum::default().bytes(&bytes[14..34]).checksum();
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        parse(&bytes)
    };
    assert_eq!(with(65_512, 8), Err(Malformed::Fragment));
    assert!(with(65_504, 8).is_ok());
}

#[test]
fn an_sctp_crc_is_that_of_the_standard() {
    // Held against a long division by the polynomial over all bits, the lowest of each byte first (RFC 9260, appendix A).
    let a = IpAddr::from([10, 0, 0, 1]);
    let mut bytes = frame(a, a, 132, &[], b"12345678\xff\xff\xff\xffrest of it");
    let headers = ip(&bytes);
    complete_crc(&mut bytes, &headers).unwrap();
    let message = b"12345678\0\0\0\0rest of it";
    let mut bits: Vec<bool> = message
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1))
        .collect();
    bits.iter_mut().take(32).for_each(|bit| *bit = !*bit);
    bits.extend([false; 32]);
    let polynomial = 0x1_1edc_6f41u64;
    for at in 0..bits.len() - 32 {
        if bits[at] {
            for n in 0..=32 {
                bits[at + n] ^= polynomial >> (32 - n) & 1 == 1;
            }
        }
    }
    let remainder = bits[bits.len() - 32..].iter().enumerate();
    let crc = remainder.fold(0u32, |crc, (n, bit)| crc | u32::from(!*bit) << n);
    let at = headers.transport_at;
    assert_eq!(bytes[at + 8..at + 12], crc.to_le_bytes());
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

#[test]
fn a_super_segment_that_no_length_can_say_is_as_long_as_its_frame() {
    let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let mut segment = vec![0u8; 20];
    (segment[12], segment[13]) = (0x50, tcp_flags::ACK);
    let with = |data: usize, number: u8| {
        let mut frame = frame(src, dst, number, &[], &segment);
        frame[16..18].fill(0);
        frame[24..26].fill(0);
        let sum = Sum::default().bytes(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.resize(frame.len() + data, 7);
        frame
    };
    let long = with(100_000, protocol::TCP);
    let Ok(Frame::Ip(headers)) = parse(&long) else {
        panic!("{:?}", parse(&long));
    };
    assert_eq!(headers.length(), 100_040);
    // Of no other protocol, and of nothing that a length could say.
    assert!(parse(&with(100_000, protocol::UDP)).is_err());
    assert!(parse(&with(1000, protocol::TCP)).is_err());
}
