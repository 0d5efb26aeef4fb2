//! Address resolution for IPv4 (RFC 826).

use std::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

use super::frame::{ETHERNET_HEADER, Malformed};
use crate::Mac;

/// Length of an ARP frame without padding.
pub const FRAME: usize = ETHERNET_HEADER + 28;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks; else it answers.
    pub request: bool,
    /// Sender of the frame, which is also the packet's sender.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe for duplicates (RFC 5227).
    pub sender: Ipv4Addr,
    /// The address asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Whether it only announces the sender's own address or probes whether it is taken: nobody answers.
    pub fn is_gratuitous_or_probe(&self) -> bool {
        self.sender == self.target || self.sender.is_unspecified()
    }
}

pub(super) fn parse(frame: &[u8]) -> Result<Arp, Malformed> {
    let ethernet = EthernetFrame::new_checked(frame).map_err(|_| Malformed::Truncated)?;
    let packet = ArpPacket::new_checked(ethernet.payload()).map_err(|_| Malformed::Arp)?;
    match ArpRepr::parse(&packet).map_err(|_| Malformed::Arp)? {
        ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } => {
            let request = match operation {
                ArpOperation::Request => true,
                ArpOperation::Reply => false,
                ArpOperation::Unknown(_) => return Err(Malformed::Arp),
            };
            if source_hardware_addr != ethernet.src_addr() {
                return Err(Malformed::Arp);
            }
            Ok(Arp {
                request,
                sender_mac: Mac(source_hardware_addr.0),
                sender: source_protocol_addr,
                target: target_protocol_addr,
            })
        }
        _ => Err(Malformed::Arp),
    }
}

/// The frame that answers a request: `mac` has the address that was asked for.
pub fn reply(request: &Arp, mac: Mac) -> [u8; FRAME] {
    let mut bytes = [0; FRAME];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    EthernetRepr {
        src_addr: EthernetAddress(mac.0),
        dst_addr: EthernetAddress(request.sender_mac.0),
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut ethernet);
    ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(mac.0),
        source_protocol_addr: request.target,
        target_hardware_addr: EthernetAddress(request.sender_mac.0),
        target_protocol_addr: request.sender,
    }
    .emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
    bytes
}
