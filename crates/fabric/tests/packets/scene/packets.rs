//! The scene's packets: what a test sends, and what comes back.

use std::net::IpAddr;

use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{L4, Outcome, Packet, Port, Quote, Stage, Verdict, walk};
use atoll_model::EniId;
use atoll_net::Mac;

use super::{Scene, ip};

impl Scene {
    fn packet(&self, ingress: Port, src: IpAddr, dst: IpAddr, number: u8, l4: L4) -> Packet {
        let (mut src_mac, mut dst_mac) = (Mac::default(), Mac::default());
        if let Port::Eni(eni) = ingress {
            let link = self.fabric.link(eni).unwrap();
            src_mac = link.mac;
            // As a guest does: what ARP finds on the link, else the router.
            dst_mac = self.fabric.neighbour(eni, dst).unwrap_or(link.router_mac);
        }
        Packet {
            ingress,
            src_mac,
            dst_mac,
            src,
            dst,
            protocol: number,
            l4,
            hop_limit: 64,
            length: 100,
            dont_fragment: false,
            fragment: None,
            quote: None,
        }
    }

    fn own(&self, eni: EniId, dst: IpAddr) -> IpAddr {
        if dst.is_ipv4() {
            self.addr(eni)
        } else {
            self.addr6(eni)
        }
    }

    /// A TCP SYN.
    pub fn syn(&self, eni: EniId, dst: IpAddr, sport: u16, dport: u16) -> Packet {
        let l4 = L4::Ports {
            src: sport,
            dst: dport,
            tcp_flags: tcp::SYN,
        };
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, protocol::TCP, l4)
    }

    pub fn udp(&self, eni: EniId, dst: IpAddr, sport: u16, dport: u16) -> Packet {
        let l4 = L4::Ports {
            src: sport,
            dst: dport,
            tcp_flags: 0,
        };
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, protocol::UDP, l4)
    }

    pub fn ping(&self, eni: EniId, dst: IpAddr, id: u16) -> Packet {
        let (number, kind) = if dst.is_ipv4() {
            (protocol::ICMP, 8)
        } else {
            (protocol::ICMPV6, 128)
        };
        let l4 = L4::Icmp { kind, code: 0, id };
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, number, l4)
    }

    pub fn other(&self, eni: EniId, dst: IpAddr, number: u8) -> Packet {
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, number, L4::Other)
    }

    /// A TCP SYN from outside.
    pub fn syn_in(&self, src: &str, dst: IpAddr, sport: u16, dport: u16) -> Packet {
        let l4 = L4::Ports {
            src: sport,
            dst: dport,
            tcp_flags: tcp::SYN,
        };
        self.packet(Port::Internet, ip(src), dst, protocol::TCP, l4)
    }

    /// The answer to a packet by whom it was forwarded to.
    pub fn answer(&self, sent: &Packet, outcome: &Outcome) -> Packet {
        let Verdict::Forward(action) = &outcome.verdict else {
            panic!("{sent:?} was not forwarded: {:?}", outcome.verdict);
        };
        let got = outcome.forwarded(sent).unwrap();
        let l4 = match got.l4 {
            L4::Ports { src, dst, tcp_flags } => L4::Ports {
                src: dst,
                dst: src,
                tcp_flags: match (got.protocol, tcp_flags & tcp::SYN) {
                    (protocol::TCP, tcp::SYN) => tcp::SYN | tcp::ACK,
                    (protocol::TCP, _) => tcp::ACK,
                    _ => 0,
                },
            },
            L4::Icmp { kind: 8, code, id } => L4::Icmp { kind: 0, code, id },
            L4::Icmp { kind: 128, code, id } => L4::Icmp { kind: 129, code, id },
            other => other,
        };
        self.packet(action.out, got.dst, got.src, got.protocol, l4)
    }

    /// An ICMP error about a packet by whom it was forwarded to (or `from`, on the way).
    pub fn error(&self, sent: &Packet, outcome: &Outcome, from: Option<&str>, kind: u8, code: u8) -> Packet {
        let answer = self.answer(sent, outcome);
        let got = outcome.forwarded(sent).unwrap();
        let number = if got.src.is_ipv4() {
            protocol::ICMP
        } else {
            protocol::ICMPV6
        };
        Packet {
            src: from.map_or(answer.src, ip),
            protocol: number,
            l4: L4::Icmp { kind, code, id: 0 },
            quote: Some(Quote {
                src: got.src,
                dst: got.dst,
                protocol: got.protocol,
                l4: got.l4,
            }),
            ..answer
        }
    }

    /// Walks a packet, keeping hops, and commits its effects.
    pub fn send(&mut self, packet: &Packet) -> Outcome {
        self.hops.clear();
        let outcome = walk(&self.fabric, &self.flows, packet, self.now, &mut self.hops);
        self.flows.commit(&outcome.effects, self.now, 0).unwrap();
        outcome
    }

    /// Where a packet ends.
    pub fn stage(&mut self, packet: &Packet) -> Stage {
        self.send(packet).stage()
    }

    /// Sends a packet and its answer: where each ends.
    pub fn exchange(&mut self, packet: &Packet) -> (Stage, Stage) {
        let outcome = self.send(packet);
        let answer = self.answer(packet, &outcome);
        (outcome.stage(), self.stage(&answer))
    }
}

/// A packet made a later one of its connection: TCP's ACK.
pub fn acked(packet: &Packet) -> Packet {
    flagged(packet, tcp::ACK)
}

pub fn flagged(packet: &Packet, flags: u8) -> Packet {
    let mut packet = *packet;
    if let L4::Ports { tcp_flags, .. } = &mut packet.l4 {
        *tcp_flags = flags;
    }
    packet
}
