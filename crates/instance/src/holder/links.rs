//! Links of the data plane that the holder keeps while the daemon is away: descriptors, to it, of what stands on the host
//! ends of ports. Each daemon has a generation of its own; the earlier one's go when it says so.

use super::Holder;
use crate::protocol::HolderReply;
use crate::{Error, Result};
use std::os::fd::OwnedFd;

/// What is kept.
#[derive(Default)]
pub(super) struct Links {
    kept: Vec<Link>,
    /// The generation that took over last: those that began after it and never took over are worth nothing.
    ready: Option<u64>,
}

struct Link {
    generation: u64,
    interface: u32,
    /// Closing the last descriptor takes the link away.
    _descriptor: OwnedFd,
}

impl Links {
    fn keep(&mut self, generation: u64, interface: u32, descriptor: OwnedFd) {
        let ready = self.ready;
        self.kept.retain(|link| {
            (link.generation == generation || Some(link.generation) == ready)
                && (link.generation, link.interface) != (generation, interface)
        });
        self.kept.push(Link {
            generation,
            interface,
            _descriptor: descriptor,
        });
    }

    fn only(&mut self, generation: u64) {
        self.kept.retain(|link| link.generation == generation);
        self.ready = Some(generation);
    }
}

impl Holder {
    fn has_interface(&self, interface: u32) -> bool {
        self.reports
            .values()
            .flat_map(|report| &report.ports)
            .any(|port| port.host_index == interface)
    }

    pub(super) fn keep_link(
        &mut self,
        generation: u64,
        interface: u32,
        descriptor: Option<OwnedFd>,
    ) -> Result<HolderReply> {
        let Some(descriptor) = descriptor else {
            return Err(Error::Protocol("a link without its descriptor".into()));
        };
        // A port that has gone meanwhile took it along. So no more are kept than ports stand.
        if self.has_interface(interface) {
            self.links.keep(generation, interface, descriptor);
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
        kept.retain(|link| self.has_interface(link.interface));
        self.links.kept = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn kept(links: &Links) -> Vec<(u64, u32)> {
        let mut kept: Vec<_> = links
            .kept
            .iter()
            .map(|link| (link.generation, link.interface))
            .collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn a_generation_goes_when_the_next_is_ready_and_not_before() {
        let mut links = Links::default();
        for interface in [3, 4] {
            links.keep(1, interface, descriptor());
        }
        links.only(1);
        links.keep(2, 3, descriptor());
        assert_eq!(kept(&links), [(1, 3), (1, 4), (2, 3)]);
        // The second one died on the way: the third goes on from the first.
        links.keep(3, 3, descriptor());
        links.keep(3, 3, descriptor());
        assert_eq!(kept(&links), [(1, 3), (1, 4), (3, 3)]);
        links.only(3);
        assert_eq!(kept(&links), [(3, 3)]);
    }
}
