//! The header in front of every frame of a packet socket with `PACKET_VNET_HDR` (`struct virtio_net_hdr`, in the
//! machine's byte order): what is still to be done to a packet that travels between local machines.
//!
//! A guest can write it too, through a packet socket of its own, so what it says is held against the packet's own
//! headers: a checksum that were finished anywhere else than in the transport header would overwrite what the
//! rules have judged.

use atoll_net::packet::{ETHERNET_HEADER, Headers, LONGEST, Transport, TransportChecksum, protocol};

/// Bytes of the header.
pub(crate) const LENGTH: usize = 10;

/// The most packets that one may stand for: bpf/packet.h has the same. A guest may say that each has one byte of data, and the
/// kernel would make 65,000 of one frame, for a TAP, say, whose reader takes no such: 20 ms of a processor, for one write.
const MOST_SEGMENTS: u32 = 1024;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_SEGMENTS: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Says of a packet that it begins so many bytes later, or earlier, in its frame.
pub(crate) fn shift(data: &mut [u8], by: i16) {
    let Some([flags, _, h0, h1, _, _, c0, c1, ..]) = data.first_chunk_mut::<LENGTH>() else {
        return;
    };
    let moved = |low: &mut u8, high: &mut u8| {
        let [a, b] = u16::from_ne_bytes([*low, *high])
            .saturating_add_signed(by)
            .to_ne_bytes();
        (*low, *high) = (a, b);
    };
    // How long the headers are together, where that is said.
    if (*h0, *h1) != (0, 0) {
        moved(h0, h1);
    }
    if *flags & NEEDS_CHECKSUM != 0 {
        moved(c0, c1);
    }
}

/// A vnet header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vnet {
    flags: u8,
    gso_type: u8,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

/// A vnet header that does not fit its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfit;

/// What a vnet header says of its packet, after it was held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offloads {
    /// The state of the transport checksum.
    pub checksum: TransportChecksum,
    /// Of a super-segment: the largest of the packets it stands for, in bytes of the IP packet.
    pub segment_length: Option<u32>,
}

impl Vnet {
    /// Says that nothing is left to do.
    pub(crate) const DONE: Vnet = Vnet {
        flags: 0,
        gso_type: 0,
        gso_size: 0,
        checksum_start: 0,
        checksum_offset: 0,
    };

    /// Nothing left to do.
    pub(crate) const PLAIN: [u8; LENGTH] = [0; LENGTH];

    /// Reads the header and returns the frame behind it.
    #[inline(always)]
    pub(crate) fn split(data: &mut [u8]) -> Option<(Vnet, &mut [u8])> {
        let (header, frame) = data.split_first_chunk_mut::<LENGTH>()?;
        let [flags, gso_type, _, _, s0, s1, c0, c1, o0, o1] = *header;
        let vnet = Vnet {
            flags,
            gso_type,
            gso_size: u16::from_ne_bytes([s0, s1]),
            checksum_start: u16::from_ne_bytes([c0, c1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        };
        Some((vnet, frame))
    }

    /// Where a checksum is unfinished inside the data of a datagram, or of a protocol that is judged by its number
    /// alone, as a guest's own tunnel leaves it: where its sum
    /// begins, and where in that it stands. It lies behind everything that the rules judge, so finishing it
    /// overwrites nothing of that.
    #[inline(always)]
    pub(crate) fn unfinished_within(&self, headers: &Headers) -> Option<(usize, usize)> {
        let start = usize::from(self.checksum_start);
        if self.flags & NEEDS_CHECKSUM == 0 || start == headers.transport_at {
            return None;
        }
        let offset = usize::from(self.checksum_offset);
        let judged = match headers.transport {
            Transport::Udp { .. } => 8,
            // GRE's header is the shortest that anything stands in.
            Transport::Other => 4,
            Transport::Tcp { .. } | Transport::Icmp { .. } | Transport::LaterFragment => return None,
        };
        let within = headers.fragment.is_none()
            && self.gso_type & !GSO_ECN == 0
            && start >= headers.transport_at + judged
            && start + offset + 2 <= headers.end;
        within.then_some((start, offset))
    }

    /// Holds the header against its packet.
    #[inline(always)]
    pub(crate) fn offloads(&self, headers: &Headers) -> Result<Offloads, Unfit> {
        let checksum = if self.flags & NEEDS_CHECKSUM == 0 {
            TransportChecksum::Complete
        } else {
            let offset = match headers.transport {
                Transport::Tcp { .. } => 16,
                Transport::Udp { .. } => 6,
                Transport::Icmp { .. } if headers.protocol == protocol::ICMPV6 => 2,
                // SCTP's CRC is left to the device likewise.
                Transport::Other if headers.protocol == 132 => 8,
                _ => return Err(Unfit),
            };
            if usize::from(self.checksum_start) != headers.transport_at
                || self.checksum_offset != offset
                || headers.fragment.is_some()
            {
                return Err(Unfit);
            }
            TransportChecksum::Partial
        };
        let kind = self.gso_type & !GSO_ECN;
        if kind == 0 {
            if headers.length() > LONGEST {
                return Err(Unfit);
            }
            return Ok(Offloads {
                checksum,
                segment_length: None,
            });
        }
        let transport_header = match (kind, headers.transport, headers.src.is_ipv4()) {
            (GSO_TCPV4, Transport::Tcp { header, .. }, true)
            | (GSO_TCPV6, Transport::Tcp { header, .. }, false) => u32::from(header),
            (GSO_UDP_SEGMENTS, Transport::Udp { .. }, _) => 8,
            _ => return Err(Unfit),
        };
        if self.gso_size == 0 || checksum == TransportChecksum::Complete {
            return Err(Unfit);
        }
        let network = (headers.transport_at - ETHERNET_HEADER) as u32;
        let data = (headers.length() as u32).saturating_sub(network + transport_header);
        if data > MOST_SEGMENTS * u32::from(self.gso_size) {
            return Err(Unfit);
        }
        let segment = network + transport_header + u32::from(self.gso_size);
        Ok(Offloads {
            checksum,
            segment_length: Some(segment.min(headers.length() as u32)),
        })
    }
}

#[cfg(test)]
mod tests {
    use atoll_fabric::{L4, Packet, Port};
    use atoll_model::EniId;
    use atoll_net::Mac;
    use atoll_net::packet::{Frame, parse};

    use super::*;
    use crate::frames;

    #[test]
    fn a_super_segment_stands_for_so_many_packets_and_no_more() {
        for (number, kind, offset) in [
            (protocol::TCP, GSO_TCPV4, 16),
            (protocol::UDP, GSO_UDP_SEGMENTS, 6),
        ] {
            let mut data = frames::frame(&Packet {
                ingress: Port::Eni(EniId::new(1)),
                src_mac: Mac([2, 0, 0, 0, 0, 1]),
                dst_mac: Mac([2, 0, 0, 0, 0, 2]),
                src: [10, 0, 0, 1].into(),
                dst: [10, 0, 0, 2].into(),
                protocol: number,
                l4: L4::Ports {
                    src: 1,
                    dst: 2,
                    tcp_flags: 0,
                },
                hop_limit: 64,
                length: 3000,
                dont_fragment: true,
                fragment: None,
                quote: None,
            });
            let Some((mut vnet, frame)) = Vnet::split(&mut data) else {
                panic!("no header");
            };
            let Ok(Frame::Ip(headers)) = parse(frame) else {
                panic!("no packet");
            };
            (vnet.flags, vnet.gso_type) = (NEEDS_CHECKSUM, kind);
            vnet.checksum_start = headers.transport_at as u16;
            vnet.checksum_offset = offset;
            for (gso_size, fits) in [(1460, true), (3, true), (2, false), (1, false)] {
                vnet.gso_size = gso_size;
                assert_eq!(vnet.offloads(&headers).is_ok(), fits, "{number} {gso_size}");
            }
        }
    }
}
