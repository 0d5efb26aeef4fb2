//! The state of flows: connection tracking an interface (semantics 43-49), the mappings of NAT gateways
//! (semantics 79-81) and what egress-only gateways remember (semantics 75).
//!
//! A walk reads it through [`FlowView`] and answers [`Effects`]; [`Flows`] is the live state that effects are
//! committed to. All tables are bounded and allocated once: a full one refuses new flows (semantics 48) and
//! never gives up a live one. [`NoFlows`] is the state in which nothing has happened yet.

mod destinations;
mod index;
mod layered;
mod live;
mod nat;
mod owner;
mod remembered;
mod reserved;
mod share;
mod table;

use std::net::{IpAddr, Ipv4Addr};

use atoll_model::Timestamp;

use crate::component::Component;

pub use layered::Layered;
pub use live::{Flows, Limits, LostRace};
pub use owner::Owner;
pub use remembered::{Place, Remembered, Shelf};
pub use reserved::{BLOCK, Reserved, ReservedId};

/// The number under which a [`crate::Fabric`] knows an owner of flows (an interface or a gateway) as long as it
/// exists; never given twice. Flow state goes with the fabric that gave the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// A connection as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The owner's side.
    pub local: IpAddr,
    /// The far side, of the same family.
    pub remote: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// The owner's port, or an ICMP query's identifier; 0 for other protocols (semantics 47).
    pub local_port: u16,
    /// The far port, or which ICMP query and who asks; 0 for other protocols.
    pub remote_port: u16,
}

impl FlowKey {
    /// The same seen from the far side. (Of an ICMP query, not quite: who asks is part of its key.)
    pub(crate) fn turned(&self) -> FlowKey {
        FlowKey {
            local: self.remote,
            remote: self.local,
            protocol: self.protocol,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }
}

/// What is known of a tracked connection: bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(pub u8);

impl State {
    /// The owner sent the first packet.
    pub const FROM_OWNER: u8 = 1;
    /// The side that did not begin has answered.
    pub const REPLIED: u8 = 2;
    /// After the answer the side that began sent again: a stream.
    pub const STREAM: u8 = 4;
    /// The owner said FIN.
    pub const FIN_OUT: u8 = 8;
    /// The far side said FIN.
    pub const FIN_IN: u8 = 16;
    /// Somebody said RST.
    pub const RESET: u8 = 32;

    /// Whether every one of these bits is set.
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Whether both sides have said FIN, or somebody RST.
    pub fn is_closed(self) -> bool {
        self.has(State::RESET) || self.has(State::FIN_IN | State::FIN_OUT)
    }
}

/// A translation of a NAT gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// TCP, UDP or ICMP.
    pub protocol: u8,
    /// The source inside.
    pub inside: Ipv4Addr,
    /// Its port or ICMP identifier.
    pub inside_port: u16,
    /// The gateway's private address.
    pub outside: Ipv4Addr,
    /// The port or identifier that stands for the inside one, 1024 to 65535 (semantics 79).
    pub outside_port: u16,
    /// The destination.
    pub remote: Ipv4Addr,
    /// Its port; 0 for ICMP.
    pub remote_port: u16,
}

/// A change of flow state that a walk asks for. Committing the same one again refreshes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A connection is tracked, in this state, until idle for so long.
    Track {
        /// Interface or egress-only gateway.
        owner: Slot,
        /// The connection.
        key: FlowKey,
        /// Its state from now on.
        state: State,
        /// Idle time after which it is forgotten, in milliseconds.
        timeout: u32,
        /// Whether it was not known before.
        begins: bool,
    },
    /// A NAT gateway maps.
    Map {
        /// The gateway.
        gateway: Slot,
        /// The mapping.
        mapping: Mapping,
        /// What is known of its connection: which sides have said FIN, and whether the last word was RST.
        state: State,
        /// Idle time after which it is forgotten, in milliseconds.
        timeout: u32,
        /// Whether it was not known before.
        begins: bool,
    },
}

impl Effect {
    /// If it begins a connection: what answers depend on that were given for want of it.
    pub fn begun(&self) -> Option<Component> {
        match self {
            Effect::Track {
                owner,
                key,
                begins: true,
                ..
            } => Some(Component::connection(*owner, key)),
            Effect::Map {
                gateway,
                mapping,
                begins: true,
                ..
            } => Some(Component::mapping(*gateway, mapping)),
            _ => None,
        }
    }
}

/// The effects of one walk, in the order of its way: at most [`Effects::MOST`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effects {
    list: [Option<Effect>; Effects::MOST],
}

impl Effects {
    /// Most effects of one walk; a way that would have more is a routing loop.
    pub const MOST: usize = 8;

    /// Adds one; false when there is no room.
    pub(crate) fn add(&mut self, effect: Effect) -> bool {
        match self.list.iter_mut().find(|e| e.is_none()) {
            Some(free) => {
                *free = Some(effect);
                true
            }
            None => false,
        }
    }

    /// The effects, in the order of the way.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.list.iter().map_while(Option::as_ref)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.list[0].is_none()
    }

    /// What answers depend on that were given for want of a connection that begins here.
    pub fn begun(&self) -> impl Iterator<Item = Component> {
        self.iter().filter_map(Effect::begun)
    }
}

/// Read access to the state of flows.
pub trait FlowView {
    /// The state of a connection that is not yet forgotten.
    fn tracked(&self, owner: Slot, key: &FlowKey, now: Timestamp) -> Option<State>;

    /// Whether another connection of that family finds room at this owner (semantics 48).
    fn has_room(&self, owner: Slot, key: &FlowKey) -> bool;

    /// The mapping for a packet from inside, and its state; `outside` and `outside_port` of `wanted` are not looked at.
    fn mapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)>;

    /// The mapping for a packet from outside, and its state; `inside` and `inside_port` of `wanted` are not looked at.
    fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)>;

    /// A free port of `wanted.outside` towards `wanted`'s destination, or `None` when 55,000 connections go there, every
    /// port is in use or not yet to be used again, or the table is full (semantics 80). Of a connection that has ended
    /// and still has its mapping: that one's.
    fn free_port(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<u16>;

    /// [`FlowView::tracked`] will be asked for this: its memory may be fetched.
    fn ask_for(&self, _owner: Slot, _key: &FlowKey) {}
}

/// No flow is known and there is room for any.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFlows;

impl FlowView for NoFlows {
    fn tracked(&self, _: Slot, _: &FlowKey, _: Timestamp) -> Option<State> {
        None
    }

    fn has_room(&self, _: Slot, _: &FlowKey) -> bool {
        true
    }

    fn mapped(&self, _: Slot, _: &Mapping, _: Timestamp) -> Option<(Mapping, State)> {
        None
    }

    fn unmapped(&self, _: Slot, _: &Mapping, _: Timestamp) -> Option<(Mapping, State)> {
        None
    }

    fn free_port(&self, _: Slot, wanted: &Mapping, _: Timestamp) -> Option<u16> {
        Some(
            nat::candidates(wanted, 0)
                .next()
                .unwrap_or(atoll_model::nat_gateway::PORTS.from),
        )
    }
}
