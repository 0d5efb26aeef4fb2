//! The sockets of a processor, and the groups by which threads share what comes in.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::PlaneError;
use crate::sys::fanout::Group;
use crate::sys::lanes::Lanes;
use crate::sys::ring::{EtherType, Place};

/// The sockets that receive: some a protocol for all ports together, so that a port costs nothing here.
pub(crate) struct Sockets {
    ipv4: Lanes,
    ipv6: Lanes,
    arp: Lanes,
}

/// Places for frames that wait, in each of a thread's rings.
pub(crate) struct Room {
    /// IPv4's super-segments.
    pub ipv4: u32,
    /// IPv6's.
    pub ipv6: u32,
    /// Small frames, in each lane.
    pub small: u32,
}

/// Places for ARP in each lane.
const ARP_FRAMES: u32 = 128;

impl Sockets {
    /// Opens them in the calling thread's network namespace. They share what comes in with others of the same groups.
    pub(crate) fn open(room: &Room, groups: &mut Groups) -> Result<Sockets, PlaneError> {
        let open = |kind, large, small, group| {
            Lanes::open(kind, large, small, group).map_err(|source| PlaneError::Socket {
                what: "open a packet socket with its ring",
                source,
            })
        };
        let (ipv4, ipv6) = ((Place::Huge, room.ipv4), (Place::Large, room.ipv6));
        Ok(Sockets {
            ipv4: open(EtherType::Ipv4, ipv4, room.small, &mut groups.ipv4)?,
            ipv6: open(EtherType::Ipv6, ipv6, room.small, &mut groups.ipv6)?,
            // Frames of ARP are small; what is longer is none.
            arp: open(
                EtherType::Arp,
                (Place::Small, ARP_FRAMES),
                ARP_FRAMES,
                &mut groups.arp,
            )?,
        })
    }

    /// All of them.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lanes> {
        [&self.arp, &self.ipv4, &self.ipv6].into_iter()
    }

    /// The same, to be taken from: ARP, IPv4, IPv6.
    pub(crate) fn lanes_mut(&mut self) -> [&mut Lanes; 3] {
        [&mut self.arp, &mut self.ipv4, &mut self.ipv6]
    }

    /// Whether packets lie there to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.ipv4.is_ready() || self.ipv6.is_ready()
    }

    /// Those that packets of flows come in at, once more: every ring of every lane.
    pub(crate) fn again(&self) -> Result<Vec<OwnedFd>, PlaneError> {
        let rings = [&self.ipv4, &self.ipv6]
            .into_iter()
            .flat_map(|lanes| lanes.rings());
        rings
            .map(|ring| {
                ring.as_fd()
                    .try_clone_to_owned()
                    .map_err(|source| PlaneError::Socket {
                        what: "have a packet socket once more",
                        source,
                    })
            })
            .collect()
    }
}

/// The groups of sockets that share what comes in.
pub(crate) struct Groups {
    ipv4: Group,
    ipv6: Group,
    arp: Group,
}

impl Groups {
    /// Of so many threads' sockets.
    pub(crate) fn new(threads: usize) -> Groups {
        Groups {
            ipv4: Group::new(threads),
            ipv6: Group::new(threads),
            arp: Group::new(threads),
        }
    }

    /// ARP's, IPv4's and IPv6's.
    pub(crate) fn into_each(self) -> [Group; 3] {
        [self.arp, self.ipv4, self.ipv6]
    }
}

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Whether a packet waits at any of these sockets, or is being worked off.
pub(crate) fn packets_wait(sockets: &[OwnedFd]) -> bool {
    let waits = |socket| PollFd::new(socket, PollFlags::IN);
    let mut sockets: Vec<PollFd<'_>> = sockets.iter().map(waits).collect();
    // What cannot be asked may have one.
    !matches!(poll(&mut sockets, Some(&AT_ONCE)), Ok(0))
}
