//! Network interfaces: whose address, whose MAC, which groups; spoofing and the source/destination check
//! (semantics 36, 65).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use atoll_model::network_interface::{AttachmentState, InterfaceType};
use atoll_model::{EniId, InstanceId, NetworkInterface, SubnetId, VpcId};
use atoll_net::Mac;

use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::{FlowView, Owner, Slot};
use crate::interface_index::At;
use crate::journey::{Halt, Journey};
use crate::stage::Stage;
use crate::subnet::SubnetPart;
use crate::trace::{Decision, Place, Recorder};
use crate::tracking::Timeouts;

/// What of an interface matters to packets: two cache lines that are fetched together, the first of which says
/// nearly all that a walk asks.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(128))]
pub(crate) struct Interface {
    pub(crate) id: EniId,
    pub(crate) vpc: VpcId,
    pub(crate) subnet: SubnetId,
    v4: Option<Ipv4Addr>,
    pub(crate) mac: Mac,
    /// Source/destination check (semantics 65).
    pub(crate) checks: bool,
    pub(crate) is_nat: bool,
    /// Attached to an instance, or a NAT gateway's.
    pub(crate) attached: bool,
    /// Attached to an instance that is alive.
    pub(crate) running: bool,
    /// Its groups, by the number of their set.
    pub(crate) set: Slot,
    pub(crate) slot: Slot,
    more: Option<Box<More>>,
    v6: Option<Ipv6Addr>,
    pub(crate) timeouts: Timeouts,
}

const _: () = assert!(size_of::<Option<Interface>>() == 128);

/// What most interfaces do not have.
#[derive(Clone, Debug, Default, PartialEq)]
struct More {
    /// Addresses beside the primary ones.
    addresses: Box<[IpAddr]>,
    /// (private, public), IPv4.
    public: Box<[(Ipv4Addr, Ipv4Addr)]>,
}

impl More {
    fn new(row: &NetworkInterface) -> Option<Box<More>> {
        let secondary_v4 = row.private_addresses.iter().skip(1).map(|a| IpAddr::V4(a.ip));
        let secondary_v6 = row.ipv6_addresses.iter().skip(1).map(|a| IpAddr::V6(*a));
        let public = row.private_addresses.iter();
        let more = More {
            addresses: secondary_v4.chain(secondary_v6).collect(),
            public: public
                .filter_map(|a| a.public.map(|public| (a.ip, public.ip)))
                .collect(),
        };
        (more != More::default()).then(|| Box::new(more))
    }
}

impl Interface {
    /// Whether it has a private address.
    #[inline]
    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        let primary = match addr {
            IpAddr::V4(a) => self.v4 == Some(a),
            IpAddr::V6(a) => self.v6 == Some(a),
        };
        primary
            || self
                .more
                .as_ref()
                .is_some_and(|more| more.addresses.contains(&addr))
    }

    /// Its private addresses.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let primary = self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6));
        primary.chain(self.more.iter().flat_map(|more| more.addresses.iter().copied()))
    }

    /// Its IPv4 addresses that the outside knows: (private, public).
    pub(crate) fn public(&self) -> &[(Ipv4Addr, Ipv4Addr)] {
        self.more.as_ref().map_or(&[], |more| &more.public)
    }

    pub(crate) fn has_public(&self) -> bool {
        !self.public().is_empty()
    }
}

fn instance_of(row: &NetworkInterface) -> Option<InstanceId> {
    row.attachment
        .as_ref()
        .filter(|a| a.state != AttachmentState::Detaching)
        .map(|a| a.instance)
}

impl Fabric {
    pub(crate) fn put_interface(&mut self, row: &Arc<NetworkInterface>, changed: &mut Changed) {
        let old = self.interface_rows.insert(row.id, Arc::clone(row));
        let old_instance = old.as_deref().and_then(instance_of);
        let new_instance = instance_of(row);
        if old_instance != new_instance {
            if let Some(instance) = old_instance
                && let Some(enis) = self.instance_enis.get_mut(&instance)
            {
                enis.retain(|eni| *eni != row.id);
                if enis.is_empty() {
                    self.instance_enis.remove(&instance);
                }
            }
            if let Some(instance) = new_instance {
                self.instance_enis.entry(instance).or_default().push(row.id);
            }
        }
        self.rebuild_interface(row.id, changed);
    }

    pub(crate) fn delete_interface(&mut self, id: EniId, changed: &mut Changed) {
        if let Some(row) = self.interface_rows.remove(&id)
            && let Some(instance) = instance_of(&row)
            && let Some(enis) = self.instance_enis.get_mut(&instance)
        {
            enis.retain(|eni| *eni != id);
            if enis.is_empty() {
                self.instance_enis.remove(&instance);
            }
        }
        self.rebuild_interface(id, changed);
    }

    /// Works out an interface's part again from its row and its instance's state.
    pub(crate) fn rebuild_interface(&mut self, id: EniId, changed: &mut Changed) {
        let old = self.interfaces.get(id).cloned();
        let Some(row) = self.interface_rows.get(&id).cloned() else {
            if let Some(old) = old {
                self.unindex(&old, None, changed);
                self.interfaces.remove(id);
                self.leave_set(old.set);
                changed.add(Component::interface(id));
                changed.gone.push(old.slot);
            }
            return;
        };
        let mut groups = row.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        let set = match &old {
            Some(old) if self.sets.groups(old.set) == groups => old.set,
            _ => self.join_set(&groups, changed),
        };
        let instance = instance_of(&row);
        let is_nat = row.interface_type == InterfaceType::NatGateway;
        let part = Interface {
            id,
            slot: match &old {
                Some(old) => old.slot,
                None => self.slot_for(Owner::Interface(id), row.vpc, changed),
            },
            vpc: row.vpc,
            subnet: row.subnet,
            mac: row.mac,
            v4: row.primary_ip(),
            v6: row.ipv6_addresses.first().copied(),
            more: More::new(&row),
            set,
            checks: row.source_dest_check,
            is_nat,
            attached: is_nat || instance.is_some(),
            running: instance.is_some_and(|i| self.alive.get(&i).copied().unwrap_or(false)),
            timeouts: Timeouts::new(&row.connection_tracking),
        };
        if old.as_ref() == Some(&part) {
            return;
        }
        if let Some(old) = &old {
            self.unindex(old, Some(&part), changed);
            if old.set != part.set {
                self.leave_set(old.set);
            }
        }
        let at = self.interfaces.put(part.clone());
        self.index(&part, at, old.as_ref(), changed);
        changed.add(Component::interface(id));
    }

    /// The interface that has an address known outside, and its private one.
    pub(crate) fn public_interface(&self, addr: IpAddr) -> Option<(&Interface, IpAddr)> {
        let (at, private) = self.publics.get(&addr)?;
        Some((self.interfaces.at(*at)?, *private))
    }

    /// The interface that has a MAC on a subnet's link.
    pub(crate) fn station(&self, subnet: &SubnetPart, mac: Mac) -> Option<&Interface> {
        self.with_mac(subnet.vpc, mac)
            .filter(|interface| interface.subnet == subnet.id)
    }

    /// The interface of a VPC that has a MAC.
    pub(crate) fn with_mac(&self, vpc: VpcId, mac: Mac) -> Option<&Interface> {
        self.interfaces.at(*self.stations.get(&(vpc, mac))?)
    }

    fn index(&mut self, part: &Interface, at: At, old: Option<&Interface>, changed: &mut Changed) {
        for addr in part.addresses() {
            self.interfaces.lead(part.vpc, addr, at);
            if old.is_none_or(|old| old.vpc != part.vpc || !old.has(addr)) {
                changed.add(Component::address(part.vpc, addr));
                changed.add(Component::public(addr));
            }
            if addr.is_ipv6() {
                self.publics.insert(addr, (at, addr));
            }
        }
        for pair @ (private, public) in part.public() {
            let public = IpAddr::V4(*public);
            self.publics.insert(public, (at, IpAddr::V4(*private)));
            if old.is_none_or(|old| !old.public().contains(pair)) {
                changed.add(Component::public(public));
            }
        }
        self.stations.insert((part.vpc, part.mac), at);
        if old.is_none_or(|old| (old.subnet, old.mac) != (part.subnet, part.mac)) {
            changed.add(Component::station(part.subnet, part.mac));
        }
    }

    /// Takes out of the indexes what is `old`'s and not `new`'s, unless it is another interface's by now: one
    /// delta may move an address, in either order.
    fn unindex(&mut self, old: &Interface, new: Option<&Interface>, changed: &mut Changed) {
        let id = old.id;
        for addr in old.addresses() {
            if new.is_some_and(|new| new.vpc == old.vpc && new.has(addr)) {
                continue;
            }
            self.interfaces.lead_no_more(old.vpc, addr, id);
            if addr.is_ipv6() && self.public_interface(addr).is_some_and(|(i, _)| i.id == id) {
                self.publics.remove(&addr);
            }
            changed.add(Component::address(old.vpc, addr));
            changed.add(Component::public(addr));
        }
        for pair in old.public() {
            if new.is_some_and(|new| new.public().contains(pair)) {
                continue;
            }
            let public = IpAddr::V4(pair.1);
            if self.public_interface(public).is_some_and(|(i, _)| i.id == id) {
                self.publics.remove(&public);
            }
            changed.add(Component::public(public));
        }
        let key = (old.vpc, old.mac);
        if new.is_none_or(|new| (new.vpc, new.mac) != key)
            && self.with_mac(old.vpc, old.mac).is_some_and(|i| i.id == id)
        {
            self.stations.remove(&key);
        }
        if new.is_none_or(|new| (new.subnet, new.mac) != (old.subnet, old.mac)) {
            changed.add(Component::station(old.subnet, old.mac));
        }
    }
}

/// 224.0.0.0/4, 255.255.255.255, ff00::/8.
fn is_group(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_multicast(),
    }
}

/// 169.254.0.0/16, fe80::/10, and fd00:ec2::/32 where IPv6's well-known services are.
fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => {
            let segments = a.segments();
            segments[0] & 0xffc0 == 0xfe80 || segments[..2] == [0xfd00, 0x0ec2]
        }
    }
}

/// Whether no packet may come from there.
fn is_no_source(addr: IpAddr) -> bool {
    is_group(addr) || addr.is_unspecified() || addr.is_loopback()
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// What an interface may send at all.
    pub(crate) fn sends(&mut self, interface: &Interface) -> Result<(), Halt> {
        let here = Place::Interface(interface.id);
        let packet = &self.packet;
        let (src, dst) = (packet.src, packet.dst);
        let stage = if !interface.running {
            Some(Stage::NotRunning)
        } else if packet.src_mac != interface.mac {
            Some(Stage::MacSpoofed)
        } else if src.is_ipv4() != dst.is_ipv4() {
            Some(Stage::Malformed)
        } else if packet.dst_mac.is_multicast() || is_group(dst) {
            Some(Stage::Multicast) // semantics 61
        } else if is_no_source(src) || dst.is_unspecified() || dst.is_loopback() {
            Some(Stage::Malformed)
        } else if packet.hop_limit == 0 {
            Some(Stage::HopLimit)
        } else if is_link_local(dst) {
            Some(Stage::LinkLocalRange) // semantics 8, 57
        } else if interface.checks && !interface.has(src) {
            Some(Stage::SourceDestCheck) // semantics 65
        } else {
            None
        };
        match stage {
            Some(stage) => Err(self.halt(stage, here, None)),
            None => {
                self.record(here, Decision::Sent, None);
                Ok(())
            }
        }
    }

    /// What an interface takes: its instance runs, and the destination is its own or it does not check.
    pub(crate) fn accepts(&mut self, interface: &Interface) -> Result<(), Halt> {
        let here = Place::Interface(interface.id);
        if !interface.running {
            return Err(self.halt(Stage::NotRunning, here, None));
        }
        if interface.checks && !interface.has(self.packet.dst) {
            return Err(self.halt(Stage::SourceDestCheck, here, None)); // semantics 65
        }
        Ok(())
    }

    /// What the internet may send at all: nothing malformed, nothing in the name of an address of ours.
    pub(crate) fn comes_from_outside(&mut self) -> Result<(), Halt> {
        let here = Place::Internet;
        let (src, dst) = (self.packet.src, self.packet.dst);
        if src.is_ipv4() != dst.is_ipv4() || is_no_source(src) || dst.is_unspecified() || dst.is_loopback() {
            return Err(self.halt(Stage::Malformed, here, None));
        }
        if is_group(dst) {
            return Err(self.halt(Stage::Multicast, here, None)); // semantics 61
        }
        if self.packet.hop_limit == 0 {
            return Err(self.halt(Stage::HopLimit, here, None));
        }
        if is_link_local(dst) || is_link_local(src) {
            return Err(self.halt(Stage::LinkLocalRange, here, None));
        }
        self.depends(Component::public(src));
        if self.fabric.publics.contains_key(&src) || self.fabric.is_elastic(src) {
            return Err(self.halt(Stage::SpoofedAtGateway, here, None));
        }
        Ok(())
    }
}
