//! What is on other hosts, and how packets get there: over VXLAN, the network's number naming the VPC.
//!
//! A frame between hosts carries a [`Tag`] in the 16 bits of the group policy extension, and MAC addresses that name who let
//! it go and where it goes; `fabric`'s `wire.rs` says what they mean. Only the kernel's programs can read and write what
//! stands around the frame. So on its way between them and the engine a [`Label`] stands behind its MAC header, under a
//! [`Seal`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::{HashMap, HashSet};

use atoll_fabric::{Changed, Site, Sites, Tag};
use atoll_model::{EniId, VpcId};

use crate::port::PortSlot;
use crate::vnet;

/// A VXLAN device in external mode with the group policy extension, in the fabric's network namespace:
/// `ip link add NAME type vxlan external gbp nolearning`. Its own MTU must be at least 9,100.
///
/// What comes while the programs do not stand there has no label: it is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its index.
    pub ifindex: u32,
    /// This host's address for the others.
    pub address: IpAddr,
    /// The longest IP packet between the hosts, in bytes.
    pub mtu: u32,
}

/// Around a frame: VXLAN's, UDP's and IP's headers, and the inner Ethernet header.
const AROUND_V4: u32 = 8 + 8 + 20 + 14;
const AROUND_V6: u32 = 8 + 8 + 40 + 14;

/// A VXLAN network's number, which names a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vni(u32);

impl Vni {
    /// A number of 24 bits.
    pub fn new(number: u32) -> Option<Vni> {
        (number < 1 << 24).then_some(Vni(number))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What stands around a frame on the wire: the other host, the network, the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label {
    pub host: IpAddr,
    pub network: Vni,
    /// Read from the wire it may be any.
    pub tag: u16,
}

impl Label {
    /// Bytes between a frame's MAC header and its IP header (`struct sealed`).
    pub(crate) const LENGTH: usize = Label::BARE + 8;
    /// The same without the seal (`struct label`).
    const BARE: usize = 24;

    /// The host's address in four words of network order, as the programs have it.
    pub(crate) fn words(host: IpAddr) -> [u32; 4] {
        match host {
            IpAddr::V4(host) => [host.to_bits().to_be(), 0, 0, 0],
            IpAddr::V6(host) => [96, 64, 32, 0].map(|shift| ((host.to_bits() >> shift) as u32).to_be()),
        }
    }

    fn bytes(&self, seal: Seal) -> [u8; Label::LENGTH] {
        let mut bytes = [0; Label::LENGTH];
        for (place, word) in bytes.chunks_exact_mut(4).zip(Label::words(self.host)) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[16..20].copy_from_slice(&self.network.0.to_ne_bytes());
        bytes[20..22].copy_from_slice(&self.tag.to_ne_bytes());
        bytes[22..Label::BARE].copy_from_slice(&u16::from(self.host.is_ipv6()).to_ne_bytes());
        bytes[Label::BARE..].copy_from_slice(&seal.0.to_ne_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; Label::LENGTH], seal: Seal) -> Option<Label> {
        let (bytes, theirs) = bytes.split_first_chunk::<{ Label::BARE }>()?;
        if *theirs != seal.0.to_ne_bytes() {
            return None;
        }
        let [a, b, c, d, rest @ ..] = bytes;
        let host = match rest[18..] {
            [0, 0] => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
            _ => IpAddr::V6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
        };
        let number = u32::from_ne_bytes(*rest[12..].first_chunk()?);
        Some(Label {
            host,
            network: Vni::new(number)?,
            tag: u16::from_ne_bytes([rest[16], rest[17]]),
        })
    }

    /// Takes the label out of a frame behind its vnet header, both of which then begin [`Label::LENGTH`] bytes later. `None` if
    /// it has none under this seal.
    pub(crate) fn take(data: &mut [u8], seal: Seal) -> Option<Label> {
        const HEAD: usize = vnet::LENGTH + 14;
        let bytes = data.get(HEAD..)?.first_chunk::<{ Label::LENGTH }>()?;
        let label = Label::of_bytes(bytes, seal)?;
        data.copy_within(..HEAD, Label::LENGTH);
        vnet::shift(data.get_mut(Label::LENGTH..)?, -(Label::LENGTH as i16));
        Some(label)
    }

    /// The frame with the label in it, behind its vnet header.
    pub(crate) fn put(&self, seal: Seal, header: &[u8; vnet::LENGTH], frame: &[u8]) -> Vec<u8> {
        let (macs, packet) = frame.split_at(frame.len().min(14));
        let mut data = [&header[..], macs, &self.bytes(seal), packet].concat();
        vnet::shift(&mut data, Label::LENGTH as i16);
        data
    }
}

/// By which the programs and the engine know that a label is one of theirs: whoever sends frames knows it not. Each engine has
/// its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal(pub u64);

impl Seal {
    /// Of an engine's seed, which it does not give away.
    pub(crate) fn of(seed: u64) -> Seal {
        // The finisher of SplitMix64.
        let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Seal(bits ^ bits >> 31)
    }

    /// As the programs have it.
    pub(crate) fn words(self) -> [u32; 2] {
        let [a, b, c, d, e, f, g, h] = self.0.to_ne_bytes();
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
    }
}

/// What the programs have to know of the wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireChange {
    /// Frames of a host are looked at, or are not.
    Host(IpAddr, bool),
    /// Frames with this around them are of a slot, or of none.
    Wire(Label, Option<PortSlot>),
}

/// The other hosts.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    seal: Seal,
    tunnel: Option<Tunnel>,
    hosts: HashSet<IpAddr>,
    interfaces: HashMap<EniId, IpAddr>,
    gateways: Option<IpAddr>,
    networks: HashMap<VpcId, Vni>,
    vpcs: HashMap<Vni, VpcId>,
    wires: HashMap<Label, PortSlot>,
    /// The same by host and network.
    slots: HashMap<(IpAddr, Vni), Vec<PortSlot>>,
    /// Generation of each place of a wire, and what is there.
    places: Vec<(u32, Option<Label>)>,
    free: Vec<usize>,
    changed: Vec<WireChange>,
}

/// Most different tags of a host's frames in one network that get a slot; there are a few where nobody plays.
const TAGS: usize = 32;
/// Most slots of wires.
const MOST: usize = PortSlot::WIRES;

impl Elsewhere {
    pub(crate) fn new(seal: Seal) -> Elsewhere {
        Elsewhere {
            seal,
            ..Elsewhere::default()
        }
    }

    /// That of this engine's labels.
    pub(crate) fn seal(&self) -> Seal {
        self.seal
    }

    /// Whether anything is elsewhere at all.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.tunnel.is_some()
    }

    pub(crate) fn tunnel(&self) -> Option<&Tunnel> {
        self.tunnel.as_ref()
    }

    pub(crate) fn set_tunnel(&mut self, tunnel: Option<Tunnel>) {
        self.tunnel = tunnel;
    }

    /// A host's frames are taken from now on, or not any more. The slots of its frames are nobody's then. `None` if it is so
    /// already.
    pub(crate) fn host(&mut self, host: IpAddr, is_one: bool) -> Option<Vec<PortSlot>> {
        let new = if is_one {
            self.hosts.insert(host)
        } else {
            self.hosts.remove(&host)
        };
        if !new {
            return None;
        }
        self.changed.push(WireChange::Host(host, is_one));
        Some(match is_one {
            true => Vec::new(),
            false => self.forget(|label| label.host == host),
        })
    }

    pub(crate) fn is_host(&self, host: IpAddr) -> bool {
        self.hosts.contains(&host)
    }

    /// A VPC has a network, or none any more. The slots of what came in its old one are nobody's then. `None` if it is so
    /// already.
    pub(crate) fn network(&mut self, vpc: VpcId, network: Option<Vni>) -> Option<Vec<PortSlot>> {
        if self.network_of(vpc) == network {
            return None;
        }
        let mut gone = Vec::new();
        if let Some(old) = self.networks.remove(&vpc) {
            self.vpcs.remove(&old);
            gone.extend(self.forget(|label| label.network == old));
        }
        if let Some(network) = network {
            if let Some(other) = self.vpcs.insert(network, vpc) {
                self.networks.remove(&other);
                gone.extend(self.forget(|label| label.network == network));
            }
            self.networks.insert(vpc, network);
        }
        Some(gone)
    }

    pub(crate) fn vpc(&self, network: Vni) -> Option<VpcId> {
        self.vpcs.get(&network).copied()
    }

    pub(crate) fn network_of(&self, vpc: VpcId) -> Option<Vni> {
        self.networks.get(&vpc).copied()
    }

    /// Sites are on a host, or here.
    pub(crate) fn place(&mut self, site: Site, host: Option<IpAddr>) -> bool {
        let old = match (site, host) {
            (Site::Gateways, host) => std::mem::replace(&mut self.gateways, host),
            (Site::Interface(id), Some(host)) => self.interfaces.insert(id, host),
            (Site::Interface(id), None) => self.interfaces.remove(&id),
        };
        old != host
    }

    /// The other host that a site is on.
    pub(crate) fn host_of(&self, site: Site) -> Option<IpAddr> {
        match site {
            Site::Gateways => self.gateways,
            Site::Interface(id) => self.interfaces.get(&id).copied(),
        }
    }

    /// The slot of frames with this around them. `None` where there are too many: nothing is kept of those.
    pub(crate) fn slot(&mut self, label: &Label) -> Option<PortSlot> {
        if let Some(slot) = self.wires.get(label) {
            return Some(*slot);
        }
        let alike = self.slots.entry((label.host, label.network)).or_default();
        if alike.len() >= TAGS {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() >= MOST => return None,
            None => {
                self.places.push((0, None));
                self.places.len() - 1
            }
        };
        let (generation, here) = self.places.get_mut(place)?;
        *here = Some(*label);
        let slot = PortSlot::of_wire(place, *generation);
        alike.push(slot);
        self.wires.insert(*label, slot);
        self.changed.push(WireChange::Wire(*label, Some(slot)));
        Some(slot)
    }

    /// The slots of what may come from a host in a network.
    pub(crate) fn slots(&self, host: IpAddr, network: Vni) -> Vec<PortSlot> {
        self.slots.get(&(host, network)).cloned().unwrap_or_default()
    }

    /// What came with that around it, while its slot is somebody's.
    pub(crate) fn label_of(&self, slot: PortSlot) -> Option<Label> {
        let (generation, here) = self.places.get(slot.wire_place()?)?;
        let label = (*here)?;
        (PortSlot::of_wire(slot.wire_place()?, *generation) == slot).then_some(label)
    }

    fn forget(&mut self, gone: impl Fn(&Label) -> bool) -> Vec<PortSlot> {
        let mut slots = Vec::new();
        for (place, (generation, here)) in self.places.iter_mut().enumerate() {
            if let Some(label) = here.take_if(|label| gone(label)) {
                slots.push(PortSlot::of_wire(place, *generation));
                *generation = PortSlot::next_generation(*generation);
                self.free.push(place);
                self.wires.remove(&label);
                self.slots.remove(&(label.host, label.network));
                self.changed.push(WireChange::Wire(label, None));
            }
        }
        slots
    }

    /// Moves out what the programs have to know.
    pub(crate) fn take_changes(&mut self, into: &mut Vec<WireChange>) {
        into.append(&mut self.changed);
    }

    /// What answers depend on that concern all that is elsewhere.
    pub(crate) fn everything(&self) -> Changed {
        let interfaces = self.interfaces.keys().map(|id| Site::Interface(*id));
        Changed::of_sites(interfaces.chain([Site::Gateways]))
    }
}

impl Sites for Elsewhere {
    fn elsewhere(&self, site: Site) -> Option<u32> {
        let host = self.host_of(site)?;
        let around = if host.is_ipv4() { AROUND_V4 } else { AROUND_V6 };
        // Without a way there, nothing is too long: it is dropped for that.
        Some(
            self.tunnel
                .map_or(u32::MAX, |tunnel| tunnel.mtu.saturating_sub(around)),
        )
    }
}

/// A frame that came from another host: what was around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub vpc: VpcId,
    pub tag: Tag,
    pub host: IpAddr,
    pub network: Vni,
}

impl Incoming {
    pub(crate) fn label(&self) -> Label {
        Label {
            host: self.host,
            network: self.network,
            tag: self.tag.bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_put_into_a_frame_and_taken_out_again() {
        for host in ["192.0.2.7", "2001:db8::7"] {
            let label = Label {
                host: host.parse().unwrap(),
                network: Vni::new(4711).unwrap(),
                tag: 0x8028,
            };
            let mut header = vnet::Vnet::PLAIN;
            header[0] = 1;
            header[6..8].copy_from_slice(&34u16.to_ne_bytes());
            let frame: Vec<u8> = (0..60).collect();
            let (seal, other) = (Seal::of(1), Seal::of(2));
            let mut data = label.put(seal, &header, &frame);
            assert_eq!(data.len(), vnet::LENGTH + Label::LENGTH + frame.len());
            assert_eq!(data[6..8], 66u16.to_ne_bytes());
            assert_eq!(Label::take(&mut data.clone(), other), None);
            assert_eq!(Label::take(&mut data, seal), Some(label));
            assert_eq!(data[Label::LENGTH..], [&header[..], &frame].concat());
        }
        let mut short = [0; vnet::LENGTH + 14 + Label::LENGTH - 1];
        assert_eq!(Label::take(&mut short, Seal::default()), None);
    }

    #[test]
    fn a_wire_that_comes_again_is_another_one() {
        let mut elsewhere = Elsewhere::default();
        let label = Label {
            host: "192.0.2.7".parse().unwrap(),
            network: Vni::new(7).unwrap(),
            tag: 0x8000,
        };
        let first = elsewhere.slot(&label).unwrap();
        assert_eq!(elsewhere.slot(&label), Some(first));
        assert_eq!(elsewhere.label_of(first), Some(label));
        elsewhere.host(label.host, true);
        assert_eq!(elsewhere.host(label.host, true), None, "it is one already");
        assert_eq!(elsewhere.slot(&label), Some(first));
        assert_eq!(elsewhere.host(label.host, false), Some(vec![first]));
        assert_eq!(elsewhere.label_of(first), None);
        assert_ne!(elsewhere.slot(&label), Some(first));
        for tag in 0..1000 {
            elsewhere.slot(&Label { tag, ..label });
        }
        assert_eq!(elsewhere.slots(label.host, label.network).len(), TAGS);
    }
}
