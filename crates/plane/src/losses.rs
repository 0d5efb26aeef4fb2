//! What found no free place where frames are received, and whose it was.
//!
//! The kernel counts by socket, which is by lane. Only of a port that has a lane for itself is it known that they were its
//! own; of other lanes, who uses them.

use std::collections::BTreeMap;
use std::fmt;

use atoll_fabric::Port;

use crate::port::Ports;
use crate::sys::fanout::{LANES, SHARED, own_lane, shared_lane};

/// Frames that found no free place, since the plane started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFrames {
    /// The lane that was full.
    pub lane: Lane,
    /// Of [`Lane::Own`] the port whose they were, none where it is gone; else those that use the lane, or did until they
    /// flooded: these first; none where all do.
    pub ports: Vec<Port>,
    /// How many.
    pub frames: u64,
}

/// Where frames wait that nobody has received yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The lane that one port had for itself while it flooded.
    Own,
    /// That of several ports that flooded at a time.
    Flooding(Family, usize),
    /// One of the eight that ports share for small frames, from 0.
    Small(Family, usize),
    /// That of all ports for frames of more than 1,800 bytes.
    Large(Family),
}

/// Of what the frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

const FAMILIES: [Family; 3] = [Family::Arp, Family::Ipv4, Family::Ipv6];

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |family: &Family| match family {
            Family::Arp => "arp",
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        match self {
            Lane::Own => f.write_str("own"),
            Lane::Flooding(family, nth) => write!(f, "{}-flooding-{nth}", name(family)),
            Lane::Small(family, nth) => write!(f, "{}-small-{nth}", name(family)),
            Lane::Large(family) => write!(f, "{}-large", name(family)),
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Of ports that stand, and of some that do not any more.
    own: BTreeMap<Port, u64>,
    /// Of ports that are gone, together.
    gone: u64,
    /// With how many ports it is next looked which of them are gone.
    full: usize,
    lanes: [[u64; LANES]; 3],
    /// Who has which lane while they flood, as (interface, lane).
    moved: [Vec<(u32, usize)>; 3],
    /// How often a port was given one.
    pub given: u64,
}

/// Ports that are counted before it is first looked which of them are gone.
const FEW: usize = 64;

impl Losses {
    /// Learns who has lanes of their own from now on.
    pub(crate) fn moved(&mut self, kind: usize, moved: Vec<(u32, usize)>) {
        if let Some(before) = self.moved.get_mut(kind) {
            self.given += u64::from(moved.len() > before.len());
            *before = moved;
        }
    }

    /// Learns of frames that a lane lost.
    pub(crate) fn add(&mut self, kind: usize, lane: usize, frames: u64, ports: &Ports) {
        if let Some(port) = self.sole(kind, lane, ports) {
            *self.own.entry(port).or_default() += frames;
            // Now and then, so that there are at most twice as many as stand.
            if self.own.len() > self.full.max(FEW) {
                self.let_go(ports);
                self.full = 2 * self.own.len();
            }
        } else if let Some(count) = self.lanes.get_mut(kind).and_then(|lanes| lanes.get_mut(lane)) {
            *count += frames;
        }
    }

    /// Counts ports that are gone together.
    pub(crate) fn let_go(&mut self, ports: &Ports) {
        let gone = self.own.extract_if(.., |port, _| ports.named(*port).is_none());
        self.gone += gone.map(|(_, frames)| frames).sum::<u64>();
    }

    /// Whether other ports have the same lane as this one, or the device by which other hosts' frames come.
    pub(crate) fn shares(&self, kind: usize, ifindex: u32, ports: &Ports, tunnel: Option<u32>) -> bool {
        let lane = shared_lane(ifindex);
        let ports = ports.standing().map(|port| port.ifindex);
        ports
            .chain(tunnel)
            .any(|other| other != ifindex && self.lane(kind, other) == lane)
    }

    /// The port that has a lane of its own for itself.
    fn sole(&self, kind: usize, lane: usize, ports: &Ports) -> Option<Port> {
        let mut of_it = self.moved.get(kind)?.iter().filter(|(_, own)| *own == lane);
        let (ifindex, _) = of_it.next()?;
        let standing = of_it.next().is_none().then(|| ports.at(*ifindex))?;
        Some(standing?.attachment.port())
    }

    /// The lane that an interface's small frames come in at.
    fn lane(&self, kind: usize, ifindex: u32) -> usize {
        let moved = self.moved.get(kind).into_iter().flatten();
        let own = moved.clone().find(|(moved, _)| *moved == ifindex);
        own.map_or_else(|| shared_lane(ifindex), |(_, lane)| *lane)
    }

    /// Ports that have a lane of their own now.
    pub(crate) fn flooding(&self, ports: &Ports) -> Vec<Port> {
        let moved = self.moved.iter().flatten();
        let standing = moved.filter_map(|(ifindex, _)| ports.at(*ifindex));
        let mut flooding: Vec<Port> = standing.map(|port| port.attachment.port()).collect();
        flooding.sort_unstable();
        flooding.dedup();
        flooding
    }

    /// What was lost, that which is known best first.
    pub(crate) fn told(&self, ports: &Ports) -> Vec<LostFrames> {
        let own = self.own.iter().map(|(port, frames)| LostFrames {
            lane: Lane::Own,
            ports: vec![*port],
            frames: *frames,
        });
        let gone = (self.gone > 0).then_some(LostFrames {
            lane: Lane::Own,
            ports: Vec::new(),
            frames: self.gone,
        });
        let mut told: Vec<LostFrames> = own.chain(gone).collect();
        for (kind, (family, lanes)) in FAMILIES.into_iter().zip(&self.lanes).enumerate() {
            for (lane, frames) in lanes.iter().enumerate().filter(|(_, frames)| **frames > 0) {
                // Until it was given another one, the lane was lost to who floods now.
                let flooded = |ifindex| self.lane(kind, ifindex) != lane && shared_lane(ifindex) == lane;
                let of_it = ports.standing().filter_map(|port| {
                    let (ifindex, name) = (port.ifindex, port.attachment.port());
                    let uses = self.lane(kind, ifindex) == lane;
                    (uses || flooded(ifindex)).then_some((uses, name))
                });
                let mut users: Vec<(bool, Port)> = of_it.collect();
                users.sort_unstable();
                let users = users.into_iter().map(|(_, port)| port).collect();
                let name = match lane {
                    0 => Lane::Large(family),
                    lane if lane <= SHARED => Lane::Small(family, lane - 1),
                    lane => Lane::Flooding(family, lane - own_lane(0)),
                };
                told.push(LostFrames {
                    lane: name,
                    ports: users,
                    frames: *frames,
                });
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Attachment;
    use atoll_model::EniId;

    const IPV4: usize = 1;

    #[test]
    fn only_who_has_a_lane_alone_is_said_to_have_lost() {
        let (mut ports, mut losses) = (Ports::default(), Losses::default());
        let port = |nth| Port::Eni(EniId::new(nth));
        for (ifindex, eni) in [(9, 3), (17, 2), (10, 1)] {
            ports.up(ifindex, Attachment::Eni(EniId::new(eni))).unwrap();
        }
        assert!(losses.shares(IPV4, 9, &ports, None) && !losses.shares(IPV4, 10, &ports, None));
        losses.add(IPV4, shared_lane(9), 5, &ports);
        losses.moved(IPV4, vec![(9, own_lane(0))]);
        assert!(
            !losses.shares(IPV4, 17, &ports, None),
            "it has the lane for itself now"
        );
        let beside = |ifindex| losses.shares(IPV4, 17, &ports, Some(ifindex));
        assert!(
            beside(25) && !beside(26),
            "what comes from other hosts shares a lane too"
        );
        losses.add(IPV4, own_lane(0), 7, &ports);
        assert_eq!(losses.flooding(&ports), [port(3)]);
        losses.moved(IPV4, vec![(9, own_lane(0)), (10, own_lane(0))]);
        losses.add(IPV4, own_lane(0), 11, &ports);
        losses.add(IPV4, 0, 13, &ports);
        let lost = |lane, ports: &[Port], frames| LostFrames {
            lane,
            ports: ports.to_vec(),
            frames,
        };
        let all = [
            lost(Lane::Own, &[port(3)], 7),
            lost(Lane::Large(Family::Ipv4), &[], 13),
            // It was its flood, before it had another lane.
            lost(Lane::Small(Family::Ipv4, 1), &[port(3), port(2)], 5),
            lost(Lane::Flooding(Family::Ipv4, 0), &[port(1), port(3)], 11),
        ];
        assert_eq!(losses.told(&ports), all);
        assert_eq!(all[3].lane.to_string(), "ipv4-flooding-0");
    }

    #[test]
    fn every_port_is_counted_and_those_that_are_gone_only_together() {
        let (mut ports, mut losses) = (Ports::default(), Losses::default());
        let port = |nth| Port::Eni(EniId::new(nth));
        let lane = own_lane(0);
        let flood = |losses: &mut Losses, ports: &mut Ports, nth: u32| {
            ports.up(nth, Attachment::Eni(EniId::new(nth.into()))).unwrap();
            losses.moved(IPV4, vec![(nth, lane)]);
            losses.add(IPV4, lane, 3, ports);
        };
        for nth in 1..=100 {
            flood(&mut losses, &mut ports, nth);
        }
        let told = losses.told(&ports);
        assert_eq!(told.len(), 100);
        assert!(
            (1..=100).zip(&told).all(|(nth, lost)| lost.ports == [port(nth)]),
            "{told:?}"
        );
        // Ports that come and go, one after the other.
        for nth in 1..=100 {
            ports.down(nth);
        }
        for nth in 101..10_000 {
            flood(&mut losses, &mut ports, nth);
            ports.down(nth);
            assert!(losses.own.len() <= 201, "{}", losses.own.len());
        }
        flood(&mut losses, &mut ports, 10_000);
        losses.let_go(&ports);
        let own = |ports: &[Port], frames| LostFrames {
            lane: Lane::Own,
            ports: ports.to_vec(),
            frames,
        };
        let all = [own(&[port(10_000)], 3), own(&[], 3 * 9_999)];
        assert_eq!(losses.told(&ports), all);
    }
}
