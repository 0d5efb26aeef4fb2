//! Ports: the host ends of veth pairs and TAPs, by the generation of the place that they stand in.
//!
//! The kernel gives an interface's index again once it is free, so nothing that outlives a packet may be keyed by
//! it: flows hold a [`PortSlot`], whose generation changes with every port that stands there.

use hashbrown::HashMap;

use atoll_fabric::Port;
use atoll_model::EniId;
use atoll_net::Mac;

use crate::PlaneError;

/// What a port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A network interface of an instance.
    Eni(EniId),
    /// The outside of all internet gateways. Whatever address is asked for there is answered with `router`.
    Internet {
        /// The MAC that the fabric has on that link.
        router: Mac,
        /// The MAC of the station at the other end, which gets every packet.
        station: Mac,
    },
}

impl Attachment {
    /// The port as the rules name it.
    pub fn port(&self) -> Port {
        match self {
            Attachment::Eni(eni) => Port::Eni(*eni),
            Attachment::Internet { .. } => Port::Internet,
        }
    }
}

/// A port's place with its generation: 20 bits of place, 12 of generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortSlot(pub u32);

const PLACE_BITS: u32 = 20;
/// Most ports of one host: the other half of the places are wires'.
const MOST: usize = 1 << (PLACE_BITS - 1);

impl PortSlot {
    fn new(place: usize, generation: u32) -> PortSlot {
        PortSlot(generation << PLACE_BITS | place as u32)
    }

    fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }

    /// Most slots for what comes from other hosts.
    pub(crate) const WIRES: usize = MOST - 1;

    /// What leads out to other hosts.
    pub(crate) const ELSEWHERE: PortSlot = PortSlot((1 << PLACE_BITS) - 1);

    /// The slot of what comes from another host, below [`PortSlot::WIRES`].
    pub(crate) fn of_wire(place: usize, generation: u32) -> PortSlot {
        PortSlot::new(MOST + place, generation)
    }

    /// Its place among those of what comes from other hosts, if it is one of them.
    pub(crate) fn wire_place(self) -> Option<usize> {
        self.place().checked_sub(MOST)
    }

    pub(crate) fn next_generation(generation: u32) -> u32 {
        (generation + 1) & ((1 << (32 - PLACE_BITS)) - 1)
    }
}

/// A port that stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub slot: PortSlot,
    pub ifindex: u32,
    pub attachment: Attachment,
}

/// All ports.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    places: Vec<(u32, Option<Standing>)>,
    free: Vec<usize>,
    by_ifindex: HashMap<u32, PortSlot>,
    by_port: HashMap<Port, PortSlot>,
    /// Interfaces that became ports or ceased to be, if somebody wants to know.
    changed: Option<Vec<(u32, Option<PortSlot>)>>,
}

impl Ports {
    /// Has changes kept for [`Ports::take_changes`].
    pub(crate) fn watch(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Moves the changes out.
    pub(crate) fn take_changes(&mut self, into: &mut Vec<(u32, Option<PortSlot>)>) {
        if let Some(changed) = &mut self.changed {
            into.append(changed);
        }
    }

    /// Takes a port in. The one that stood for the same interface index or the same ENI before goes; it comes
    /// back as the second value.
    pub(crate) fn up(
        &mut self,
        ifindex: u32,
        attachment: Attachment,
    ) -> Result<(PortSlot, Vec<PortSlot>), PlaneError> {
        let mut replaced = Vec::new();
        replaced.extend(self.down(ifindex));
        if let Some(slot) = self.by_port.get(&attachment.port()).copied()
            && let Some(standing) = self.get(slot).copied()
        {
            replaced.extend(self.down(standing.ifindex));
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() >= MOST => return Err(PlaneError::TooManyPorts),
            None => {
                self.places.push((0, None));
                self.places.len() - 1
            }
        };
        let Some((generation, standing)) = self.places.get_mut(place) else {
            return Err(PlaneError::TooManyPorts);
        };
        let slot = PortSlot::new(place, *generation);
        *standing = Some(Standing {
            slot,
            ifindex,
            attachment,
        });
        self.by_ifindex.insert(ifindex, slot);
        self.by_port.insert(attachment.port(), slot);
        if let Some(changed) = &mut self.changed {
            changed.push((ifindex, Some(slot)));
        }
        Ok((slot, replaced))
    }

    /// Lets a port go.
    pub(crate) fn down(&mut self, ifindex: u32) -> Option<PortSlot> {
        let slot = self.by_ifindex.remove(&ifindex)?;
        let (generation, standing) = self.places.get_mut(slot.place())?;
        let standing = standing.take()?;
        *generation = PortSlot::next_generation(*generation);
        self.free.push(slot.place());
        self.by_port.remove(&standing.attachment.port());
        if let Some(changed) = &mut self.changed {
            changed.push((ifindex, None));
        }
        Some(slot)
    }

    /// How many ports lead to network interfaces of instances.
    pub(crate) fn interfaces(&self) -> usize {
        self.by_port.len() - usize::from(self.by_port.contains_key(&Port::Internet))
    }

    /// All that stand, in no order.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &Standing> {
        self.places.iter().filter_map(|(_, standing)| standing.as_ref())
    }

    /// The port of an interface.
    #[inline]
    pub(crate) fn at(&self, ifindex: u32) -> Option<&Standing> {
        self.get(*self.by_ifindex.get(&ifindex)?)
    }

    /// The slot of an interface's port.
    #[inline]
    pub(crate) fn slot(&self, ifindex: u32) -> Option<PortSlot> {
        self.by_ifindex.get(&ifindex).copied()
    }

    /// The port that the rules name.
    pub(crate) fn named(&self, port: Port) -> Option<&Standing> {
        self.get(*self.by_port.get(&port)?)
    }

    /// The port of a slot, if it still stands.
    #[inline]
    pub(crate) fn get(&self, slot: PortSlot) -> Option<&Standing> {
        self.places
            .get(slot.place())?
            .1
            .as_ref()
            .filter(|s| s.slot == slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_index_given_again_is_another_port() {
        let mut ports = Ports::default();
        let (first, _) = ports.up(7, Attachment::Eni(EniId::new(1))).unwrap();
        assert_eq!(ports.down(7), Some(first));
        let (second, replaced) = ports.up(7, Attachment::Eni(EniId::new(2))).unwrap();
        assert!(replaced.is_empty());
        assert_ne!(first, second);
        assert!(ports.get(first).is_none());
        assert_eq!(ports.at(7).map(|s| s.slot), Some(second));
        assert!(ports.named(Port::Eni(EniId::new(1))).is_none());
    }

    #[test]
    fn an_interface_that_moves_leaves_its_old_port() {
        let mut ports = Ports::default();
        let (old, _) = ports.up(7, Attachment::Eni(EniId::new(1))).unwrap();
        let (new, replaced) = ports.up(9, Attachment::Eni(EniId::new(1))).unwrap();
        assert_eq!(replaced, [old]);
        assert!(ports.at(7).is_none());
        assert_eq!(ports.named(Port::Eni(EniId::new(1))).map(|s| s.slot), Some(new));
    }
}
