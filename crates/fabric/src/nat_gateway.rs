//! NAT gateways: many inside behind one address (semantics 78-85).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use atoll_model::nat_gateway::Connectivity;
use atoll_model::{EniId, NatGateway, NatGatewayId, NatGatewayState, SubnetId, VpcId};

use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::{BLOCK, Effect, FlowView, Mapping, Owner, Slot, State};
use crate::journey::{Halt, Journey, Leg};
use crate::packet::{L4, Packet, Quote, protocol};
use crate::stage::Stage;
use crate::trace::{Decision, Place, Recorder};
use crate::tracking::{HOLD_MOST, flags, icmp_query, is_opening, mapping_after, mapping_timeout};

/// What of a NAT gateway matters to packets; only available ones have a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NatPart {
    pub(crate) slot: Slot,
    pub(crate) vpc: VpcId,
    pub(crate) subnet: SubnetId,
    pub(crate) eni: EniId,
    /// Private addresses, the primary one first; of a public gateway, those that have an Elastic IP.
    pub(crate) addresses: Box<[Ipv4Addr]>,
}

impl NatPart {
    /// Whether an address is one that the gateway translates to.
    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|own| IpAddr::V4(*own) == addr)
    }
}

impl Fabric {
    pub(crate) fn put_nat_gateway(&mut self, row: &Arc<NatGateway>, changed: &mut Changed) {
        let part = match (row.state, row.eni) {
            (NatGatewayState::Available, Some(eni)) => {
                let mut addresses: Vec<_> = row
                    .addresses
                    .iter()
                    .filter(|a| row.connectivity == Connectivity::Private || a.public.is_some())
                    .collect();
                addresses.sort_by_key(|a| !a.primary);
                Some((
                    row.vpc,
                    row.subnet,
                    eni,
                    addresses.iter().map(|a| a.private).collect(),
                ))
            }
            _ => None,
        };
        self.set_nat_gateway(row.id, part, changed);
    }

    pub(crate) fn delete_nat_gateway(&mut self, id: NatGatewayId, changed: &mut Changed) {
        self.set_nat_gateway(id, None, changed);
    }

    fn set_nat_gateway(
        &mut self,
        id: NatGatewayId,
        part: Option<(VpcId, SubnetId, EniId, Box<[Ipv4Addr]>)>,
        changed: &mut Changed,
    ) {
        let old = self.nat_gateways.get(&id).cloned();
        let part = part.map(|(vpc, subnet, eni, addresses)| NatPart {
            slot: match &old {
                Some(old) => old.slot,
                None => self.slot_for(Owner::NatGateway(id), vpc, changed),
            },
            vpc,
            subnet,
            eni,
            addresses,
        });
        if part.as_ref() == old.as_deref() {
            return;
        }
        changed.add(Component::nat_gateway(id));
        if let Some(old) = &old {
            self.nat_of_eni.remove(&old.eni);
            changed.add(Component::interface(old.eni));
            changed.readdressed.push(old.slot);
        }
        match part {
            Some(part) => {
                self.nat_of_eni.insert(part.eni, id);
                changed.add(Component::interface(part.eni));
                self.nat_gateways.insert(id, Arc::new(part));
            }
            None => {
                self.nat_gateways.remove(&id);
                changed.gone.extend(old.map(|old| old.slot));
            }
        }
    }
}

/// The side of a packet, or of what an ICMP error quotes, that a translation is about.
struct Tuple {
    protocol: u8,
    src: Ipv4Addr,
    src_port: u16,
    dst: Ipv4Addr,
    dst_port: u16,
}

/// `None` where ports or identifiers do not say to which connection it belongs.
fn tuple(protocol: u8, src: IpAddr, dst: IpAddr, l4: L4) -> Option<Tuple> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) else {
        return None;
    };
    let (src_port, dst_port) = match (protocol, l4) {
        (protocol::TCP | protocol::UDP, L4::Ports { src, dst, .. }) => (src, dst),
        (protocol::ICMP, L4::Icmp { kind, id, .. }) => match icmp_query(protocol, kind)? {
            (_, true) => (id, 0),
            (_, false) => (0, id),
        },
        _ => return None,
    };
    Some(Tuple {
        protocol,
        src,
        src_port,
        dst,
        dst_port,
    })
}

fn of_packet(packet: &Packet) -> Option<Tuple> {
    tuple(packet.protocol, packet.src, packet.dst, packet.l4)
}

fn of_quote(packet: &Packet) -> Option<Tuple> {
    let quote = packet.quote?;
    tuple(quote.protocol, quote.src, quote.dst, quote.l4)
}

impl Tuple {
    /// Asks for the mapping of what goes from inside (`src`) out.
    fn outward(&self, outside: Ipv4Addr) -> Mapping {
        Mapping {
            protocol: self.protocol,
            inside: self.src,
            inside_port: self.src_port,
            outside,
            outside_port: 0,
            remote: self.dst,
            remote_port: self.dst_port,
        }
    }

    /// Asks for the mapping of what comes from outside to `dst`.
    fn inward(&self) -> Mapping {
        Mapping {
            protocol: self.protocol,
            inside: Ipv4Addr::UNSPECIFIED,
            inside_port: 0,
            outside: self.dst,
            outside_port: self.dst_port,
            remote: self.src,
            remote_port: self.src_port,
        }
    }

    fn turned(self) -> Tuple {
        Tuple {
            protocol: self.protocol,
            src: self.dst,
            src_port: self.dst_port,
            dst: self.src,
            dst_port: self.src_port,
        }
    }
}

/// Writes a port where a source port or an ICMP identifier stands.
fn set_source_port(l4: &mut L4, port: u16) {
    match l4 {
        L4::Ports { src, .. } => *src = port,
        L4::Icmp { id, .. } => *id = port,
        L4::Other => {}
    }
}

fn set_destination_port(l4: &mut L4, port: u16) {
    match l4 {
        L4::Ports { dst, .. } => *dst = port,
        L4::Icmp { id, .. } => *id = port,
        L4::Other => {}
    }
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// From inside by a route: the source becomes the gateway's.
    pub(crate) fn leave_by_nat_gateway(&mut self, id: NatGatewayId, part: &'a NatPart) -> Result<Leg, Halt> {
        let here = Place::NatGateway(id);
        let inside = self
            .vpc(part.vpc)
            .is_some_and(|vpc| vpc.contains(self.packet.src));
        if !inside {
            return Err(self.halt(Stage::NatSourceOutsideVpc, here, None)); // semantics 84
        }
        self.translates(here)?;
        self.ages(1, here)?;
        let (to, port) = if self.packet.is_icmp_error() {
            self.translate_error_outward(part, here)?
        } else {
            self.map(part, here)?
        };
        let to = IpAddr::V4(to);
        self.record(here, Decision::SourceTranslated { to, port }, None);
        self.packet.src = to;
        if let Some(port) = port {
            set_source_port(&mut self.packet.l4, port);
        }
        self.identity = None; // semantics 42
        self.leave_nat_subnet(part)
    }

    /// To one of the gateway's own addresses: an answer to something inside, or nothing (semantics 85).
    pub(crate) fn enter_by_nat_gateway(&mut self, id: NatGatewayId, part: &'a NatPart) -> Result<Leg, Halt> {
        let here = Place::NatGateway(id);
        self.translates(here)?;
        let (to, port) = if self.packet.is_icmp_error() {
            self.translate_error_inward(part, here)?
        } else {
            let wanted = of_packet(&self.packet).map(|t| t.inward());
            let mapping = wanted.and_then(|wanted| self.flows.unmapped(part.slot, &wanted, self.now));
            let Some((mapping, state)) = mapping else {
                if let Some(wanted) = &wanted {
                    self.wants(Component::mapping(part.slot, wanted));
                }
                return Err(self.halt(Stage::NatNoMapping, here, None));
            };
            self.refresh(
                part,
                mapping,
                mapping_after(state, flags(&self.packet), false),
                false,
                here,
            )?;
            (mapping.inside, Some(mapping.inside_port))
        };
        self.ages(1, here)?;
        let to = IpAddr::V4(to);
        self.record(here, Decision::DestinationTranslated { to, port }, None);
        self.packet.dst = to;
        if let Some(port) = port {
            set_destination_port(&mut self.packet.l4, port);
        }
        self.identity = None; // semantics 42
        self.leave_nat_subnet(part)
    }

    /// What a NAT gateway translates at all.
    fn translates(&mut self, here: Place) -> Result<(), Halt> {
        let known = matches!(
            self.packet.protocol,
            protocol::TCP | protocol::UDP | protocol::ICMP
        );
        if !known || self.packet.dst.is_ipv6() {
            return Err(self.halt(Stage::NatUnsupportedProtocol, here, None)); // semantics 78
        }
        let later = self.packet.l4 == L4::Other;
        if self.packet.fragment.is_some() && (self.packet.protocol != protocol::UDP || later) {
            return Err(self.halt(Stage::NatFragment, here, None)); // semantics 82
        }
        Ok(())
    }

    /// The gateway's subnet routes and filters its second leg (semantics 83).
    fn leave_nat_subnet(&mut self, part: &'a NatPart) -> Result<Leg, Halt> {
        self.automatic = true; // semantics 45
        let Some(subnet) = self.subnet(part.subnet) else {
            return Err(self.halt(Stage::NoRoute, Place::Subnet(part.subnet), None));
        };
        let next = self.next_hop(subnet, part.vpc);
        self.depart(subnet, part.eni, next)
    }

    fn refresh(
        &mut self,
        part: &NatPart,
        mapping: Mapping,
        state: State,
        begins: bool,
        here: Place,
    ) -> Result<(), Halt> {
        // The next packet of one that has ended may make another of it.
        let hold = if state.is_closed() { 0 } else { HOLD_MOST };
        self.hold = self.hold.min(hold);
        self.effect(
            Effect::Map {
                gateway: part.slot,
                mapping,
                state,
                timeout: mapping_timeout(state),
                begins,
            },
            here,
        )
    }

    /// The mapping of a packet from inside: the one it has, or a new one.
    fn map(&mut self, part: &NatPart, here: Place) -> Result<(Ipv4Addr, Option<u16>), Halt> {
        let none = Ipv4Addr::UNSPECIFIED;
        let Some(tuple) = of_packet(&self.packet) else {
            return Err(self.halt(Stage::NatNoMapping, here, None));
        };
        let wanted = tuple.outward(none);
        let known = self
            .flows
            .mapped(part.slot, &wanted, self.now)
            .filter(|(m, _)| part.addresses.contains(&m.outside));
        let (mapping, state) = match known {
            // Another connection, by the port of the one before, if there may be one more (semantics 80).
            Some((mapping, state)) if state.is_closed() && is_opening(&self.packet) => {
                if self.flows.free_port(part.slot, &mapping, self.now) != Some(mapping.outside_port) {
                    return Err(self.halt(Stage::NatPortExhausted, here, None));
                }
                (mapping, state)
            }
            Some(known) => known,
            None => {
                let begins = match (self.packet.protocol, self.packet.l4) {
                    (protocol::TCP, _) => is_opening(&self.packet),
                    (protocol::ICMP, L4::Icmp { kind, .. }) => {
                        icmp_query(protocol::ICMP, kind).is_some_and(|(_, asks)| asks)
                    }
                    _ => true,
                };
                if !begins {
                    // semantics 81: idle too long, and the next packet from inside is reset
                    let halt = self.halt(Stage::NatNoMapping, here, None);
                    self.tell(self.reset(part.subnet));
                    // An opening packet of the same flow would be mapped.
                    self.hold = 0;
                    return Err(halt);
                }
                let Some(mapping) = self.free_mapping(part, wanted) else {
                    return Err(self.halt(Stage::NatPortExhausted, here, None)); // semantics 80
                };
                (mapping, State(0))
            }
        };
        let state = mapping_after(state, flags(&self.packet), true);
        self.refresh(part, mapping, state, known.is_none(), here)?;
        Ok((mapping.outside, Some(mapping.outside_port)))
    }

    /// A free port at one of the gateway's addresses, beginning at one that the source decides.
    fn free_mapping(&self, part: &NatPart, wanted: Mapping) -> Option<Mapping> {
        let count = part.addresses.len().max(1);
        // Neighbouring ports have the same.
        let block = usize::from(wanted.inside_port / BLOCK);
        let first = (u32::from(wanted.inside) as usize ^ block) % count;
        part.addresses
            .iter()
            .cycle()
            .skip(first)
            .take(part.addresses.len())
            .find_map(|outside| {
                let wanted = Mapping {
                    outside: *outside,
                    ..wanted
                };
                let outside_port = self.flows.free_port(part.slot, &wanted, self.now)?;
                Some(Mapping {
                    outside_port,
                    ..wanted
                })
            })
    }

    /// An ICMP error from inside speaks about a packet that came in: its quotation and its source are turned
    /// into what the outside knows.
    fn translate_error_outward(
        &mut self,
        part: &NatPart,
        here: Place,
    ) -> Result<(Ipv4Addr, Option<u16>), Halt> {
        let mapping = of_quote(&self.packet).and_then(|quoted| {
            let wanted = quoted.turned().outward(Ipv4Addr::UNSPECIFIED);
            self.flows.mapped(part.slot, &wanted, self.now)
        });
        let (Some((mapping, _)), Some(quote)) = (mapping, &mut self.packet.quote) else {
            return Err(self.halt(Stage::NatNoMapping, here, None));
        };
        let quote: &mut Quote = quote;
        quote.dst = IpAddr::V4(mapping.outside);
        set_destination_port(&mut quote.l4, mapping.outside_port);
        Ok((mapping.outside, None))
    }

    /// An ICMP error from outside speaks about a packet that went out: it goes to who sent that.
    fn translate_error_inward(
        &mut self,
        part: &NatPart,
        here: Place,
    ) -> Result<(Ipv4Addr, Option<u16>), Halt> {
        let mapping = of_quote(&self.packet).and_then(|quoted| {
            self.flows
                .unmapped(part.slot, &quoted.turned().inward(), self.now)
        });
        let (Some((mapping, _)), Some(quote)) = (mapping, &mut self.packet.quote) else {
            return Err(self.halt(Stage::NatNoMapping, here, None));
        };
        let quote: &mut Quote = quote;
        quote.src = IpAddr::V4(mapping.inside);
        set_source_port(&mut quote.l4, mapping.inside_port);
        Ok((mapping.inside, None))
    }
}
