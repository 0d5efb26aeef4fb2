//! The walk: which component decides after which. Only the sequence is here; each decision is in its noun's
//! file.
//!
//! A way is `leave`, then one `arrive` after another until the packet ends at an interface, at the internet or
//! at a drop. Between them lies the wire: the packet as it stands and a few words about it ([`Wire`]), whether
//! the two ends are on one host or not. NAT gateways, gateways that lead round to another public address, and
//! edge tables send a packet on from where it arrived, so a way may have several legs, at most
//! [`MOST_LEGS`].
//!
//! # The order, and so the stage that a packet with several faults reports
//! Leaving an interface: `not-running`, `mac-spoofed`, `malformed`, `multicast`, `hop-limit`,
//! `link-local-range`, `source-dest-check`, `mtu-exceeded`; security groups out; then on the link (`no-such-address`), or by the
//! router: the subnet's ACL out, then the route (`no-route`, `blackhole-route`, `no-such-address`), as AWS's own
//! analyser shows them. The route is looked up first of all, silently: it tells whether the packet leaves the
//! subnet, without which the ACL has no say (semantics 23), and whether it goes through a gateway whose flows are
//! always tracked (semantics 45).
//!
//! Arriving at a subnet: its ACL in, when the packet came from elsewhere. Then at an interface: `not-running`,
//! `source-dest-check`, security groups in. At a NAT gateway, from inside: whose VPC, which protocol, fragments, hop
//! limit, the mapping; an answer to its own address: which protocol, fragments, the mapping, which goes on by it,
//! and only then the hop limit. From there out of its subnet as above, without security groups (semantics 83).
//!
//! Coming from the internet: `malformed`, `multicast`, `hop-limit`, `link-local-range`, `spoofed-at-gateway`. At an
//! internet gateway outwards: `spoofed-at-gateway`, `shared-dst-at-internet`, `private-dst-at-internet`,
//! `igw-no-public-address`, the appliance that an edge table prescribes, `mtu-exceeded`, `hop-limit`. Inwards:
//! `igw-unknown-public-destination` when no interface has the address or its VPC has no gateway,
//! `private-src-from-internet`, the same again when the interface is not attached, `mtu-exceeded`, `hop-limit`, the
//! edge table. At an egress-only gateway outwards: `spoofed-at-gateway`, `private-dst-at-internet`, `mtu-exceeded`,
//! `hop-limit`; inwards: `eigw-inbound`, `mtu-exceeded`, `hop-limit`. The router within a VPC does not count as a
//! hop; each gateway does.

use atoll_model::{Direction, EniId, Timestamp};
use atoll_net::Mac;

use crate::component::{Component, Dependencies};
use crate::fabric::Fabric;
use crate::flows::{Effects, FlowView};
pub use crate::journey::Destination;
use crate::journey::{Halt, Journey, Leg};
use crate::network_interface::Interface;
use crate::outcome::{Action, Drop, MTU_INSIDE, Outcome, Rewrite, Verdict};
use crate::packet::{Packet, Port};
use crate::stage::Stage;
use crate::subnet::SubnetPart;
use crate::trace::{Decision, Place, Recorder};
use crate::wire::{AllHere, Sites, Wire};

/// Most legs of a way; a packet that has more to go is in a routing loop.
pub const MOST_LEGS: u8 = 16;

/// Takes a packet through the fabric.
///
/// Pure: reads `flows`, and answers what would change in them.
pub fn walk<V: FlowView + ?Sized, R: Recorder + ?Sized>(
    fabric: &Fabric,
    flows: &V,
    packet: &Packet,
    now: Timestamp,
    recorder: &mut R,
) -> Outcome {
    walk_here(fabric, flows, packet, now, recorder, &AllHere)
}

/// The same as far as the way is on this host: where it goes on elsewhere the answer has [`Outcome::onward`], its effects
/// are this end's, and its dependencies and `hold` are about this end alone.
pub fn walk_here<V: FlowView + ?Sized, R: Recorder + ?Sized, S: Sites>(
    fabric: &Fabric,
    flows: &V,
    packet: &Packet,
    now: Timestamp,
    recorder: &mut R,
    sites: &S,
) -> Outcome {
    let mut journey = Journey::new(fabric, flows, packet, now, recorder);
    let end = journey.leave().and_then(|leg| journey.go(leg, sites));
    journey.end(end)
}

/// Goes on with what came by the wire, as far as the way is on this host.
pub fn arrive_here<V: FlowView + ?Sized, R: Recorder + ?Sized, S: Sites>(
    fabric: &Fabric,
    flows: &V,
    wire: &Wire,
    now: Timestamp,
    recorder: &mut R,
    sites: &S,
) -> Outcome {
    let (mut journey, leg) = Journey::arriving(fabric, flows, wire, now, recorder);
    // The leg that it is on leads here: hosts that do not agree about that send no packet round.
    let end = journey.arrive(leg).and_then(|arrival| match arrival {
        Arrival::Onward(next) => journey.go(next, sites),
        Arrival::Out(out) => Ok(End::Out(journey.forward(&out))),
    });
    journey.end(end)
}

/// How far one end has brought a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Stretch {
    /// On to another place, which may be another host's. The effects are this end's, to be committed here.
    Onward {
        /// What to send there.
        wire: Box<Wire>,
        /// This end's effects.
        effects: Effects,
        /// What this end has consulted.
        dependencies: Dependencies,
    },
    /// To the end of its way.
    Done(Outcome),
}

/// The first half of [`walk`]: out of the port where the packet came in.
pub fn leave<V: FlowView + ?Sized, R: Recorder + ?Sized>(
    fabric: &Fabric,
    flows: &V,
    packet: &Packet,
    now: Timestamp,
    recorder: &mut R,
) -> Stretch {
    let mut journey = Journey::new(fabric, flows, packet, now, recorder);
    match journey.leave() {
        Ok(leg) => journey.onward(&leg),
        Err(halt) => Stretch::Done(journey.finish(Err(halt), None)),
    }
}

/// The second half of [`walk`]: from the wire into the place that it leads to. An action's rewriting is of the
/// packet on the wire.
pub fn arrive<V: FlowView + ?Sized, R: Recorder + ?Sized>(
    fabric: &Fabric,
    flows: &V,
    wire: &Wire,
    now: Timestamp,
    recorder: &mut R,
) -> Stretch {
    let (mut journey, leg) = Journey::arriving(fabric, flows, wire, now, recorder);
    match journey.arrive(leg) {
        Ok(Arrival::Onward(leg)) => journey.onward(&leg),
        Ok(Arrival::Out(out)) => {
            let action = journey.forward(&out);
            Stretch::Done(journey.finish(Ok(action), None))
        }
        Err(halt) => Stretch::Done(journey.finish(Err(halt), None)),
    }
}

/// What becomes of a packet where it arrives.
enum Arrival<'a> {
    Onward(Leg),
    Out(Out<'a>),
}

/// Where a packet goes out.
enum Out<'a> {
    Interface {
        interface: &'a Interface,
        subnet: &'a SubnetPart,
        on_link: bool,
    },
    Internet,
}

/// Where a way ends on this host.
enum End {
    Out(Action),
    /// At a leg that leads to another host.
    Border(Action, Leg),
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// A packet that came by the wire, and the leg that it is on.
    fn arriving(
        fabric: &'a Fabric,
        flows: &'a V,
        wire: &'a Wire,
        now: Timestamp,
        recorder: &'a mut R,
    ) -> (Self, Leg) {
        let mut journey = Journey::new(fabric, flows, &wire.packet, now, recorder);
        journey.identity = wire.identity;
        journey.automatic = wire.automatic;
        journey.hops = wire.hops;
        journey.mtu = wire.mtu;
        let leg = Leg {
            from: wire.from,
            sender: wire.sender,
            to: wire.to,
            on_link: wire.on_link,
        };
        (journey, leg)
    }

    fn go<S: Sites>(&mut self, mut leg: Leg, sites: &S) -> Result<End, Halt> {
        loop {
            if S::SEVERAL
                && let Some(mtu) = self.is_elsewhere(leg.to, sites)
            {
                // semantics 129, 130: what no packet of that length gets through is told to its sender.
                self.fits_between_hosts(mtu, place_of(leg.to))?;
                return Ok(End::Border(self.send_away(&leg), leg));
            }
            match self.arrive(leg)? {
                Arrival::Onward(next) => leg = next,
                Arrival::Out(out) => return Ok(End::Out(self.forward(&out))),
            }
        }
    }

    #[inline]
    fn end(&mut self, end: Result<End, Halt>) -> Outcome {
        let (end, border) = match end {
            Ok(End::Out(action)) => (Ok(action), None),
            Ok(End::Border(action, leg)) => (Ok(action), Some(leg)),
            Err(halt) => (Err(halt), None),
        };
        // With one host there is no border, and then nothing of this.
        let onward = border.map(|leg| Box::new(self.wire(&leg)));
        self.finish(end, onward)
    }

    fn leave(&mut self) -> Result<Leg, Halt> {
        match self.original.ingress {
            Port::Internet => {
                self.comes_from_outside()?;
                self.enter_by_internet_gateway()
            }
            Port::Eni(id) => self.leave_interface(id),
        }
    }

    fn leave_interface(&mut self, id: EniId) -> Result<Leg, Halt> {
        let here = Place::Interface(id);
        let Some(interface) = self.interface(id) else {
            return Err(self.halt(Stage::NotRunning, here, None));
        };
        // Most packets go to another interface: it comes while the sender is judged.
        let interfaces = &self.fabric.interfaces;
        let receiver = interfaces.ask_for_address(interface.vpc, self.packet.dst);
        let Some(subnet) = self.subnet(interface.subnet) else {
            return Err(self.halt(Stage::NotRunning, here, None));
        };
        self.sends(interface)?;
        self.fits(MTU_INSIDE, here)?;
        interfaces.guess_by_address(receiver);
        if interface.has(self.packet.src) {
            self.identity = Some(id);
        }
        let (leg, tracked) = if self.packet.dst_mac == subnet.router_mac {
            let next = self.next_hop(subnet, interface.vpc);
            self.automatic = next.is_tracked();
            let tracked = self.passes_security_groups(interface, Direction::Egress)?;
            (self.depart(subnet, id, next)?, tracked)
        } else {
            let tracked = self.passes_security_groups(interface, Direction::Egress)?;
            (self.cross_link(subnet, id)?, tracked)
        };
        if let Some(effect) = tracked {
            self.effect(effect, here)?;
        }
        Ok(leg)
    }

    /// What is not for the router stays on the link: no route table, no ACL (semantics 10, 23).
    fn cross_link(&mut self, subnet: &'a SubnetPart, sender: EniId) -> Result<Leg, Halt> {
        let here = Place::Subnet(subnet.id);
        let mac = self.packet.dst_mac;
        self.depends(Component::station(subnet.id, mac));
        let Some(station) = self.fabric.station(subnet, mac) else {
            return Err(self.halt(Stage::NoSuchAddress, here, None));
        };
        self.record(here, Decision::OnLink, None);
        Ok(Leg {
            from: Some(subnet.id),
            sender: Some(sender),
            to: Destination::Interface(station.id),
            on_link: true,
        })
    }

    fn arrive(&mut self, leg: Leg) -> Result<Arrival<'a>, Halt> {
        if self.hops >= MOST_LEGS {
            return Err(self.halt(Stage::RoutingLoop, place_of(leg.to), None));
        }
        self.hops += 1;
        match leg.to {
            Destination::Interface(id) => self.arrive_at_interface(id, &leg),
            Destination::NatGateway(id) => {
                self.depends(Component::nat_gateway(id));
                let part = self.fabric.nat_gateways.get(&id).map(|part| &**part);
                let subnet = part.and_then(|part| self.subnet(part.subnet));
                let (Some(part), Some(subnet)) = (part, subnet) else {
                    return Err(self.halt(Stage::BlackholeRoute, place_of(leg.to), None));
                };
                self.enter_subnet(subnet, &leg)?;
                // An answer to the gateway's own address may come by a route to the gateway too: where a subnet's
                // local route is led to it (semantics 6).
                if part.has(self.packet.dst) {
                    self.enter_by_nat_gateway(id, part).map(Arrival::Onward)
                } else {
                    self.leave_by_nat_gateway(id, part).map(Arrival::Onward)
                }
            }
            Destination::InternetGateway(id) => self.leave_by_internet_gateway(id, &leg).map(Arrival::Onward),
            Destination::EgressOnlyGateway(id) => self.leave_by_egress_only_gateway(id).map(Arrival::Onward),
            Destination::Internet => {
                self.record(Place::Internet, Decision::Exited, None);
                Ok(Arrival::Out(Out::Internet))
            }
        }
    }

    fn arrive_at_interface(&mut self, id: EniId, leg: &Leg) -> Result<Arrival<'a>, Halt> {
        let here = Place::Interface(id);
        let interface = self.interface(id);
        let subnet = interface.and_then(|interface| self.subnet(interface.subnet));
        let (Some(interface), Some(subnet)) = (interface, subnet) else {
            return Err(self.halt(Stage::NoSuchAddress, here, None));
        };
        self.enter_subnet(subnet, leg)?;
        if interface.is_nat {
            let gateway = self.fabric.nat_of_eni.get(&id).copied();
            let part = gateway.and_then(|gateway| Some((gateway, self.fabric.nat_gateways.get(&gateway)?)));
            let Some((gateway, part)) = part else {
                return Err(self.halt(Stage::NotRunning, here, None));
            };
            self.depends(Component::nat_gateway(gateway));
            return self.enter_by_nat_gateway(gateway, part).map(Arrival::Onward);
        }
        self.accepts(interface)?;
        if let Some(effect) = self.passes_security_groups(interface, Direction::Ingress)? {
            self.effect(effect, here)?;
        }
        self.record(here, Decision::Delivered, None);
        Ok(Arrival::Out(Out::Interface {
            interface,
            subnet,
            on_link: leg.on_link,
        }))
    }

    /// The ACL has a say when the packet comes from outside the subnet (semantics 23).
    fn enter_subnet(&mut self, subnet: &'a SubnetPart, leg: &Leg) -> Result<(), Halt> {
        if leg.from == Some(subnet.id) {
            Ok(())
        } else {
            self.passes_acl(subnet, Direction::Ingress)
        }
    }

    fn forward(&self, out: &Out<'_>) -> Action {
        let (port, macs) = match out {
            Out::Interface {
                interface,
                subnet,
                on_link,
            } => {
                let from = if *on_link {
                    self.packet.src_mac
                } else {
                    subnet.router_mac
                };
                (Port::Eni(interface.id), (from, interface.mac))
            }
            Out::Internet => (Port::Internet, (Mac::default(), Mac::default())),
        };
        self.action(port, macs)
    }

    /// Whatever has changed of the packet so far, and where it goes out.
    pub(crate) fn action(&self, port: Port, (src_mac, dst_mac): (Mac, Mac)) -> Action {
        let (before, after) = (self.original, &self.packet);
        let quote = match (before.quote, after.quote) {
            (Some(a), Some(b)) => Rewrite::between((a.src, a.dst, a.l4), (b.src, b.dst, b.l4)),
            _ => Rewrite::default(),
        };
        Action {
            out: port,
            src_mac,
            dst_mac,
            rewrite: Rewrite::between(
                (before.src, before.dst, before.l4),
                (after.src, after.dst, after.l4),
            ),
            quote,
            hop_limit_decrement: self.hop_limit_decrement,
            mtu: self.mtu,
            clamp_mss: None,
        }
    }

    // What an answer is made of is copied once, into it.
    #[inline(always)]
    fn finish(&self, end: Result<Action, Halt>, onward: Option<Box<Wire>>) -> Outcome {
        let alone = self.original.fragment.is_some() || self.original.is_icmp_error();
        let verdict = match (end, self.ended) {
            (Ok(action), _) => Verdict::Forward(action),
            (Err(_), Some(drop)) => Verdict::Drop(drop),
            // A `Halt` comes from `Journey::halt` alone, which says why.
            (Err(_), None) => Verdict::Drop(Drop {
                stage: Stage::Malformed,
                at: Place::Internet,
                rule: None,
                answer: None,
            }),
        };
        Outcome {
            verdict,
            effects: self.effects,
            dependencies: self.dependencies,
            hold: if alone { 0 } else { self.hold },
            onward,
        }
    }

    fn onward(mut self, leg: &Leg) -> Stretch {
        Stretch::Onward {
            wire: Box::new(self.wire(leg)),
            effects: self.effects,
            dependencies: self.dependencies,
        }
    }
}

fn place_of(destination: Destination) -> Place {
    match destination {
        Destination::Interface(id) => Place::Interface(id),
        Destination::NatGateway(id) => Place::NatGateway(id),
        Destination::InternetGateway(id) => Place::InternetGateway(id),
        Destination::EgressOnlyGateway(id) => Place::EgressOnlyGateway(id),
        Destination::Internet => Place::Internet,
    }
}
