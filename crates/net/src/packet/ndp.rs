//! Neighbour discovery for IPv6 (RFC 4861).

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::checksum::Sum;
use super::frame::{ETHERNET_HEADER, Headers, Transport, protocol};
use crate::Mac;

/// Length of an advertisement's frame.
pub const FRAME: usize = ETHERNET_HEADER + 40 + 32;

/// A message of neighbour discovery, its checks done: hop limit 255 (so that it comes from the link), checksum,
/// code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// A neighbour is asked for.
    Solicitation(Solicitation),
    /// Whatever else: advertisements, router solicitations and advertisements, redirects. A virtual router takes
    /// none of them.
    Other,
    /// Not as RFC 4861 wants it.
    Invalid,
}

/// A question for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Sender of the frame.
    pub sender_mac: Mac,
    /// Who asks; unspecified in a probe for duplicates (RFC 4862), which nobody answers.
    pub sender: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// The sender's MAC by its option, if there is one.
    pub source_mac: Option<Mac>,
}

/// Reads a neighbour discovery message; `None` if the packet is something else. Pass `partial_checksum` for
/// packets whose checksum is not finished yet: it is then not verified.
pub fn parse(frame: &[u8], headers: &Headers, partial_checksum: bool) -> Option<Discovery> {
    let Transport::Icmp { kind, code, .. } = headers.transport else {
        return None;
    };
    let (IpAddr::V6(src), IpAddr::V6(_)) = (headers.src, headers.dst) else {
        return None;
    };
    if headers.protocol != protocol::ICMPV6 || !(133..=137).contains(&kind) {
        return None;
    }
    let message = frame.get(headers.transport_at..headers.end)?;
    let length = u32::try_from(message.len()).ok()?;
    let sum = Sum::default()
        .pseudo_header(headers.src, headers.dst, protocol::ICMPV6, length)
        .bytes(message);
    let intact = partial_checksum || sum.fold() == 0xffff;
    if headers.hop_limit != 255 || code != 0 || !intact || headers.fragment.is_some() {
        return Some(Discovery::Invalid);
    }
    if kind != 135 {
        return Some(Discovery::Other);
    }
    let parsed = Icmpv6Packet::new_checked(message)
        .and_then(|packet| NdiscRepr::parse(&packet).map(|repr| solicitation(&repr)));
    Some(match parsed {
        Ok(Some((target, source_mac))) if !target.is_multicast() => Discovery::Solicitation(Solicitation {
            sender_mac: headers.src_mac,
            sender: src,
            target,
            source_mac,
        }),
        _ => Discovery::Invalid,
    })
}

fn solicitation(repr: &NdiscRepr<'_>) -> Option<(Ipv6Addr, Option<Mac>)> {
    match repr {
        NdiscRepr::NeighborSolicit { target_addr, lladdr } => {
            let mac = lladdr
                .as_ref()
                .and_then(|address| address.as_bytes().first_chunk::<6>().copied())
                .map(Mac);
            Some((*target_addr, mac))
        }
        _ => None,
    }
}

/// The frame that answers a solicitation: `mac` has the address that was asked for, and is a `router` or not.
pub fn advertisement(solicitation: &Solicitation, mac: Mac, router: bool) -> [u8; FRAME] {
    let mut bytes = [0; FRAME];
    let mut flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
    if router {
        flags |= NdiscNeighborFlags::ROUTER;
    }
    let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags,
        target_addr: solicitation.target,
        lladdr: Some(RawHardwareAddress::from_bytes(&mac.0)),
    });
    let network = Ipv6Repr {
        src_addr: solicitation.target,
        dst_addr: solicitation.sender,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    EthernetRepr {
        src_addr: EthernetAddress(mac.0),
        dst_addr: EthernetAddress(solicitation.sender_mac.0),
        ethertype: EthernetProtocol::Ipv6,
    }
    .emit(&mut ethernet);
    let mut packet = Ipv6Packet::new_unchecked(ethernet.payload_mut());
    network.emit(&mut packet);
    message.emit(
        &network.src_addr,
        &network.dst_addr,
        &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
        &ChecksumCapabilities::default(),
    );
    bytes
}
