//! A second opinion about what becomes of a packet: written from the packet facts alone ("semantics NN"), over
//! plain rows, by linear scans, without any cache, compiled form or cleverness. It shares the vocabulary of
//! `atoll_fabric` (packets and stages), not its decisions. Here is the way of a packet.
//! Only the choice of a NAT port is the walk's freedom (semantics 79): it is told, and held to the rules.

mod filters;
mod gateways;

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_fabric::flows::Mapping;
use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{L4, Packet, Port, Stage};
use atoll_model::{RouteTarget as To, *};

use crate::world::lookup::{is_attached, names, works};
use crate::world::packets::{Ends, Side, begins, ends, mapped, quoted, says};
use crate::world::{World, within};

/// How a packet ended: where it goes out and as what, or at which stage.
pub type End = Result<(Port, Packet), Stage>;
type Go<T = ()> = Result<T, Stage>;

/// What is remembered between packets: connections by who remembers them, an interface or an egress-only gateway;
/// and NAT mappings, with who has said FIN (inside, outside) and their deadlines.
#[derive(Default)]
pub struct Oracle {
    flows: BTreeMap<(To, Ends), filters::Life>,
    maps: Vec<(NatGatewayId, Mapping, [bool; 2], u64)>,
}

struct Trip<'a> {
    world: &'a World,
    memory: &'a mut Oracle,
    /// Mappings that the walk made or used.
    taken: &'a [Mapping],
    now: u64,
    packet: Packet,
    /// The interface that sent it in its own name (semantics 21, 38, 42).
    identity: Option<EniId>,
    /// Whether its flow is tracked whatever the rules (semantics 45).
    automatic: bool,
    legs: usize,
}

impl Oracle {
    /// What becomes of the packet, remembering what it leaves behind.
    pub fn judge(&mut self, world: &World, packet: Packet, now: Timestamp, taken: &[Mapping]) -> End {
        let mut trip = Trip {
            world,
            memory: self,
            taken,
            now: now.0,
            packet,
            identity: None,
            automatic: false,
            legs: 0,
        };
        match packet.ingress {
            Port::Eni(eni) => trip.leave(eni),
            Port::Internet => {
                trip.sane()?;
                need(!trip.is_ours(packet.src), Stage::SpoofedAtGateway)?; // so it does not come from there
                trip.inwards()
            }
        }
    }
}

impl Trip<'_> {
    /// What no packet may be, wherever it comes from.
    fn sane(&self) -> Go {
        let (src, dst) = (self.packet.src, self.packet.dst);
        need(src.is_ipv4() == dst.is_ipv4(), Stage::Malformed)?;
        let many = dst.is_multicast() || dst == IpAddr::from([255; 4]);
        need(!many && !self.packet.dst_mac.is_multicast(), Stage::Multicast)?; // semantics 61
        need(self.packet.hop_limit > 0, Stage::HopLimit)?;
        let local = within(dst, &["169.254.0.0/16", "fe80::/10"]);
        need(!local, Stage::LinkLocalRange)
    }

    /// Out of an interface.
    fn leave(&mut self, id: EniId) -> End {
        let (world, packet) = (self.world, self.packet);
        let eni = world.enis.get(&id).filter(|e| world.runs(e));
        let eni = eni.ok_or(Stage::NotRunning)?;
        need(packet.src_mac == eni.mac, Stage::MacSpoofed)?;
        self.sane()?;
        let own = eni.has_address(packet.src);
        need(own || !eni.source_dest_check, Stage::SourceDestCheck)?; // semantics 65
        self.fits(9001)?;
        self.identity = own.then_some(id);
        let on_link = packet.dst_mac != world.subnets[&eni.subnet].router_mac();
        let mut next = self.route(eni.subnet);
        if on_link {
            let mut stations = world.enis.values().filter(|e| e.subnet == eni.subnet);
            next = interface(stations.find(|e| e.mac == packet.dst_mac)); // semantics 10
        }
        self.automatic = matches!(next, Ok(To::NatGateway(_) | To::EgressOnlyGateway(_)));
        let before = self.memory.flows.clone();
        self.security_groups(eni, true)?;
        if !on_link {
            next = self.depart(eni.subnet, next);
        }
        if next.is_err() {
            self.memory.flows = before; // what does not get out of its subnet begins no connection
        }
        self.arrive(Some(eni), next?, on_link)
    }

    /// Out of a subnet by its router: the ACL unless the packet stays in it (semantics 23), then the route.
    fn depart(&self, from: SubnetId, next: Go<To>) -> Go<To> {
        let stays = match next {
            Ok(To::NetworkInterface(id)) => self.world.enis[&id].subnet == from,
            Ok(To::NatGateway(id)) => self.world.nats[&id].subnet == from,
            Err(Stage::NoSuchAddress) => self.world.subnets[&from].contains(self.packet.dst),
            _ => false,
        };
        if !stays {
            self.network_acl(from, true)?;
        }
        next
    }

    /// Where the packet's destination leads from a subnet.
    fn route(&self, from: SubnetId) -> Go<To> {
        let target = longest(self.world.table_of(from), self.packet.dst);
        self.follow(self.world.subnets[&from].vpc, target.ok_or(Stage::NoRoute)?)
    }

    /// What a route's target is now, if it is there: a gateway or an interface.
    fn follow(&self, vpc: VpcId, target: To) -> Go<To> {
        let (world, dst) = (self.world, self.packet.dst);
        let mut enis = world.enis_in(vpc);
        let there = match target {
            To::Local => return interface(enis.find(|e| e.has_address(dst))),
            To::InternetGateway(id) => world.igws.get(&id).is_some_and(|g| g.vpc == Some(vpc)),
            To::EgressOnlyGateway(id) => world.eigws.get(&id).is_some_and(|g| g.vpc == vpc),
            To::NatGateway(id) => world.nats.get(&id).is_some_and(|n| n.vpc == vpc && works(n)),
            To::NetworkInterface(id) => enis.any(|e| e.id == id && world.runs(e)),
        };
        need(there, Stage::BlackholeRoute).map(|()| target)
    }

    /// At a gateway or an interface, sent by an interface or from outside.
    fn arrive(&mut self, sender: Option<&NetworkInterface>, next: To, on_link: bool) -> End {
        let world = self.world;
        self.legs += 1;
        need(self.legs <= 16, Stage::RoutingLoop)?;
        let id = match next {
            To::InternetGateway(id) => return self.outwards(next, world.igws[&id].vpc, sender),
            To::EgressOnlyGateway(id) => return self.outwards(next, Some(world.eigws[&id].vpc), sender),
            To::NatGateway(id) => world.nats[&id].eni,
            To::NetworkInterface(id) => Some(id),
            To::Local => None,
        };
        let mut enis = world.enis.values();
        let eni = enis.find(|e| Some(e.id) == id).ok_or(Stage::NoSuchAddress)?;
        if sender.is_none_or(|sender| sender.subnet != eni.subnet) {
            self.network_acl(eni.subnet, false)?; // semantics 23
        }
        if let Some(nat) = world.nat_of(eni.id) {
            return self.translate(nat, eni, on_link);
        }
        need(world.runs(eni), Stage::NotRunning)?;
        let own = eni.has_address(self.packet.dst);
        need(own || !eni.source_dest_check, Stage::SourceDestCheck)?; // semantics 65
        self.security_groups(eni, false)?;
        Ok((Port::Eni(eni.id), self.packet))
    }

    /// semantics 129, 130: what is too long is cut into fragments or, if that may not be, dropped.
    fn fits(&self, mtu: u32) -> Go {
        let divisible = self.packet.dst.is_ipv4() && !self.packet.dont_fragment;
        need(divisible || self.packet.length <= mtu, Stage::MtuExceeded)
    }

    fn hop(&mut self) -> Go {
        self.packet.hop_limit -= 1;
        need(self.packet.hop_limit > 0, Stage::HopLimit)
    }
}

fn need(holds: bool, stage: Stage) -> Go {
    holds.then_some(()).ok_or(stage)
}

fn interface(found: Option<&NetworkInterface>) -> Go<To> {
    let id = found.ok_or(Stage::NoSuchAddress)?.id;
    Ok(To::NetworkInterface(id))
}

/// The longest prefix of a table that contains an address (semantics 1).
fn longest(table: Option<&RouteTable>, addr: IpAddr) -> Option<To> {
    let routes = table.into_iter().flat_map(|t| &t.routes);
    let matching = routes.filter(|(p, _)| p.contains(addr));
    matching.max_by_key(|(p, _)| p.length()).map(|(_, r)| r.target)
}
