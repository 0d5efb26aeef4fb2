//! What holds of every frame.

use super::*;

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
    fn segments_are_what_the_super_segment_stands_for(
        data in vec(any::<u8>(), 1..6000), room in 1usize..1500, stream in any::<bool>(), flags in any::<u8>(),
    ) {
        let src = IpAddr::from([10, 0, 0, 1]);
        let (number, transport, header) = if stream {
            (protocol::TCP, tcp(1, 2, flags & !tcp_flags::RST, &data), 20)
        } else {
            (protocol::UDP, udp(1, 2, &data), 8)
        };
        let bytes = frame(src, src, number, &[7, 3, 4, 1], &transport);
        let headers = ip(&bytes);
        let length = 24 + header + room;
        let segments = segment(&bytes, &headers, length as u32).unwrap();
        prop_assert_eq!(segments.len(), data.len().div_ceil(room));
        let mut joined: Vec<u8> = Vec::new();
        for (n, cut) in segments.iter().enumerate() {
            let h = ip(cut);
            prop_assert!(h.length() <= length);
            prop_assert!(intact(cut));
            let last = n + 1 == segments.len();
            prop_assert!(last || h.length() == length);
            prop_assert_eq!(u16::from_be_bytes([cut[18], cut[19]]), 0x1234 + n as u16);
            if let Transport::Tcp { flags: has, .. } = h.transport {
                let at = h.transport_at + 4;
                let sequence = u32::from_be_bytes(cut[at..at + 4].try_into().unwrap());
                prop_assert_eq!(sequence as usize, 1000 + joined.len());
                let ends = if last { 0xff } else { !(tcp_flags::FIN | 8) };
                let first = if n == 0 { 0xff } else { 0x7f };
                prop_assert_eq!(has, flags & !tcp_flags::RST & ends & first);
            }
            joined.extend(&cut[h.transport_at + header..h.end]);
        }
        prop_assert_eq!(joined, data);
        prop_assert_eq!(segment(&bytes, &headers, 24 + header as u32), Err(FragmentError::Mtu(24 + header as u32)));
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
