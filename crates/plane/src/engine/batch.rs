//! A batch of frames, worked off in order, with the memory that each will need asked for ahead.
//!
//! A kept answer among a million is a line of memory that no cache has, and takes as long to come as several packets take
//! to be forwarded. So a batch is worked off in stages, each of which asks for the memory that the next one reads: it waits
//! once or twice for all of its packets, not for one after another.

use atoll_fabric::{Ahead, Port};
use atoll_model::Timestamp;

use super::{Engine, Outbox};
use crate::cache::{Found, Key, Near};
use crate::port::PortSlot;
use crate::sys::ring::Received;
use crate::vnet;

/// What is looked for before a frame of the batch is read.
pub(super) struct Glance {
    /// The port it came in at, if there is one.
    pub slot: Option<PortSlot>,
    /// Its key, if it is a common packet.
    pub key: Option<(Key, u64)>,
    /// What is kept for that.
    pub found: Option<Found>,
    /// Whether that may stand farther on than was looked.
    farther: bool,
}

impl Engine {
    /// Works a batch of frames off. They are rewritten where they lie; `out` says which go where.
    pub fn process(&mut self, now: Timestamp, batch: &mut [Received<'_>], out: &mut Outbox) {
        let mut glances = std::mem::take(&mut self.glances);
        glances.clear();
        for inbound in &*batch {
            glances.push(self.glance(inbound));
        }
        let (mut new, mut farther) = (0, 0);
        for glance in &mut glances {
            if let Some((key, hash)) = &glance.key {
                match self.cache.find_near(key, *hash) {
                    Near::Found(found) => glance.found = Some(found),
                    Near::Nothing => new += 1,
                    Near::Farther => {
                        glance.farther = true;
                        farther += 1;
                    }
                }
            }
        }
        // One alone has nobody to share its waiting with.
        if new > 1 {
            self.look_ahead(&glances);
        }
        if farther > 0 {
            for glance in glances.iter_mut().filter(|glance| glance.farther) {
                if let Some((key, hash)) = &glance.key {
                    glance.found = self.cache.find(key, *hash);
                }
            }
        }
        let version = self.cache.version();
        for (index, (glance, inbound)) in glances.iter().zip(batch).enumerate() {
            // A packet before it in the batch may have changed what is kept.
            let holds = self.cache.version() == version;
            self.receive(now, glance, holds, inbound, index, out);
        }
        self.glances = glances;
    }

    #[inline(always)]
    fn glance(&self, inbound: &Received<'_>) -> Glance {
        let slot = self.ports.slot(inbound.ifindex);
        let key = slot.zip(inbound.data.get(vnet::LENGTH..));
        let key = key.and_then(|(slot, frame)| Key::at_a_glance(slot, frame));
        let key = key.map(|key| (key, self.cache.hash(&key)));
        if let Some((key, hash)) = &key {
            self.cache.prefetch(key, *hash);
        }
        Glance {
            slot,
            key,
            found: None,
            farther: false,
        }
    }

    /// Asks for the memory that the walks of packets will read for which nothing is kept.
    #[cold]
    fn look_ahead(&self, glances: &[Glance]) {
        let new = glances.iter().filter(|glance| glance.is_new());
        let ahead = new.filter_map(|glance| {
            let (key, _) = glance.key.as_ref()?;
            match self.ports.get(glance.slot?)?.attachment.port() {
                Port::Eni(sender) => Some(Ahead {
                    sender,
                    connection: key.connection(),
                }),
                Port::Internet => None,
            }
        });
        self.fabric.look_ahead(&self.flows, ahead);
    }
}

impl Glance {
    /// Whether it is a common packet for which nothing seems to be kept.
    fn is_new(&self) -> bool {
        self.key.is_some() && self.found.is_none() && !self.farther
    }
}
