//! What flows share: how their packets are forwarded.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use atoll_fabric::CellId;
use atoll_memory::prefetch;
use atoll_net::Mac;
use atoll_net::packet::Rewrite;

use crate::elsewhere::Label;
use crate::port::PortSlot;

/// Which field a flow's own number goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PortRole {
    /// It has none.
    None,
    /// The source port.
    Source,
    /// The destination port.
    Destination,
    /// ICMP's identifier.
    IcmpId,
}

/// How to forward a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    /// The MAC addresses a frame must have come with; `None` from the internet.
    pub macs: Option<(Mac, Mac)>,
    /// The port it leaves by.
    pub out: PortSlot,
    /// That port's interface.
    pub ifindex: u32,
    /// Whether that port leads to the internet.
    pub exits: bool,
    /// The MAC addresses it leaves with.
    pub src_mac: Mac,
    /// See `src_mac`.
    pub dst_mac: Mac,
    /// New addresses; its ports are a flow's own, by `role`.
    pub rewrite: Rewrite,
    /// Where the flow's number goes.
    pub role: PortRole,
    /// What it takes from the hop limit.
    pub hop_limit_decrement: u8,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// What the answer depends on.
    pub cell: CellId,
    /// What is around it on its way to another host. The engine walks such packets; the kernel sends them.
    pub tunnel: Option<Label>,
}

impl Path {
    /// The rewriting of a flow with its number.
    #[inline]
    pub(crate) fn rewrite_with(&self, number: u16) -> Rewrite {
        let mut rewrite = self.rewrite;
        match self.role {
            PortRole::None => {}
            PortRole::Source => rewrite.src_port = Some(number),
            PortRole::Destination => rewrite.dst_port = Some(number),
            PortRole::IcmpId => rewrite.icmp_id = Some(number),
        }
        rewrite
    }
}

/// What most packets need to know of a path: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Way {
    /// The MAC addresses that a frame must have come with, as they stand in it: the destination first.
    pub from: [u8; 12],
    /// Those that it leaves with.
    pub to: [u8; 12],
    /// The interface that it leaves by.
    pub ifindex: u32,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    cell: CellId,
    /// What it takes from the hop limit.
    pub hop_limit_decrement: u8,
    /// Whether it matters which MAC addresses a frame came with.
    pub checks: bool,
    /// Whether that port leads to the internet.
    pub exits: bool,
    /// Whether it changes nothing but MAC addresses.
    pub plain: bool,
    /// Whether there is a path.
    stands: bool,
}

impl Way {
    const NONE: Way = Way {
        from: [0; 12],
        to: [0; 12],
        ifindex: 0,
        mtu: 0,
        cell: CellId(0),
        hop_limit_decrement: 0,
        checks: false,
        exits: false,
        plain: false,
        stands: false,
    };

    fn of(path: &Path) -> Way {
        let beside = |dst: Mac, src: Mac| {
            let mut both = [0; 12];
            both[..6].copy_from_slice(&dst.0);
            both[6..].copy_from_slice(&src.0);
            both
        };
        Way {
            from: path.macs.map_or([0; 12], |(src, dst)| beside(dst, src)),
            to: beside(path.dst_mac, path.src_mac),
            ifindex: path.ifindex,
            mtu: path.mtu,
            cell: path.cell,
            hop_limit_decrement: path.hop_limit_decrement,
            checks: path.macs.is_some(),
            exits: path.exits,
            plain: path.rewrite.is_empty() && path.role == PortRole::None && path.hop_limit_decrement == 0,
            stands: true,
        }
    }

    /// What the answer depends on.
    #[inline]
    pub(crate) fn cell(&self) -> CellId {
        self.cell
    }
}

/// Interned paths with the number of entries that use each.
pub(super) struct Paths {
    places: Vec<Option<Path>>,
    /// The same in short; none where there is no path.
    ways: Vec<Way>,
    users: Vec<u32>,
    free: Vec<u32>,
    /// Numbers by what stands at their places.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    most: usize,
    /// How often each place was filled or emptied.
    versions: Vec<u32>,
    /// Places that were filled or emptied, if somebody wants to know.
    changed: Option<Vec<u32>>,
}

impl Paths {
    pub(super) fn new(most: usize) -> Paths {
        Paths {
            // Memory is taken as it is used, and no walk waits for all of it to be moved.
            places: Vec::with_capacity(most),
            ways: Vec::with_capacity(most),
            users: Vec::with_capacity(most),
            free: Vec::new(),
            numbers: HashTable::with_capacity(most),
            hasher: DefaultHashBuilder::default(),
            most,
            versions: Vec::with_capacity(most),
            changed: None,
        }
    }

    /// Has changes kept for [`Paths::take_changed`].
    pub(super) fn watch(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Moves the places that changed out.
    pub(super) fn take_changed(&mut self, into: &mut Vec<u32>) {
        if let Some(changed) = &mut self.changed {
            into.append(changed);
        }
    }

    /// How often a place was filled or emptied; odd while it is filled.
    pub(super) fn version(&self, number: u32) -> u32 {
        self.versions.get(number as usize).copied().unwrap_or(0)
    }

    fn change(&mut self, number: u32) {
        let path = self.places.get(number as usize).and_then(Option::as_ref);
        if let Some(way) = self.ways.get_mut(number as usize) {
            let near = path.filter(|path| path.tunnel.is_none());
            *way = near.map_or(Way::NONE, Way::of);
        }
        if let Some(version) = self.versions.get_mut(number as usize) {
            *version = version.wrapping_add(1);
        }
        if let Some(changed) = &mut self.changed {
            changed.push(number);
        }
    }

    /// Has a path's memory fetched.
    #[inline]
    pub(super) fn prefetch(&self, number: u32) {
        if let Some(way) = self.ways.get(number as usize) {
            prefetch(way);
        }
    }

    /// The path in short, unless its port has closed.
    #[inline]
    pub(super) fn way(&self, number: u32) -> Option<&Way> {
        self.ways.get(number as usize).filter(|way| way.stands)
    }

    /// The path, unless its port has closed.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Path> {
        self.places.get(number as usize)?.as_ref()
    }

    /// The path's number, with one user more; `None` when there are too many paths.
    pub(super) fn intern(&mut self, path: Path) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        let places = &self.places;
        let stands = |number: &u32| places.get(*number as usize).and_then(Option::as_ref) == Some(&path);
        let number = match self.numbers.find(hash, stands) {
            Some(number) => *number,
            None => {
                let number = match self.free.pop() {
                    Some(number) => number,
                    None if self.places.len() >= self.most => return None,
                    None => {
                        self.places.push(None);
                        self.ways.push(Way::NONE);
                        self.users.push(0);
                        self.versions.push(0);
                        (self.places.len() - 1) as u32
                    }
                };
                *self.places.get_mut(number as usize)? = Some(path);
                let (places, hasher) = (&self.places, &self.hasher);
                let again = |number: &u32| {
                    let path = places.get(*number as usize).and_then(Option::as_ref);
                    path.map_or(0, |path| hasher.hash_one(path))
                };
                self.numbers.insert_unique(hash, number, again);
                self.change(number);
                number
            }
        };
        *self.users.get_mut(number as usize)? += 1;
        Some(number)
    }

    /// What stood at a place is not found any more.
    fn forget(&mut self, path: &Path, number: u32) {
        let hash = self.hasher.hash_one(path);
        if let Ok(found) = self.numbers.find_entry(hash, |kept| *kept == number) {
            found.remove();
        }
    }

    /// One user less.
    pub(super) fn release(&mut self, number: u32) {
        let Some(users) = self.users.get_mut(number as usize) else {
            return;
        };
        *users = users.saturating_sub(1);
        if *users == 0
            && let Some(place) = self.places.get_mut(number as usize)
        {
            if let Some(path) = place.take() {
                self.forget(&path, number);
                self.change(number);
            }
            self.free.push(number);
        }
    }

    /// Ends all paths out of a port; their entries find none and are walked again.
    pub(super) fn close(&mut self, slot: PortSlot) {
        for number in 0..self.places.len() {
            let place = self.places.get_mut(number);
            if let Some(path) = place.and_then(|place| place.take_if(|path| path.out == slot)) {
                self.forget(&path, number as u32);
                self.change(number as u32);
            }
        }
    }

    pub(super) fn cells(&self) -> HashSet<CellId> {
        self.places.iter().flatten().map(|path| path.cell).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}
