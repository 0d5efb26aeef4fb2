//! Random packets, aimed near what the rules are about.

use std::net::{IpAddr, Ipv4Addr};

use atoll_fabric::flows::Mapping;
use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{Fragment, L4, Packet, Port, Quote};
use atoll_model::*;
use atoll_net::{Family, Mac};

use super::lookup::names;
use super::{Choices, World, internet_v4, internet_v6};

/// A packet that arrived somewhere, for replies to it: the port it went out of, and as what.
pub type Arrived = (Port, Packet);

impl World {
    /// A first packet of something.
    pub fn packet(&self, choices: &mut Choices) -> Option<Packet> {
        if choices.chance(25) {
            return Some(self.packet_from_internet(choices));
        }
        let id = choices.pick(&self.instance_enis())?;
        let eni = self.enis.get(&id)?;
        let dst = self.destination(eni, choices)?;
        let own: Vec<IpAddr> = eni
            .addresses()
            .filter(|a| Family::of(*a) == Family::of(dst))
            .collect();
        let mut src = choices.pick(&own).unwrap_or(eni.addresses().next()?);
        if choices.chance(5) {
            // Another's address: spoofed, or forwarded for it where the check is off.
            let all: Vec<IpAddr> = self.enis.values().flat_map(|e| e.addresses()).collect();
            src = choices.pick(&all)?;
        }
        if !eni.source_dest_check && choices.chance(8) {
            src = internet_v4()[choices.below(3)];
        }
        let mut packet = Packet {
            ingress: Port::Eni(id),
            src_mac: eni.mac,
            dst_mac: self.next_mac(eni, dst),
            ..plain(src, dst)
        };
        if choices.chance(2) {
            packet.src_mac = Mac([2, 0, 0, 0, 0, 9]);
        }
        match choices.below(40) {
            39 => packet.dst_mac = Mac([2, 0, 0, 0, 0, 8]),
            38 => packet.dst_mac = Mac::BROADCAST,
            // By the router though on the link, or on the link though to be routed.
            36 | 37 => packet.dst_mac = self.router_mac(eni),
            33..=35 => {
                let peers = self.enis.values().filter(|e| e.subnet == eni.subnet);
                packet.dst_mac = choices.pick(&peers.map(|e| e.mac).collect::<Vec<_>>())?;
            }
            _ => {}
        }
        Some(dress(packet, choices))
    }

    fn packet_from_internet(&self, choices: &mut Choices) -> Packet {
        let known = self.enis.values().flat_map(names);
        let public: Vec<IpAddr> = known.map(|(_, public)| public).collect();
        let mut dst = choices
            .pick(&public)
            .unwrap_or(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 255)));
        if choices.chance(5) {
            dst = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 255));
        }
        let mut src = match Family::of(dst) {
            Family::V4 => internet_v4()[choices.below(3)],
            Family::V6 => internet_v6()[choices.below(2)],
        };
        if choices.chance(5) {
            src = [[10, 0, 0, 4], [100, 64, 0, 4]].map(IpAddr::from)[choices.below(2)];
        }
        let packet = Packet {
            ingress: Port::Internet,
            ..plain(src, dst)
        };
        dress(packet, choices)
    }

    /// Where an interface may want to send.
    fn destination(&self, from: &NetworkInterface, choices: &mut Choices) -> Option<IpAddr> {
        let vpc = self.vpcs.get(&from.vpc)?;
        let subnet = self.subnets.get(&from.subnet)?;
        let v6 = !from.ipv6_addresses.is_empty() && (from.private_addresses.is_empty() || choices.chance(30));
        let family = if v6 { Family::V6 } else { Family::V4 };
        let addresses = |inside: bool| -> Vec<IpAddr> {
            let enis = self
                .enis
                .values()
                .filter(|e| (e.vpc == vpc.id) == inside && e.id != from.id);
            enis.flat_map(|e| e.addresses().collect::<Vec<_>>())
                .filter(|a| Family::of(*a) == family)
                .collect()
        };
        let outside: Vec<IpAddr> = match family {
            Family::V4 => internet_v4().to_vec(),
            Family::V6 => internet_v6().to_vec(),
        };
        match choices.below(20) {
            0..=8 => choices.pick(&addresses(true)).or(choices.pick(&outside)),
            9..=13 => choices.pick(&outside),
            14 | 15 => {
                let publics = self
                    .enis
                    .values()
                    .flat_map(|e| e.private_addresses.iter().filter_map(|a| a.public));
                let publics: Vec<IpAddr> = publics.map(|p| IpAddr::V4(p.ip)).collect();
                choices.pick(&publics).filter(|_| !v6).or(choices.pick(&outside))
            }
            16 => choices.pick(&addresses(false)).or(choices.pick(&outside)),
            17 => {
                // Reserved and unused addresses of this subnet and of another.
                let subnets = self.subnets.values().filter(|s| s.vpc == vpc.id);
                let blocks = subnets.flat_map(Subnet::blocks);
                let blocks: Vec<_> = blocks.filter(|b| b.family() == family).collect();
                let block = choices.pick(&blocks)?;
                block.nth([1, 2, 0, 3, 201, block.size() - 1][choices.below(6)])
            }
            18 => subnet
                .cidr
                .and_then(|b| b.nth(201))
                .filter(|_| !v6)
                .or(choices.pick(&outside)),
            _ => {
                let odd = [
                    "10.200.0.1",
                    "192.168.0.1",
                    "100.64.200.1",
                    "224.0.0.9",
                    "255.255.255.255",
                    "169.254.169.250",
                    "ff02::5",
                    "fe80::77",
                    "198.51.100.255",
                ];
                odd[choices.below(odd.len())].parse().ok()
            }
        }
    }

    fn router_mac(&self, eni: &NetworkInterface) -> Mac {
        self.subnets
            .get(&eni.subnet)
            .map(Subnet::router_mac)
            .unwrap_or_default()
    }

    /// What ARP would find: a neighbour on the link, else the router.
    fn next_mac(&self, eni: &NetworkInterface, dst: IpAddr) -> Mac {
        let mut peers = self
            .enis
            .values()
            .filter(|e| e.subnet == eni.subnet && e.id != eni.id);
        peers
            .find(|e| e.has_address(dst))
            .map_or(self.router_mac(eni), |peer| peer.mac)
    }

    /// An answer to a packet that arrived.
    pub fn reply(&self, (port, got): &Arrived, choices: &mut Choices) -> Option<Packet> {
        let l4 = match got.l4 {
            L4::Ports { src, dst, tcp_flags } => L4::Ports {
                src: dst,
                dst: src,
                tcp_flags: if got.protocol != protocol::TCP {
                    0
                } else if tcp_flags & tcp::ACK == 0 {
                    tcp::SYN | tcp::ACK
                } else {
                    random_flags(choices)
                },
            },
            L4::Icmp { kind: 8, id, .. } => L4::Icmp { kind: 0, code: 0, id },
            L4::Icmp { kind: 128, id, .. } => L4::Icmp {
                kind: 129,
                code: 0,
                id,
            },
            // A reply's answer: the next question.
            L4::Icmp { kind: 0, id, .. } => L4::Icmp { kind: 8, code: 0, id },
            L4::Icmp { kind: 129, id, .. } => L4::Icmp {
                kind: 128,
                code: 0,
                id,
            },
            L4::Icmp { .. } => return None,
            L4::Other => L4::Other,
        };
        let mut packet = Packet {
            ingress: *port,
            src_mac: got.dst_mac,
            dst_mac: got.src_mac,
            l4,
            protocol: got.protocol,
            ..plain(got.dst, got.src)
        };
        if choices.chance(12) && got.fragment.is_none() {
            // Or an error about it.
            packet.quote = Some(Quote {
                src: got.src,
                dst: got.dst,
                protocol: got.protocol,
                l4: got.l4,
            });
            let v6 = got.dst.is_ipv6();
            packet.protocol = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
            let kinds = if v6 { [(2, 0), (1, 4)] } else { [(3, 4), (11, 0)] };
            let (kind, code) = kinds[choices.below(2)];
            packet.l4 = L4::Icmp { kind, code, id: 0 };
            if *port == Port::Internet && choices.chance(30) {
                packet.src = if v6 { internet_v6()[1] } else { internet_v4()[2] };
            }
        }
        Some(packet)
    }
}

/// A TCP packet with nothing unusual about it, still without ports.
pub fn plain(src: IpAddr, dst: IpAddr) -> Packet {
    Packet {
        ingress: Port::Internet,
        src_mac: Mac::default(),
        dst_mac: Mac::default(),
        src,
        dst,
        protocol: protocol::TCP,
        l4: L4::Other,
        hop_limit: 64,
        length: 100,
        dont_fragment: true,
        fragment: None,
        quote: None,
    }
}

/// Gives a packet its transport part and, at times, something unusual.
fn dress(mut packet: Packet, choices: &mut Choices) -> Packet {
    let src = [40_000, 40_001, 1024, 80][choices.below(4)];
    let dst = [80, 443, 22, 53, 5432, 40_000][choices.below(6)];
    let v6 = packet.dst.is_ipv6();
    let icmp = |kind| L4::Icmp { kind, code: 0, id: 7 };
    (packet.protocol, packet.l4) = match choices.below(20) {
        0..=8 => (
            protocol::TCP,
            L4::Ports {
                src,
                dst,
                tcp_flags: tcp::SYN,
            },
        ),
        9 => (
            protocol::TCP,
            L4::Ports {
                src,
                dst,
                tcp_flags: random_flags(choices),
            },
        ),
        10..=14 => (
            protocol::UDP,
            L4::Ports {
                src,
                dst,
                tcp_flags: 0,
            },
        ),
        15 | 16 if v6 => (protocol::ICMPV6, icmp(128)),
        15 | 16 => (protocol::ICMP, icmp(8)),
        17 if v6 => (protocol::ICMPV6, icmp(129)),
        17 => (protocol::ICMP, icmp(0)),
        18 => (47, L4::Other),
        _ => (
            protocol::UDP,
            L4::Ports {
                src,
                dst: 53,
                tcp_flags: 0,
            },
        ),
    };
    if choices.chance(8) {
        packet.hop_limit = [0, 1, 2, 3][choices.below(4)];
    }
    if choices.chance(10) {
        packet.length = [1500, 1501, 9001, 9002][choices.below(4)];
        packet.dont_fragment = !choices.chance(30);
    }
    if choices.chance(4) && !v6 {
        let more = choices.chance(50);
        packet.dont_fragment = false;
        packet.fragment = Some(Fragment {
            id: 5,
            offset: if more { 0 } else { 1480 },
            more,
        });
    }
    packet
}

fn random_flags(choices: &mut Choices) -> u8 {
    [tcp::ACK, tcp::ACK | tcp::FIN, tcp::RST, tcp::SYN][choices.below(4)]
}

/// An address with a port or an ICMP identifier.
pub type Side = (IpAddr, u16);

/// Protocol, near side, far side; of an ICMP query or answer, whether the near side is the one that asks.
pub type Ends = (u8, Side, Side, bool);

/// The two ends of a packet that goes out or comes in. An ICMP identifier is the near one's.
pub fn ends(p: &Packet, outgoing: bool) -> Ends {
    let (src, dst, asking) = match p.l4 {
        L4::Ports { src, dst, .. } => (src, dst, false),
        L4::Icmp { id, .. } if outgoing => (id, 0, asks(p)),
        L4::Icmp { id, .. } => (0, id, !asks(p)),
        L4::Other => (0, 0, false),
    };
    match outgoing {
        true => (p.protocol, (p.src, src), (p.dst, dst), asking),
        false => (p.protocol, (p.dst, dst), (p.src, src), asking),
    }
}

/// Whether it is an ICMP query.
fn asks(p: &Packet) -> bool {
    let kinds = [(protocol::ICMP, 8), (protocol::ICMPV6, 128)];
    matches!(p.l4, L4::Icmp { kind, .. } if kinds.contains(&(p.protocol, kind)))
}

/// Whether a connection may begin with it: TCP's first segment, a query, and whatever else there is.
pub fn begins(p: &Packet) -> bool {
    match (p.protocol, p.l4) {
        (protocol::TCP, L4::Ports { tcp_flags, .. }) => tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN,
        (_, L4::Icmp { .. }) => asks(p),
        _ => true,
    }
}

/// Whether a segment has a flag.
pub fn says(p: &Packet, flag: u8) -> bool {
    matches!(p.l4, L4::Ports { tcp_flags, .. } if tcp_flags & flag != 0)
}

/// What an ICMP error is about, as if it were a packet.
pub fn quoted(p: &Packet) -> Option<Packet> {
    let (quote, mut about) = (p.quote.filter(|_| p.is_icmp_error())?, *p);
    (about.src, about.dst) = (quote.src, quote.dst);
    (about.protocol, about.l4) = (quote.protocol, quote.l4);
    Some(about)
}

/// A mapping's connection as [`ends`], with the gateway's side as it is known inside or outside. It was the inside
/// that asked: an identifier makes no answer of a question, nor the other way round (semantics 85).
pub fn mapped(m: &Mapping, outside: bool) -> Ends {
    let near = match outside {
        true => (m.outside.into(), m.outside_port),
        false => (m.inside.into(), m.inside_port),
    };
    let far = (m.remote.into(), m.remote_port);
    (m.protocol, near, far, m.protocol == protocol::ICMP)
}
