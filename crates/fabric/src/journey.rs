//! A packet on its way: what it looks like by now, and what the way has depended on and changed so far.

use std::net::IpAddr;

use atoll_model::{EgressOnlyGatewayId, EniId, InternetGatewayId, NatGatewayId, SubnetId, Timestamp, VpcId};

use crate::component::{Component, Dependencies};
use crate::fabric::Fabric;
use crate::flows::{Effect, Effects, FlowKey, FlowView, Slot, State};
use crate::network_interface::Interface;
use crate::outcome::{Answer, Drop, MTU_INSIDE};
use crate::packet::Packet;
use crate::stage::Stage;
use crate::subnet::SubnetPart;
use crate::trace::{Decision, Hop, Place, Recorder, RuleRef};
use crate::tracking::{HOLD_MOST, HOLD_SHORT};
use crate::vpc::VpcPart;

/// Where a leg of the way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// An interface of the same VPC.
    Interface(EniId),
    /// A NAT gateway, to be translated from inside.
    NatGateway(NatGatewayId),
    /// An internet gateway, outwards.
    InternetGateway(InternetGatewayId),
    /// An egress-only gateway, outwards.
    EgressOnlyGateway(EgressOnlyGatewayId),
    /// The internet.
    Internet,
}

/// One leg: from where a packet was let go to where it goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    /// The subnet it leaves; `None` from a gateway, which stands in none.
    pub(crate) from: Option<SubnetId>,
    /// The interface it left.
    pub(crate) sender: Option<EniId>,
    pub(crate) to: Destination,
    /// Whether it goes over the subnet's link and not by the router.
    pub(crate) on_link: bool,
}

impl Leg {
    pub(crate) fn to(to: Destination) -> Leg {
        Leg {
            from: None,
            sender: None,
            to,
            on_link: false,
        }
    }
}

/// The way has ended early; why is the journey's `ended`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halt(());

pub(crate) struct Journey<'a, V: ?Sized, R: ?Sized> {
    pub(crate) fabric: &'a Fabric,
    pub(crate) flows: &'a V,
    pub(crate) now: Timestamp,
    recorder: &'a mut R,
    /// As it came in.
    pub(crate) original: &'a Packet,
    /// As it stands.
    pub(crate) packet: Packet,
    /// The interface that it left with one of that interface's own addresses, as long as nothing on the way
    /// forwarded or translated it: what group references mean (semantics 21, 38, 42).
    pub(crate) identity: Option<EniId>,
    /// Whether the way leads through a gateway whose flows are always tracked (semantics 45).
    pub(crate) automatic: bool,
    pub(crate) mtu: u32,
    pub(crate) hop_limit_decrement: u8,
    pub(crate) hops: u8,
    pub(crate) hold: u32,
    pub(crate) effects: Effects,
    pub(crate) dependencies: Dependencies,
    /// Why the way ended early.
    pub(crate) ended: Option<Drop>,
    /// The interfaces last met: most ways meet the same two several times.
    known: [Option<&'a Interface>; 2],
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    pub(crate) fn new(
        fabric: &'a Fabric,
        flows: &'a V,
        packet: &'a Packet,
        now: Timestamp,
        recorder: &'a mut R,
    ) -> Self {
        Journey {
            fabric,
            flows,
            now,
            recorder,
            original: packet,
            packet: *packet,
            identity: None,
            automatic: false,
            mtu: MTU_INSIDE,
            hop_limit_decrement: 0,
            hops: 0,
            hold: HOLD_MOST,
            effects: Effects::default(),
            dependencies: Dependencies::default(),
            ended: None,
            known: [None; 2],
        }
    }

    #[inline]
    pub(crate) fn depends(&mut self, component: Component) {
        self.dependencies.add(component);
    }

    /// The answer is given for want of this connection.
    pub(crate) fn wants(&mut self, connection: Component) {
        self.dependencies.add_want(connection);
    }

    #[inline]
    pub(crate) fn record(&mut self, place: Place, decision: Decision, rule: Option<RuleRef>) {
        self.recorder.hop(Hop {
            place,
            decision,
            rule,
            src: self.packet.src,
            dst: self.packet.dst,
            l4: self.packet.l4,
        });
    }

    /// Ends the way.
    pub(crate) fn halt(&mut self, stage: Stage, at: Place, rule: Option<RuleRef>) -> Halt {
        self.record(at, Decision::Dropped(stage), rule);
        let hold = match stage {
            // Decided by more than the flow's key and the components: the next packet may fare otherwise.
            Stage::MacSpoofed
            | Stage::Malformed
            | Stage::MtuExceeded
            | Stage::HopLimit
            | Stage::NatFragment
            | Stage::NatPortExhausted
            | Stage::TableFull => 0,
            // Decided for want of a connection, which may begin from the other side: the cell tells, this is a
            // second net.
            Stage::SecurityGroupIngress
            | Stage::SecurityGroupEgress
            | Stage::SecurityGroupEmpty
            | Stage::EigwInbound
            | Stage::NatNoMapping => HOLD_SHORT,
            _ => HOLD_MOST,
        };
        self.hold = self.hold.min(hold);
        self.ended = Some(Drop {
            stage,
            at,
            rule,
            answer: None,
        });
        Halt(())
    }

    /// The sender of what has just been dropped is to know.
    pub(crate) fn tell(&mut self, answer: Option<Answer>) {
        if let Some(ended) = &mut self.ended {
            ended.answer = answer;
        }
    }

    /// Adds an effect; a way that would have too many comes round again and again.
    pub(crate) fn effect(&mut self, effect: Effect, at: Place) -> Result<(), Halt> {
        if self.effects.add(effect) {
            Ok(())
        } else {
            Err(self.halt(Stage::RoutingLoop, at, None))
        }
    }

    /// The state of a connection, what this packet has already done included.
    pub(crate) fn tracked(&self, owner: Slot, key: &FlowKey) -> Option<State> {
        let own = self.effects.iter().find_map(|effect| match effect {
            Effect::Track {
                owner: o,
                key: k,
                state,
                ..
            } if *o == owner && k == key => Some(*state),
            _ => None,
        });
        own.or_else(|| self.flows.tracked(owner, key, self.now))
    }

    pub(crate) fn remember(&mut self, interface: &'a Interface) {
        if self.known[0].is_none_or(|known| known.id != interface.id) {
            self.known = [Some(interface), self.known[0]];
        }
    }

    pub(crate) fn interface(&mut self, id: EniId) -> Option<&'a Interface> {
        let known = self.known.iter().flatten().find(|known| known.id == id);
        if let Some(known) = known {
            return Some(known);
        }
        self.depends(Component::interface(id));
        let found: &'a Interface = self.fabric.interfaces.get(id)?;
        self.remember(found);
        Some(found)
    }

    /// The interface that has a private address of a VPC.
    pub(crate) fn owner_of(&mut self, vpc: VpcId, addr: IpAddr) -> Option<&'a Interface> {
        let known = self.known.iter().flatten().find(|k| k.vpc == vpc && k.has(addr));
        if let Some(known) = known {
            return Some(known);
        }
        self.depends(Component::address(vpc, addr));
        let found: &'a Interface = self.fabric.interfaces.with_address(vpc, addr)?;
        self.depends(Component::interface(found.id));
        self.remember(found);
        Some(found)
    }

    pub(crate) fn subnet(&mut self, id: SubnetId) -> Option<&'a SubnetPart> {
        self.depends(Component::subnet(id));
        self.fabric.subnets.get(&id).map(|part| &**part)
    }

    pub(crate) fn vpc(&mut self, id: VpcId) -> Option<&'a VpcPart> {
        self.depends(Component::vpc(id));
        self.fabric.vpcs.get(&id).map(|part| &**part)
    }

    /// Takes so much off the hop limit.
    pub(crate) fn ages(&mut self, by: u8, here: Place) -> Result<(), Halt> {
        self.hop_limit_decrement = self.hop_limit_decrement.saturating_add(by);
        if self.packet.hop_limit <= self.hop_limit_decrement {
            let halt = self.halt(Stage::HopLimit, here, None);
            self.tell(self.time_exceeded());
            return Err(halt);
        }
        Ok(())
    }

    /// Goes where packets are at most so long (semantics 76, 129, 130). A longer one that may be cut is cut by
    /// the data plane, to the action's MTU.
    pub(crate) fn fits(&mut self, mtu: u32, here: Place) -> Result<(), Halt> {
        self.fits_or(mtu, here, Self::too_big)
    }

    /// The same between two hosts.
    pub(crate) fn fits_between_hosts(&mut self, mtu: u32, here: Place) -> Result<(), Halt> {
        self.fits_or(mtu, here, Self::too_big_for_hosts)
    }

    #[inline]
    fn fits_or(
        &mut self,
        mtu: u32,
        here: Place,
        answer: impl FnOnce(&Self, u32) -> Option<Answer>,
    ) -> Result<(), Halt> {
        self.mtu = self.mtu.min(mtu);
        if self.packet.length > mtu && self.packet.is_unfragmentable() {
            let halt = self.halt(Stage::MtuExceeded, here, None);
            self.tell(answer(self, mtu));
            return Err(halt);
        }
        Ok(())
    }
}
