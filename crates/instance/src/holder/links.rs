//! Links of the data plane that the holder keeps while the daemon is away: descriptors, to it, of what stands on the host
//! ends of ports and on the VXLAN device. Each daemon has a generation of its own; the earlier one's go when it says so.

use super::Holder;
use crate::protocol::HolderReply;
use crate::{Error, Result, tunnel};
use std::os::fd::OwnedFd;

/// Most links on one interface.
const PLACES: u8 = 4;

/// Whose link it is, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) generation: u64,
    pub(super) interface: u32,
    /// Which of several on the interface.
    pub(super) place: u8,
}

/// What is kept.
#[derive(Default)]
pub(super) struct Links {
    kept: Vec<Link>,
    /// The generation that took over last: those that began after it and never took over are worth nothing.
    ready: Option<u64>,
}

struct Link {
    at: At,
    /// Closing the last descriptor takes the link away.
    _descriptor: OwnedFd,
}

impl Links {
    fn keep(&mut self, at: At, descriptor: OwnedFd) {
        let ready = self.ready;
        self.kept.retain(|link| {
            (link.at.generation == at.generation || Some(link.at.generation) == ready) && link.at != at
        });
        self.kept.push(Link {
            at,
            _descriptor: descriptor,
        });
    }

    fn only(&mut self, generation: u64) {
        self.kept.retain(|link| link.at.generation == generation);
        self.ready = Some(generation);
    }
}

impl Holder {
    fn has_interface(&self, interface: u32) -> bool {
        let ports = self.reports.values().flat_map(|report| &report.ports);
        let mut indexes = ports.map(|port| port.host_index);
        indexes.any(|index| index == interface) || tunnel::index() == Some(interface)
    }

    pub(super) fn keep_link(&mut self, at: At, descriptor: Option<OwnedFd>) -> Result<HolderReply> {
        let Some(descriptor) = descriptor else {
            return Err(Error::Protocol("a link without its descriptor".into()));
        };
        if at.place >= PLACES {
            return Err(Error::Invalid {
                what: "place of a link".into(),
                value: at.place.to_string(),
                expected: format!("a number below {PLACES}"),
            });
        }
        // An interface that has gone meanwhile took it along. So no more are kept than stand on interfaces.
        if self.has_interface(at.interface) {
            self.links.keep(at, descriptor);
        }
        Ok(HolderReply::Done)
    }

    pub(super) fn drop_links(&mut self, except: u64) -> HolderReply {
        self.links.only(except);
        HolderReply::Done
    }

    /// To be called when reports have changed.
    pub(super) fn drop_links_of_gone_ports(&mut self) {
        let mut kept = std::mem::take(&mut self.links.kept);
        kept.retain(|link| self.has_interface(link.at.interface));
        self.links.kept = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn at(generation: u64, interface: u32, place: u8) -> At {
        At {
            generation,
            interface,
            place,
        }
    }

    fn kept(links: &Links) -> Vec<(u64, u32, u8)> {
        let kept = links.kept.iter().map(|link| link.at);
        let mut kept: Vec<_> = kept.map(|at| (at.generation, at.interface, at.place)).collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn a_generation_goes_when_the_next_is_ready_and_not_before() {
        let mut links = Links::default();
        for interface in [3, 4] {
            links.keep(at(1, interface, 0), descriptor());
        }
        links.only(1);
        links.keep(at(2, 3, 0), descriptor());
        assert_eq!(kept(&links), [(1, 3, 0), (1, 4, 0), (2, 3, 0)]);
        // The second one died on the way: the third goes on from the first.
        links.keep(at(3, 3, 0), descriptor());
        links.keep(at(3, 3, 0), descriptor());
        assert_eq!(kept(&links), [(1, 3, 0), (1, 4, 0), (3, 3, 0)]);
        links.only(3);
        assert_eq!(kept(&links), [(3, 3, 0)]);
    }

    #[test]
    fn several_links_on_one_interface_are_kept_beside_each_other() {
        let mut links = Links::default();
        for place in [0, 1, 2, 1] {
            links.keep(at(1, 3, place), descriptor());
        }
        assert_eq!(kept(&links), [(1, 3, 0), (1, 3, 1), (1, 3, 2)]);
    }
}
