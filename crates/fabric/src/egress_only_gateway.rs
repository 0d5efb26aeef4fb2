//! Egress-only internet gateways: IPv6 out, and in only what answers (semantics 75).

use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{EgressOnlyGatewayId, EgressOnlyInternetGateway, RouteTarget, VpcId};

use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::{Effect, FlowKey, FlowView, Owner, Slot};
use crate::internet_gateway::is_private;
use crate::journey::{Destination, Halt, Journey, Leg};
use crate::network_interface::Interface;
use crate::outcome::MTU_INTERNET;
use crate::packet::{L4, Packet};
use crate::stage::Stage;
use crate::trace::{Decision, Place, Recorder};
use crate::tracking::{self, Timeouts};

/// What of an egress-only gateway matters to packets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EgressOnlyPart {
    pub(crate) slot: Slot,
    pub(crate) vpc: VpcId,
}

impl Fabric {
    pub(crate) fn put_egress_only_gateway(
        &mut self,
        row: &Arc<EgressOnlyInternetGateway>,
        changed: &mut Changed,
    ) {
        let old = self.egress_only.get(&row.id).cloned();
        if old.as_ref().is_some_and(|old| old.vpc == row.vpc) {
            return;
        }
        let slot = match old {
            Some(old) => old.slot,
            None => self.slot_for(Owner::EgressOnlyGateway(row.id), row.vpc, changed),
        };
        self.egress_only
            .insert(row.id, EgressOnlyPart { slot, vpc: row.vpc });
        changed.add(Component::egress_only_gateway(row.id));
    }

    pub(crate) fn delete_egress_only_gateway(&mut self, id: EgressOnlyGatewayId, changed: &mut Changed) {
        if let Some(old) = self.egress_only.remove(&id) {
            changed.add(Component::egress_only_gateway(id));
            changed.gone.push(old.slot);
        }
    }
}

/// The connection that an ICMPv6 error coming in speaks about, as the gateway knows it.
fn quoted_key(packet: &Packet) -> Option<FlowKey> {
    let quote = packet.quote?;
    let sent = Packet {
        src: quote.src,
        dst: quote.dst,
        protocol: quote.protocol,
        l4: quote.l4,
        ..*packet
    };
    let sent = match sent.l4 {
        // What is quoted left here: whatever flags it had then say nothing now.
        L4::Ports { src, dst, .. } => Packet {
            l4: L4::Ports {
                src,
                dst,
                tcp_flags: 0,
            },
            ..sent
        },
        _ => sent,
    };
    tracking::flow_key(&sent, true)
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    pub(crate) fn leave_by_egress_only_gateway(&mut self, id: EgressOnlyGatewayId) -> Result<Leg, Halt> {
        let here = Place::EgressOnlyGateway(id);
        let (src, dst) = (self.packet.src, self.packet.dst);
        self.depends(Component::egress_only_gateway(id));
        let Some(part) = self.fabric.egress_only.get(&id).filter(|_| dst.is_ipv6()) else {
            return Err(self.halt(Stage::BlackholeRoute, here, None));
        };
        let owned = self.owner_of(part.vpc, src).is_some_and(|owner| owner.attached);
        if !owned {
            return Err(self.halt(Stage::SpoofedAtGateway, here, None));
        }
        if is_private(dst) || self.vpc(part.vpc).is_some_and(|vpc| vpc.contains(dst)) {
            return Err(self.halt(Stage::PrivateDstAtInternet, here, None));
        }
        self.fits(MTU_INTERNET, here)?;
        self.ages(1, here)?;
        if let Some(key) = tracking::flow_key(&self.packet, true) {
            self.remember_at_gateway(part, key, true, here)?;
        }
        self.record(here, Decision::Passed, None);
        self.identity = None;
        self.packet_leaves_for(dst)
    }

    /// The egress-only gateway by which an interface's subnet answers `far`: its IPv6 traffic comes by the way
    /// it goes.
    pub(crate) fn egress_only_gateway_towards(
        &mut self,
        interface: &'a Interface,
        far: IpAddr,
    ) -> Option<EgressOnlyGatewayId> {
        let table = self.subnet(interface.subnet)?.table?;
        self.depends(Component::route_table(table));
        let (_, target) = self.fabric.tables.get(&table)?.lookup(far)?;
        let RouteTarget::EgressOnlyGateway(id) = target else {
            return None;
        };
        self.depends(Component::egress_only_gateway(id));
        self.fabric
            .egress_only
            .get(&id)
            .filter(|part| part.vpc == interface.vpc)
            .map(|_| id)
    }

    pub(crate) fn enter_by_egress_only_gateway(
        &mut self,
        id: EgressOnlyGatewayId,
        interface: &'a Interface,
    ) -> Result<Leg, Halt> {
        let here = Place::EgressOnlyGateway(id);
        let Some(part) = self.fabric.egress_only.get(&id) else {
            return Err(self.halt(Stage::EigwInbound, here, None));
        };
        let key = if self.packet.is_icmp_error() {
            quoted_key(&self.packet)
        } else {
            tracking::flow_key(&self.packet, false)
        };
        let known = key.and_then(|key| Some((key, self.tracked(part.slot, &key)?)));
        let Some((key, state)) = known else {
            if let Some(key) = &key {
                self.wants(Component::connection(part.slot, key));
            }
            return Err(self.halt(Stage::EigwInbound, here, None));
        };
        if !self.packet.is_icmp_error() {
            if tracking::continued(state, tracking::flags(&self.packet), false).is_none() {
                return Err(self.halt(Stage::EigwInbound, here, None));
            }
            self.remember_at_gateway(part, key, false, here)?;
        }
        self.fits(MTU_INTERNET, here)?;
        self.ages(1, here)?;
        self.record(here, Decision::Established, None);
        self.identity = None;
        self.automatic = true; // semantics 45
        Ok(Leg::to(Destination::Interface(interface.id)))
    }

    fn remember_at_gateway(
        &mut self,
        part: &EgressOnlyPart,
        key: FlowKey,
        outbound: bool,
        here: Place,
    ) -> Result<(), Halt> {
        let known = self.tracked(part.slot, &key);
        let flags = tracking::flags(&self.packet);
        let next = known.and_then(|state| tracking::continued(state, flags, outbound));
        if known.is_none() && !self.flows.has_room(part.slot, &key) {
            return Err(self.halt(Stage::TableFull, here, None));
        }
        let state = next.unwrap_or_else(|| tracking::begun(flags, outbound));
        let timeouts = Timeouts::OF_GATEWAY;
        let hold = tracking::hold(key.protocol, state, next.is_some(), &timeouts);
        self.hold = self.hold.min(hold);
        self.effect(
            Effect::Track {
                owner: part.slot,
                key,
                state,
                timeout: tracking::timeout(key.protocol, state, &timeouts),
                begins: next.is_none(),
            },
            here,
        )
    }
}
