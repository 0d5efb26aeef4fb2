//! A host for the laws: an engine that forwards for all of a random region, beside a kernel that makes one flow at a time.

use std::sync::{Arc, Mutex};

use hashbrown::HashMap;

use atoll_model::EniId;
use atoll_net::packet::{Frame, parse};

use super::made::{Kernel, Life, Made, Seen};
use super::*;
use crate::cache::{Decision, Path};
use crate::frames;
use crate::world::World;
use crate::world::packets::Arrived;

/// What a kernel would say of a flow that it made: one at a time.
#[derive(Clone, Default)]
pub(super) struct SeenFlows(pub(super) Arc<Mutex<MadeOne>>);

#[derive(Default)]
pub(super) struct MadeOne {
    pub(super) packets: HashMap<Key, u64>,
    pub(super) last: Option<(Made, Life)>,
    /// How many there were.
    pub(super) count: u32,
}

impl Kernel for SeenFlows {
    fn seen(&self, key: &Key) -> Option<Seen> {
        let one = self.0.lock().unwrap();
        let packets = *one.packets.get(key)?;
        Some(Seen {
            packets,
            made: Some(one.count),
        })
    }

    fn next(&self) -> u32 {
        self.0.lock().unwrap().count + 1
    }

    fn opener(&self, _: u32) -> Option<PortSlot> {
        None
    }

    fn life(&self, sequence: u32) -> Option<Life> {
        let one = self.0.lock().unwrap();
        one.last.filter(|_| sequence == one.count).map(|(_, life)| life)
    }

    fn made(&self, sequence: u32) -> Option<Made> {
        let one = self.0.lock().unwrap();
        one.last.filter(|_| sequence == one.count).map(|(made, _)| made)
    }

    fn take(&self, _: u32) -> Life {
        let mut one = self.0.lock().unwrap();
        let (_, life) = one.last.as_mut().unwrap();
        let was = *life;
        life.over = true;
        was
    }

    fn known(&self, _: u32) {}

    fn give_back(&self, first: u32) {
        let mut one = self.0.lock().unwrap();
        if first > one.count {
            (one.last, one.packets) = (None, HashMap::new());
        }
    }

    fn forget(&self, _: &[Key]) {}
}

/// A region with an engine that forwards for all of it.
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) seen: SeenFlows,
    pub(super) out: Outbox,
}

impl Host {
    pub(super) fn new(world: &World, now: Timestamp) -> Host {
        Host::of(world.fabric(128), &world.instance_enis(), now)
    }

    pub(super) fn of(fabric: Fabric, enis: &[EniId], now: Timestamp) -> Host {
        let mut engine = Engine::new(fabric, Capacity::SMALL, 5, now);
        let seen = SeenFlows::default();
        engine.watch(Box::new(seen.clone()));
        engine.port_up(1, frames::INTERNET).unwrap();
        for (n, eni) in enis.iter().enumerate() {
            engine.port_up(n as u32 + 2, Attachment::Eni(*eni)).unwrap();
        }
        Host {
            engine,
            seen,
            out: Outbox::new(),
        }
    }

    /// Sends a frame; what goes out, and where, comes back.
    pub(super) fn send(&mut self, now: Timestamp, packet: &Packet) -> Option<Arrived> {
        let standing = *self.engine.ports.named(packet.ingress)?;
        let mut data = frames::frame(packet);
        self.out.clear();
        let received = Received {
            ifindex: standing.ifindex,
            tagged: false,
            truncated: false,
            data: &mut data,
        };
        self.engine.process(now, &mut [received], &mut self.out);
        let [Emission::Received { ifindex, .. }] = self.out[..] else {
            return None;
        };
        let to = self.engine.ports.at(ifindex)?.attachment.port();
        Some((to, read(to, &data)?.1))
    }

    /// A packet's key at its port.
    pub(super) fn key(&self, packet: &Packet) -> Option<Key> {
        let standing = self.engine.ports.named(packet.ingress)?;
        let (headers, _) = read(packet.ingress, &frames::frame(packet))?;
        Key::of_headers(standing.slot, &headers)
    }

    /// The decision that holds for a packet, with what it is about.
    pub(super) fn decision(&self, now: Timestamp, packet: &Packet) -> Option<(Key, Decision)> {
        let key = self.key(packet)?;
        let Engine { cache, cells, .. } = &self.engine;
        let holding = |ask: Key| {
            let decision = cache.decision(&ask)?.clone();
            let holds = cache.holds(&decision, cells, now.0 as u32);
            holds.then_some((ask, decision))
        };
        holding(key.any_source_port()).or_else(|| holding(key.any_port_of_block()))
    }

    pub(super) fn path(&self, number: u32) -> Path {
        *self.engine.cache.path(number).0.unwrap()
    }
}

pub(super) fn read(port: Port, data: &[u8]) -> Option<(Headers, Packet)> {
    let Ok(Frame::Ip(headers)) = parse(&data[vnet::LENGTH..]) else {
        return None;
    };
    Some((headers, frames::seen(port, &headers)))
}
