//! Looking ahead: asking for the memory that walks will read.
//!
//! A walk finds its two interfaces among all of a region's, each by a word of an index and then the interface: four times
//! it waits for memory that no cache has, each time for what it has just read. Walks of several packets need not wait one
//! after another: here all of them ask for their first words, then all for their interfaces, and so on. What is asked for
//! is a guess that no answer rests on.

use atoll_memory::prefetch;
use atoll_model::{Direction, EniId};

use crate::fabric::Fabric;
use crate::flows::{FlowKey, FlowView};
use crate::interface_index::At;
use crate::network_interface::Interface;

/// What is known of a packet before it is read.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// The interface that sent it.
    pub sender: EniId,
    /// Its connection, as that one sees it.
    pub connection: FlowKey,
}

/// So many packets ask at once: no processor has more lines on their way.
const AT_ONCE: usize = 32;

/// One packet's way so far.
struct Way {
    ahead: Ahead,
    /// The hash that comes next: of the sender's id, then of the destination.
    hash: u32,
    sender: Option<At>,
    receiver: Option<At>,
}

impl Fabric {
    /// Has the memory fetched that the walks of these packets will read. No effect but on time.
    pub fn look_ahead<V: FlowView + ?Sized>(&self, flows: &V, packets: impl IntoIterator<Item = Ahead>) {
        let mut packets = packets.into_iter();
        let mut ways: Vec<Way> = Vec::with_capacity(AT_ONCE);
        loop {
            ways.clear();
            ways.extend(packets.by_ref().take(AT_ONCE).map(|ahead| Way {
                hash: self.interfaces.ask_for(ahead.sender),
                ahead,
                sender: None,
                receiver: None,
            }));
            if ways.is_empty() {
                return;
            }
            self.fetch(flows, &mut ways);
        }
    }

    fn fetch<V: FlowView + ?Sized>(&self, flows: &V, ways: &mut [Way]) {
        for way in &mut *ways {
            way.sender = self.interfaces.guess(way.hash);
        }
        for way in &mut *ways {
            if let Some(sender) = way.sender.and_then(|at| self.interfaces.at(at)) {
                way.hash = self
                    .interfaces
                    .ask_for_address(sender.vpc, way.ahead.connection.remote);
                flows.ask_for(sender.slot, &way.ahead.connection);
            }
        }
        for way in &mut *ways {
            if let Some(sender) = way.sender.and_then(|at| self.interfaces.at(at)) {
                way.receiver = self.interfaces.guess_by_address(way.hash);
                self.ask_for_rules(sender, Direction::Egress, &way.ahead.connection);
            }
        }
        for way in ways {
            if let Some(receiver) = way.receiver.and_then(|at| self.interfaces.at(at)) {
                let connection = way.ahead.connection.turned();
                flows.ask_for(receiver.slot, &connection);
                self.ask_for_rules(receiver, Direction::Ingress, &connection);
            }
        }
    }

    /// An interface's subnet and its groups' rules about a connection.
    fn ask_for_rules(&self, interface: &Interface, direction: Direction, connection: &FlowKey) {
        if let Some(subnet) = self.subnets.get(&interface.subnet) {
            prefetch(&**subnet);
        }
        if let Some(set) = self.sets.get(interface.set) {
            set.sides(direction).0.ask_for(connection.remote);
        }
    }
}
