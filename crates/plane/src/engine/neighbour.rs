//! ARP and neighbour discovery: the engine answers for whoever has the address, and forwards none of it.

use std::net::IpAddr;

use atoll_net::Mac;
use atoll_net::packet::arp::{self, Arp};
use atoll_net::packet::ndp::{self, Discovery};
use atoll_net::packet::{Headers, Transport, TransportChecksum, protocol};

use super::{Emission, Engine, Ip, Outbox};
use crate::port::{Attachment, Standing};
use crate::vnet::Vnet;

impl Engine {
    /// Answers an ARP request.
    pub(super) fn answer_arp(&mut self, standing: &Standing, arp: &Arp, out: &mut Outbox) {
        let asks = arp.request && !arp.is_gratuitous_or_probe();
        let answer = if asks && self.may_ask(standing, arp.sender_mac) {
            self.neighbour(standing, IpAddr::V4(arp.sender), IpAddr::V4(arp.target))
        } else {
            None
        };
        match answer {
            Some(mac) => self.send_made(standing.ifindex, &arp::reply(arp, mac), out),
            None => self.counters.neighbours_ignored += 1,
        }
    }

    /// Takes neighbour discovery, and multicast listener reports, out of the packets that rules are asked about.
    /// True if it was such.
    pub(super) fn discovery(&mut self, ip: &Ip, frame: &[u8], out: &mut Outbox) -> bool {
        let partial = ip.offloads.checksum == TransportChecksum::Partial;
        let Some(discovery) = ndp::parse(frame, &ip.headers, partial) else {
            let listener = is_listener_report(&ip.headers);
            self.counters.neighbours_ignored += u64::from(listener);
            return listener;
        };
        let answer = match &discovery {
            Discovery::Solicitation(asked)
                if !asked.sender.is_unspecified()
                    && asked.source_mac.is_none_or(|mac| mac == asked.sender_mac)
                    && self.may_ask(&ip.standing, asked.sender_mac) =>
            {
                self.neighbour(&ip.standing, IpAddr::V6(asked.sender), IpAddr::V6(asked.target))
                    .map(|mac| {
                        ndp::advertisement(asked, mac, self.is_router(&ip.standing, asked.target.into()))
                    })
            }
            _ => None,
        };
        match answer {
            Some(frame) => self.send_made(ip.standing.ifindex, &frame, out),
            None => self.counters.neighbours_ignored += 1,
        }
        true
    }

    /// Whether a frame's sender is who the port belongs to.
    fn may_ask(&self, standing: &Standing, sender: Mac) -> bool {
        match standing.attachment {
            Attachment::Eni(eni) => self.fabric.link(eni).is_some_and(|link| link.mac == sender),
            Attachment::Internet { station, .. } => sender == station,
        }
    }

    fn neighbour(&self, standing: &Standing, sender: IpAddr, target: IpAddr) -> Option<Mac> {
        match standing.attachment {
            Attachment::Eni(eni) => self.fabric.neighbour(eni, target),
            // Whatever is not the station's own is behind the gateways.
            Attachment::Internet { router, .. } => (sender != target).then_some(router),
        }
    }

    fn is_router(&self, standing: &Standing, target: IpAddr) -> bool {
        match standing.attachment {
            Attachment::Eni(eni) => self.fabric.routers(eni).contains(&target),
            Attachment::Internet { .. } => true,
        }
    }

    /// Sends a frame that was made here.
    pub(super) fn send_made(&mut self, ifindex: u32, frame: &[u8], out: &mut Outbox) {
        let mut data = Vec::with_capacity(Vnet::PLAIN.len() + frame.len());
        data.extend_from_slice(&Vnet::PLAIN);
        data.extend_from_slice(frame);
        self.counters.neighbours_answered += 1;
        out.push(Emission::Made { ifindex, data });
    }
}

/// Multicast listener discovery (RFC 2710, RFC 3810) to a link-scope group: there is no multicast to join.
fn is_listener_report(headers: &Headers) -> bool {
    let to_link = match headers.dst {
        IpAddr::V6(dst) => dst.is_multicast() && dst.octets()[1] & 0x0f == 2,
        IpAddr::V4(_) => false,
    };
    to_link
        && headers.protocol == protocol::ICMPV6
        && matches!(
            headers.transport,
            Transport::Icmp {
                kind: 130..=132 | 143,
                ..
            }
        )
}
