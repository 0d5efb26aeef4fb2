//! A second opinion about what becomes of a packet: written from the packet facts alone ("semantics NN"), over
//! plain rows, by linear scans, without any cache, compiled form or cleverness. It shares the vocabulary of
//! `atoll_fabric` (packets and stages), not its decisions.
//!
//! Only the choice of a NAT port is the walk's freedom (semantics 79): it is told, and held to the rules here.
#![allow(dead_code, reason = "each test binary uses a part")]

mod gateways;

use std::net::IpAddr;

use atoll_fabric::flows::Mapping;
use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{L4, Packet, Port, Stage};
use atoll_model::network_interface::InterfaceType;
use atoll_model::route_table::AssociationTarget;
use atoll_model::*;

use crate::world::{World, prefix};

/// A connection that an interface or an egress-only gateway remembers.
#[derive(Clone, Debug)]
struct Flow {
    owner: Owner,
    key: Key,
    from_owner: bool,
    replied: bool,
    stream: bool,
    fins: [bool; 2],
    reset: bool,
    deadline: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Eni(EniId),
    Gateway(EgressOnlyGatewayId),
}

/// Protocol, the owner's address and port, the far ones; of an ICMP query its identifier, kind and whether the
/// owner asks.
type Key = (u8, IpAddr, u16, IpAddr, u16, bool);

/// An address with a port or an ICMP identifier.
type Side = (IpAddr, u16);

/// A NAT mapping: gateway, protocol, inside, outside, remote, each with port or identifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map {
    pub gateway: NatGatewayId,
    pub protocol: u8,
    pub inside: Side,
    pub outside: Side,
    pub remote: Side,
    pub deadline: u64,
}

/// What is remembered between packets.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    flows: Vec<Flow>,
    maps: Vec<Map>,
    /// A mapping to a port that the walk must not have taken.
    pub wrong_port: Option<Map>,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Eni(EniId),
    Igw(InternetGatewayId),
    Eigw(EgressOnlyGatewayId),
}

/// How a packet ended: where it goes out and as what, or at which stage.
pub type End = Result<(Port, Packet), Stage>;

struct Trip<'a> {
    world: &'a World,
    memory: &'a mut Oracle,
    now: u64,
    packet: Packet,
    /// The interface that sent it in its own name (semantics 21, 38, 42).
    identity: Option<EniId>,
    /// Whether its flow is tracked whatever the rules (semantics 45).
    automatic: bool,
    /// Mappings that the walk made or used.
    taken: &'a [Mapping],
    legs: usize,
    effects: usize,
}

impl Oracle {
    /// What becomes of the packet, remembering what it leaves behind. `taken` are the mappings
    /// that the walk made or used.
    pub fn judge(&mut self, world: &World, packet: &Packet, now: Timestamp, taken: &[Mapping]) -> End {
        let mut trip = Trip {
            world,
            memory: self,
            now: now.0,
            packet: *packet,
            identity: None,
            automatic: false,
            taken,
            legs: 0,
            effects: 0,
        };
        match packet.ingress {
            Port::Eni(eni) => trip.leave(eni),
            Port::Internet => {
                trip.sane()?;
                let elastic = |e: &ElasticIp| IpAddr::V4(e.public) == packet.src;
                if trip.known_outside(packet.src) || world.eips.values().any(elastic) {
                    return Err(Stage::SpoofedAtGateway); // ours, so it does not come from there
                }
                trip.inwards()
            }
        }
    }
}

impl Trip<'_> {
    fn eni(&self, id: EniId) -> Option<&NetworkInterface> {
        self.world.enis.get(&id)
    }

    /// Attached to an instance whose guest runs: from its start to its last word.
    fn runs(&self, eni: &NetworkInterface) -> bool {
        let instance = eni
            .attachment
            .as_ref()
            .and_then(|a| self.world.instances.get(&a.instance));
        use InstanceState::{Pending, Running, ShuttingDown, Stopping};
        instance.is_some_and(|i| matches!(i.state, Pending | Running | Stopping | ShuttingDown))
    }

    /// Attached to an instance, or a NAT gateway's own.
    fn attached(&self, eni: &NetworkInterface) -> bool {
        eni.attachment.is_some() || eni.interface_type == InterfaceType::NatGateway
    }

    /// The working NAT gateway whose interface this is.
    fn nat_of(&self, eni: EniId) -> Option<&NatGateway> {
        let mut nats = self.world.nats.values();
        nats.find(|n| n.eni == Some(eni) && n.state == NatGatewayState::Available)
    }

    /// What no packet may be, wherever it comes from.
    fn sane(&self) -> Result<(), Stage> {
        let packet = &self.packet;
        if packet.src.is_ipv4() != packet.dst.is_ipv4() {
            return Err(Stage::Malformed);
        }
        let broadcast = packet.dst == IpAddr::from([255, 255, 255, 255]);
        if packet.dst.is_multicast() || broadcast || packet.dst_mac.is_multicast() {
            return Err(Stage::Multicast); // semantics 61
        }
        if packet.hop_limit == 0 {
            return Err(Stage::HopLimit);
        }
        if prefix("169.254.0.0/16").contains(packet.dst) || prefix("fe80::/10").contains(packet.dst) {
            return Err(Stage::LinkLocalRange);
        }
        Ok(())
    }

    fn leave(&mut self, id: EniId) -> End {
        let world = self.world;
        let Some(eni) = world.enis.get(&id).filter(|e| self.runs(e)) else {
            return Err(Stage::NotRunning);
        };
        let packet = self.packet;
        if packet.src_mac != eni.mac {
            return Err(Stage::MacSpoofed);
        }
        self.sane()?;
        if eni.source_dest_check && !eni.has_address(packet.src) {
            return Err(Stage::SourceDestCheck); // semantics 65
        }
        self.fits(9001)?;
        self.identity = eni.has_address(packet.src).then_some(id);
        let subnet = world.subnets.get(&eni.subnet).ok_or(Stage::NoSuchAddress)?;
        let on_link = packet.dst_mac != subnet.router_mac();
        let next = if on_link {
            let mut stations = world.enis.values().filter(|e| e.subnet == eni.subnet);
            let station = stations.find(|e| e.mac == packet.dst_mac);
            station.map(|e| Next::Eni(e.id)).ok_or(Stage::NoSuchAddress)
        } else {
            self.route(eni.subnet)
        };
        let target = self
            .target(eni.subnet, packet.dst)
            .filter(|_| !on_link && next.is_ok());
        self.automatic = matches!(
            target,
            Some(RouteTarget::NatGateway(_) | RouteTarget::EgressOnlyGateway(_))
        );
        let before = self.memory.flows.clone();
        self.security_groups(eni, Direction::Egress)?;
        let next = if on_link {
            next
        } else {
            self.depart(eni.subnet, next)
        };
        if next.is_err() {
            // What does not even get out of its subnet begins no connection. (AWS does not tell.)
            self.memory.flows = before;
        }
        self.arrive(Some(eni.subnet), Some(id), next?, on_link)
    }

    /// Out of a subnet by its router: the ACL unless the packet stays in the subnet (semantics 23), then the route.
    fn depart(&self, from: SubnetId, next: Result<Next, Stage>) -> Result<Next, Stage> {
        let subnet = self.world.subnets.get(&from).ok_or(Stage::NoRoute)?;
        let stays = match next {
            Ok(Next::Eni(eni)) => self.eni(eni).is_some_and(|e| e.subnet == from),
            Ok(_) => false,
            Err(Stage::NoSuchAddress) => subnet.contains(self.packet.dst),
            Err(_) => false,
        };
        if !stays {
            self.network_acl(from, Direction::Egress)?;
        }
        next
    }

    /// The longest prefix of a table that contains an address (semantics 1).
    fn longest(table: &RouteTable, addr: IpAddr) -> Option<RouteTarget> {
        let matching = table.routes.iter().filter(|(p, _)| p.contains(addr));
        matching.max_by_key(|(p, _)| p.length()).map(|(_, r)| r.target)
    }

    /// Where the packet's destination leads from a subnet.
    fn route(&self, from: SubnetId) -> Result<Next, Stage> {
        let target = self.target(from, self.packet.dst).ok_or(Stage::NoRoute)?;
        let vpc = self
            .world
            .subnets
            .get(&from)
            .map(|s| s.vpc)
            .ok_or(Stage::NoRoute)?;
        self.follow(vpc, target)
    }

    /// semantics 9: the table associated with the subnet, else the main one.
    fn target(&self, from: SubnetId, addr: IpAddr) -> Option<RouteTarget> {
        let vpc = self.world.subnets.get(&from)?.vpc;
        let tables = || self.world.tables.values();
        let own = tables().find(|t| t.subnets().any(|s| s == from));
        let table = own.or_else(|| tables().find(|t| t.vpc == vpc && t.is_main()))?;
        Self::longest(table, addr)
    }

    /// What a route's target is now.
    fn follow(&self, vpc: VpcId, target: RouteTarget) -> Result<Next, Stage> {
        let world = self.world;
        match target {
            RouteTarget::Local => {
                let mut enis = world.enis.values().filter(|e| e.vpc == vpc);
                let owner = enis.find(|e| e.has_address(self.packet.dst));
                owner.map(|e| Next::Eni(e.id)).ok_or(Stage::NoSuchAddress)
            }
            RouteTarget::InternetGateway(id) => {
                let there = world.igws.get(&id).is_some_and(|g| g.vpc == Some(vpc));
                there.then_some(Next::Igw(id)).ok_or(Stage::BlackholeRoute)
            }
            RouteTarget::EgressOnlyGateway(id) => {
                let there = world.eigws.get(&id).is_some_and(|g| g.vpc == vpc);
                there.then_some(Next::Eigw(id)).ok_or(Stage::BlackholeRoute)
            }
            RouteTarget::NatGateway(id) => {
                let nat = world.nats.get(&id);
                let nat = nat.filter(|n| n.vpc == vpc && n.state == NatGatewayState::Available);
                nat.and_then(|n| n.eni)
                    .map(Next::Eni)
                    .ok_or(Stage::BlackholeRoute)
            }
            RouteTarget::NetworkInterface(id) => {
                let there = self.eni(id).is_some_and(|e| e.vpc == vpc && self.runs(e));
                there.then_some(Next::Eni(id)).ok_or(Stage::BlackholeRoute)
            }
        }
    }

    fn arrive(&mut self, from: Option<SubnetId>, sender: Option<EniId>, next: Next, on_link: bool) -> End {
        self.legs += 1;
        if self.legs > 16 {
            return Err(Stage::RoutingLoop);
        }
        let world = self.world;
        let id = match next {
            Next::Igw(id) => return self.outwards(id, sender),
            Next::Eigw(id) => return self.out_only(id),
            Next::Eni(id) => id,
        };
        let eni = world.enis.get(&id).ok_or(Stage::NoSuchAddress)?;
        if from != Some(eni.subnet) {
            self.network_acl(eni.subnet, Direction::Ingress)?;
        }
        if let Some(nat) = self.nat_of(id) {
            return self.translate(&nat.clone(), eni, on_link);
        }
        if !self.runs(eni) {
            return Err(Stage::NotRunning);
        }
        if eni.source_dest_check && !eni.has_address(self.packet.dst) {
            return Err(Stage::SourceDestCheck); // semantics 65
        }
        self.security_groups(eni, Direction::Ingress)?;
        Ok((Port::Eni(id), self.packet))
    }

    /// semantics 129, 130: what is too long is cut into fragments or, if that may not be, dropped.
    fn fits(&self, mtu: u32) -> Result<(), Stage> {
        let whole = self.packet.dont_fragment || self.packet.dst.is_ipv6();
        if whole && self.packet.length > mtu {
            return Err(Stage::MtuExceeded);
        }
        Ok(())
    }

    fn hop(&mut self) -> Result<(), Stage> {
        if self.packet.hop_limit <= 1 {
            return Err(Stage::HopLimit);
        }
        self.packet.hop_limit -= 1;
        Ok(())
    }

    // ---- filters ----

    /// semantics 22: in order of number, the first that matches decides; after the last one, deny.
    fn network_acl(&self, subnet: SubnetId, direction: Direction) -> Result<(), Stage> {
        let mut acls = self.world.acls.values();
        let acl = acls.find(|a| a.associations.values().any(|s| *s == subnet));
        let (rules, remote, denied) = match direction {
            Direction::Ingress => (acl.map(|a| &a.ingress), self.packet.src, Stage::NaclIngress),
            Direction::Egress => (acl.map(|a| &a.egress), self.packet.dst, Stage::NaclEgress),
        };
        let first = rules
            .into_iter()
            .flatten()
            .map(|(_, rule)| rule)
            .find(|rule| rule.cidr.contains(remote) && matches(rule.traffic, &self.packet));
        match first {
            Some(rule) if rule.action == RuleAction::Allow => Ok(()),
            _ => Err(denied),
        }
    }

    fn rules(&self, eni: &NetworkInterface, direction: Direction) -> Vec<SecurityGroupRule> {
        let groups = eni.groups.iter().filter_map(|g| self.world.groups.get(g));
        groups
            .flat_map(|g| g.rules_of(direction).map(|(_, r)| r.clone()))
            .collect()
    }

    fn security_groups(&mut self, eni: &NetworkInterface, direction: Direction) -> Result<(), Stage> {
        let outgoing = direction == Direction::Egress;
        if self.reminds(Owner::Eni(eni.id), outgoing, eni) {
            return Ok(()); // semantics 43
        }
        let rules = self.rules(eni, direction);
        let empty = rules.is_empty();
        if !rules
            .iter()
            .any(|r| matches(r.traffic, &self.packet) && self.peer(eni, r.peer, outgoing))
        {
            return Err(match direction {
                _ if empty => Stage::SecurityGroupEmpty,
                Direction::Ingress => Stage::SecurityGroupIngress,
                Direction::Egress => Stage::SecurityGroupEgress,
            });
        }
        if self.automatic || !self.open_both_ways(eni, direction) {
            self.remember(Owner::Eni(eni.id), outgoing, eni)?;
        }
        Ok(())
    }

    /// Whether the far side is a rule's peer.
    fn peer(&self, eni: &NetworkInterface, peer: Peer, outgoing: bool) -> bool {
        let remote = if outgoing {
            self.packet.dst
        } else {
            self.packet.src
        };
        match peer {
            Peer::Cidr { block } => block.contains(remote),
            // semantics 38: private addresses of members; 21, 42: and, of a source, nothing stood between.
            Peer::Group { id, .. } => {
                let member = |e: &NetworkInterface| {
                    e.vpc == eni.vpc && e.groups.contains(&id) && e.has_address(remote)
                };
                self.world
                    .enis
                    .values()
                    .any(|e| member(e) && (outgoing || self.identity == Some(e.id)))
            }
            Peer::PrefixList { .. } => false,
        }
    }

    /// semantics 44: TCP and UDP allowed from everywhere, while the other direction allows everything, are not
    /// tracked; nor are their answers, which look the same the other way round.
    fn open_both_ways(&self, eni: &NetworkInterface, direction: Direction) -> bool {
        let (L4::Ports { src, dst, .. }, number) = (self.packet.l4, self.packet.protocol) else {
            return false;
        };
        let everywhere = |direction: Direction, port: Option<u16>| {
            self.rules(eni, direction).iter().any(|r| {
                let all = matches!(r.peer, Peer::Cidr { block } if block.is_all() && block.contains(self.packet.src));
                let ports = match r.traffic {
                    Traffic::All => Some(atoll_net::PortRange::ALL),
                    Traffic::Tcp { ports } if number == protocol::TCP => Some(ports),
                    Traffic::Udp { ports } if number == protocol::UDP => Some(ports),
                    _ => None,
                };
                all && ports.is_some_and(|range| port.map_or(range.is_all(), |p| range.contains(p)))
            })
        };
        let other = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        (everywhere(direction, Some(dst)) && everywhere(other, None))
            || (everywhere(direction, None) && everywhere(other, Some(src)))
    }

    // ---- connections ----

    /// The connection that the packet belongs to, as its owner sees it; `None` for what answers to nothing.
    fn key(&self, outgoing: bool) -> Option<Key> {
        let p = &self.packet;
        let (local, remote) = if outgoing { (p.src, p.dst) } else { (p.dst, p.src) };
        let (local_port, remote_port, asks) = match p.l4 {
            L4::Ports { src, dst, .. } if outgoing => (src, dst, false),
            L4::Ports { src, dst, .. } => (dst, src, false),
            L4::Icmp { .. } if p.is_icmp_error() => return None,
            L4::Icmp { kind, id, .. } => (id, 0, is_query(p.protocol, kind) == outgoing),
            L4::Other => (0, 0, false), // semantics 47
        };
        Some((p.protocol, local, local_port, remote, remote_port, asks))
    }

    /// Whether a connection is known, which then goes on.
    fn reminds(&mut self, owner: Owner, outgoing: bool, eni: impl Timeouts) -> bool {
        let Some(key) = self.key(outgoing) else {
            return false;
        };
        let (packet, now) = (self.packet, self.now);
        let mut flows = self.memory.flows.iter_mut();
        let Some(flow) = flows.find(|f| f.owner == owner && f.key == key && f.deadline > now) else {
            return false;
        };
        let closed = flow.reset || flow.fins == [true, true];
        if closed && begins(&packet) {
            return false; // a new connection on the ports of one that is over
        }
        if outgoing != flow.from_owner {
            flow.replied = true;
        } else if flow.replied {
            flow.stream = true;
        }
        if let L4::Ports { tcp_flags, .. } = packet.l4 {
            flow.fins[usize::from(outgoing)] |= tcp_flags & tcp::FIN != 0;
            flow.reset |= tcp_flags & tcp::RST != 0;
        }
        flow.deadline = now + 1000 * u64::from(eni.seconds(&packet, flow));
        self.effects += 1;
        true
    }

    fn remember(&mut self, owner: Owner, outgoing: bool, eni: impl Timeouts) -> Result<(), Stage> {
        let (Some(key), now) = (self.key(outgoing), self.now) else {
            return Ok(());
        };
        self.memory
            .flows
            .retain(|f| f.deadline > now && (f.owner, f.key) != (owner, key));
        let flags = match self.packet.l4 {
            L4::Ports { tcp_flags, .. } => tcp_flags,
            _ => 0,
        };
        let mut flow = Flow {
            owner,
            key,
            from_owner: outgoing,
            replied: false,
            stream: false,
            fins: [false; 2],
            reset: flags & tcp::RST != 0,
            deadline: 0,
        };
        flow.fins[usize::from(outgoing)] = flags & tcp::FIN != 0;
        flow.deadline = now + 1000 * u64::from(eni.seconds(&self.packet, &flow));
        self.memory.flows.push(flow);
        self.effect()
    }

    /// A way that changes more than eight things is a loop.
    fn effect(&mut self) -> Result<(), Stage> {
        self.effects += 1;
        if self.effects > 8 {
            Err(Stage::RoutingLoop)
        } else {
            Ok(())
        }
    }
}

/// How long an idle connection is remembered, in seconds.
trait Timeouts {
    fn seconds(&self, packet: &Packet, flow: &Flow) -> u32;
}

impl Timeouts for &NetworkInterface {
    fn seconds(&self, packet: &Packet, flow: &Flow) -> u32 {
        let own = &self.connection_tracking;
        match packet.protocol {
            // AWS tells no time for connections before the answer and after the end: a minute here.
            protocol::TCP if !flow.replied || flow.reset || flow.fins == [true, true] => 60,
            protocol::TCP => own.tcp_established.unwrap_or(432_000), // semantics 46
            protocol::UDP if flow.stream => own.udp_stream.unwrap_or(180),
            protocol::UDP => own.udp_timeout.unwrap_or(30),
            protocol::ICMP | protocol::ICMPV6 => 30, // AWS tells none: as a single exchange of UDP
            _ => 600,                                // semantics 47
        }
    }
}

/// An egress-only gateway's memory: AWS tells nothing; as an interface's, but for 350 s where a NAT gateway's is so.
struct Gateway;

impl Timeouts for Gateway {
    fn seconds(&self, packet: &Packet, flow: &Flow) -> u32 {
        match packet.protocol {
            protocol::TCP if !flow.replied || flow.reset || flow.fins == [true, true] => 60,
            protocol::TCP | protocol::UDP => 350,
            protocol::ICMPV6 => 30,
            _ => 600,
        }
    }
}

/// Whether a rule's protocol part is about the packet. Without ports only rules about every port are.
fn matches(traffic: Traffic, packet: &Packet) -> bool {
    match (traffic, packet.protocol, packet.l4) {
        (Traffic::All, ..) => true,
        (Traffic::Tcp { ports }, protocol::TCP, l4) | (Traffic::Udp { ports }, protocol::UDP, l4) => match l4
        {
            L4::Ports { dst, .. } => ports.contains(dst),
            _ => ports.is_all(),
        },
        (Traffic::Icmp { icmp }, protocol::ICMP, l4) | (Traffic::Icmpv6 { icmp }, protocol::ICMPV6, l4) => {
            match l4 {
                L4::Icmp { kind, code, .. } => icmp.matches(kind, code),
                _ => icmp == IcmpMatch::ANY,
            }
        }
        (Traffic::Other { number }, protocol, _) => number == protocol,
        _ => false,
    }
}

/// Whether a connection may begin with it.
fn begins(packet: &Packet) -> bool {
    match packet.l4 {
        L4::Ports { tcp_flags, .. } if packet.protocol == protocol::TCP => {
            tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
        }
        L4::Icmp { .. } => asks(packet),
        _ => true,
    }
}

/// Whether it is an ICMP query.
fn asks(packet: &Packet) -> bool {
    matches!(packet.l4, L4::Icmp { kind, .. } if is_query(packet.protocol, kind))
}

fn is_query(protocol: u8, kind: u8) -> bool {
    (protocol == protocol::ICMP && kind == 8) || (protocol == protocol::ICMPV6 && kind == 128)
}

/// RFC 1918.
fn is_private(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V4(addr) if addr.is_private())
}
