//! The wire between two ends of a way, and what of it travels beside a packet when they are on two hosts.
//!
//! A frame between hosts says the VPC by its network's number, and by its MAC addresses who let the packet go and where
//! it goes. What addresses cannot say is a [`Tag`]. The other end makes the [`Wire`] of it from its own copy of the rows,
//! and believes nothing that those do not allow: what comes from another host is only as good as that host.

use atoll_model::{EniId, ResourceId, SubnetId, VpcId};
use atoll_net::Mac;

use crate::component::{Component, Dependencies};
use crate::fabric::Fabric;
use crate::flows::FlowView;
use crate::journey::{Destination, Journey, Leg};
use crate::outcome::{Action, MTU_INSIDE};
use crate::packet::{Packet, Port};
use crate::trace::Recorder;
use crate::walk::MOST_LEGS;

/// What travels from where a packet left to where it arrives, on one host or between two.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// The VPC whose addresses the packet speaks of: what the VNI names. `None` past a VPC's gateways.
    pub vpc: Option<VpcId>,
    /// The packet as it stands.
    pub packet: Packet,
    /// The interface that sent it under one of its own private addresses, as long as nothing forwarded or
    /// translated it: whose groups a reference may match (semantics 21, 38, 42).
    pub identity: Option<EniId>,
    /// The subnet that it left.
    pub from: Option<SubnetId>,
    /// The interface that it left.
    pub sender: Option<EniId>,
    /// Where it goes.
    pub to: Destination,
    /// Whether it goes over the subnet's link and not by the router.
    pub on_link: bool,
    /// Whether it has passed a gateway whose flows are always tracked (semantics 45).
    pub automatic: bool,
    /// Legs so far.
    pub hops: u8,
    /// Longest IP packet of the way so far, in bytes.
    pub mtu: u32,
}

/// What is on some host as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// An interface; of a NAT gateway's, the gateway with its mappings.
    Interface(EniId),
    /// All internet gateways and egress-only gateways, and the internet behind them.
    Gateways,
}

/// Which sites are on other hosts.
pub trait Sites {
    /// Whether any may be.
    const SEVERAL: bool = true;

    /// The longest IP packet that gets there, in bytes, if it is another host; `None` if it is this one.
    fn elsewhere(&self, site: Site) -> Option<u32>;
}

/// There is one host.
#[derive(Clone, Copy, Debug)]
pub struct AllHere;

impl Sites for AllHere {
    const SEVERAL: bool = false;

    fn elsewhere(&self, _: Site) -> Option<u32> {
        None
    }
}

/// What travels beside a packet: 16 bits, of which the highest is always set, and those not named here never.
///
/// Bits 0 to 2 say what the destination MAC names: an interface (0), an interface's NAT gateway (1), an internet gateway
/// (2) or an egress-only gateway (3) by the low 40 bits of its id; or that the packet is an answer to an interface's
/// own, which the rules have let pass (4). Bit 3: over the subnet's link. Bit 4: always tracked. Bit 5: the source MAC
/// names whom it comes from, not who forwarded it. Bits 6 to 10: legs so far. A source MAC of zeros says that no interface
/// let it go, but a gateway. How long packets may be is not said: what came was not longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(u16);

const SET: u16 = 0x8000;
const TO: u16 = 7;
const TO_INTERFACE: u16 = 0;
const TO_NAT_GATEWAY: u16 = 1;
const TO_INTERNET_GATEWAY: u16 = 2;
const TO_EGRESS_ONLY_GATEWAY: u16 = 3;
const ANSWER: u16 = 4;
const ON_LINK: u16 = 1 << 3;
const AUTOMATIC: u16 = 1 << 4;
const IDENTITY: u16 = 1 << 5;
const HOPS_AT: u16 = 6;
const HOPS: u16 = 31 << HOPS_AT;
const KNOWN: u16 = SET | TO | ON_LINK | AUTOMATIC | IDENTITY | HOPS;

impl Tag {
    /// Of an answer that the rules have let pass ([`crate::Answer`]), to the interface that the destination MAC names.
    pub const ANSWER: Tag = Tag(SET | ANSWER);

    /// The 16 bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// What 16 bits say, if they can be some.
    pub fn from_bits(bits: u16) -> Option<Tag> {
        let hops = (bits & HOPS) >> HOPS_AT;
        let fits = bits & SET != 0 && bits & !KNOWN == 0 && hops <= u16::from(MOST_LEGS);
        let tag = match bits & TO {
            TO_INTERFACE => fits,
            TO_NAT_GATEWAY | TO_INTERNET_GATEWAY | TO_EGRESS_ONLY_GATEWAY => fits && bits & ON_LINK == 0,
            ANSWER => bits == SET | ANSWER,
            _ => false,
        };
        tag.then_some(Tag(bits))
    }
}

/// Why a frame from another host cannot be what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no such interface or gateway in that VPC here.
    Unknown,
    /// Its sender cannot have sent that.
    Spoofed,
}

/// What the MAC addresses of a frame on the wire name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The interface that let it go; `None` of a gateway.
    pub sender: Option<EniId>,
    /// Where it goes.
    pub to: Destination,
    from: Option<SubnetId>,
}

impl Ends {
    /// What is to be on the host where the frame comes from.
    pub fn origin(&self) -> Site {
        self.sender.map_or(Site::Gateways, Site::Interface)
    }

    /// The port that a packet came in at, as far as this end knows it: the gateways' is the internet's.
    pub fn ingress(&self) -> Port {
        self.sender.map_or(Port::Internet, Port::Eni)
    }

    /// What an answer depends on for who they are and where.
    pub fn dependencies(&self) -> Dependencies {
        let mut dependencies = Dependencies::default();
        dependencies.add(Component::site(self.origin()));
        if let Some(sender) = self.sender {
            dependencies.add(Component::interface(sender));
        }
        if let Destination::Interface(id) = self.to {
            dependencies.add(Component::interface(id));
        }
        dependencies
    }
}

/// What names a gateway that has no interface.
fn mac_of(gateway: impl ResourceId) -> Mac {
    let [.., a, b, c, d, e] = gateway.digits().bits().to_be_bytes();
    Mac([2, a, b, c, d, e])
}

impl Wire {
    /// What travels beside it.
    pub fn tag(&self) -> Tag {
        let to = match self.to {
            Destination::Interface(_) => TO_INTERFACE,
            Destination::NatGateway(_) => TO_NAT_GATEWAY,
            Destination::InternetGateway(_) | Destination::Internet => TO_INTERNET_GATEWAY,
            Destination::EgressOnlyGateway(_) => TO_EGRESS_ONLY_GATEWAY,
        };
        let flag = |holds: bool, flag: u16| if holds { flag } else { 0 };
        Tag(SET
            | to
            | flag(self.on_link, ON_LINK)
            | flag(self.automatic, AUTOMATIC)
            | flag(self.identity.is_some(), IDENTITY)
            | u16::from(self.hops.min(MOST_LEGS)) << HOPS_AT)
    }
}

impl Fabric {
    /// The interface of a VPC that has a MAC.
    pub fn interface_with_mac(&self, vpc: VpcId, mac: Mac) -> Option<EniId> {
        self.with_mac(vpc, mac).map(|interface| interface.id)
    }

    /// Whether an interface may send packets from an address (semantics 65).
    pub fn may_send_as(&self, eni: EniId, src: std::net::IpAddr) -> bool {
        let interface = self.interfaces.get(eni);
        interface.is_some_and(|it| it.is_nat || !it.checks || it.has(src))
    }

    /// What is on the same host as a destination; `None` if it is nowhere, or right where the packet is.
    pub fn site(&self, to: Destination) -> Option<Site> {
        match to {
            Destination::Interface(id) => Some(Site::Interface(id)),
            Destination::NatGateway(id) => self.nat_gateways.get(&id).map(|part| Site::Interface(part.eni)),
            Destination::InternetGateway(_) | Destination::EgressOnlyGateway(_) => Some(Site::Gateways),
            // Whoever has come so far is where the gateways are.
            Destination::Internet => None,
        }
    }

    /// Whom the MAC addresses of a frame on the wire name, if it can be one.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn ends(
        &self,
        vpc: VpcId,
        tag: Tag,
        packet: (Mac, Mac, std::net::IpAddr),
    ) -> Result<Ends, Unreadable> {
        let (src_mac, dst_mac, src) = packet;
        let has = |flag: u16| tag.0 & flag != 0;
        let receiver = self.with_mac(vpc, dst_mac);
        let to = match tag.0 & TO {
            TO_INTERFACE => receiver.map(|interface| Destination::Interface(interface.id)),
            TO_NAT_GATEWAY => receiver
                .and_then(|interface| self.nat_of_eni.get(&interface.id))
                .map(|id| Destination::NatGateway(*id)),
            TO_INTERNET_GATEWAY => self
                .vpc_gateways
                .get(&vpc)
                .filter(|id| mac_of(**id) == dst_mac)
                .map(|id| Destination::InternetGateway(*id)),
            TO_EGRESS_ONLY_GATEWAY => self
                .egress_only
                .iter()
                .find(|(id, part)| part.vpc == vpc && mac_of(**id) == dst_mac)
                .map(|(id, _)| Destination::EgressOnlyGateway(*id)),
            _ => None,
        };
        let to = to.ok_or(Unreadable::Unknown)?;
        if src_mac == Mac::default() {
            // Gateways let nothing in that says it comes from inside, and stand in no subnet.
            let inside = self.interfaces.with_address(vpc, src).is_some();
            if inside || has(ON_LINK) || has(IDENTITY) {
                return Err(Unreadable::Spoofed);
            }
            return Ok(Ends {
                sender: None,
                to,
                from: None,
            });
        }
        let sender = self.with_mac(vpc, src_mac).ok_or(Unreadable::Unknown)?;
        let across = receiver.is_some_and(|receiver| receiver.subnet != sender.subnet);
        let foreign = has(IDENTITY) && !sender.has(src) || !self.may_send_as(sender.id, src);
        if foreign || has(ON_LINK) && across {
            return Err(Unreadable::Spoofed);
        }
        Ok(Ends {
            sender: Some(sender.id),
            to,
            from: Some(sender.subnet),
        })
    }

    /// The wire of a packet that came from another host. Its MACs are those that it had on the wire.
    pub fn wire(&self, vpc: VpcId, tag: Tag, ends: &Ends, packet: &Packet) -> Wire {
        Wire {
            vpc: Some(vpc),
            packet: Packet {
                ingress: ends.ingress(),
                ..*packet
            },
            identity: ends.sender.filter(|_| tag.0 & IDENTITY != 0),
            from: ends.from,
            sender: ends.sender,
            to: ends.to,
            on_link: tag.0 & ON_LINK != 0,
            automatic: tag.0 & AUTOMATIC != 0,
            hops: ((tag.0 & HOPS) >> HOPS_AT) as u8,
            mtu: MTU_INSIDE,
        }
    }
}

impl<V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'_, V, R> {
    /// The longest packet that gets to a destination, if that is on another host.
    pub(crate) fn is_elsewhere(&mut self, to: Destination, sites: &impl Sites) -> Option<u32> {
        if let Destination::NatGateway(id) = to {
            self.depends(Component::nat_gateway(id));
        }
        let site = self.fabric.site(to)?;
        self.depends(Component::site(site));
        sites.elsewhere(site)
    }

    /// What the frame of a packet to another host is.
    pub(crate) fn send_away(&mut self, leg: &Leg) -> Action {
        let mac = |journey: &mut Self, id| journey.interface(id).map_or(Mac::default(), |i| i.mac);
        let src_mac = leg.sender.map_or(Mac::default(), |id| mac(self, id));
        let (port, dst_mac) = match leg.to {
            Destination::Interface(id) => (Port::Eni(id), mac(self, id)),
            Destination::NatGateway(id) => {
                let eni = self.fabric.nat_gateways.get(&id).map(|part| part.eni);
                (Port::Internet, eni.map_or(Mac::default(), |eni| mac(self, eni)))
            }
            Destination::InternetGateway(id) => (Port::Internet, mac_of(id)),
            Destination::EgressOnlyGateway(id) => (Port::Internet, mac_of(id)),
            Destination::Internet => (Port::Internet, Mac::default()),
        };
        self.action(port, (src_mac, dst_mac))
    }

    /// What goes on from here by a leg.
    pub(crate) fn wire(&mut self, leg: &Leg) -> Wire {
        let mut packet = self.packet;
        packet.hop_limit = packet.hop_limit.saturating_sub(self.hop_limit_decrement);
        let vpc = match (leg.to, leg.sender) {
            (Destination::Internet, _) => None,
            (Destination::Interface(id), _) | (_, Some(id)) => self.interface(id).map(|i| i.vpc),
            (_, None) => None,
        };
        Wire {
            vpc,
            packet,
            identity: self.identity,
            from: leg.from,
            sender: leg.sender,
            to: leg.to,
            on_link: leg.on_link,
            automatic: self.automatic,
            hops: self.hops,
            mtu: self.mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_of_those_that_wires_have() {
        let known = (0..=u16::MAX).filter_map(Tag::from_bits);
        for tag in known {
            assert!(tag.0 & SET != 0 && tag.0 & !KNOWN == 0, "{tag:?}");
        }
        assert_eq!(Tag::from_bits(Tag::ANSWER.bits()), Some(Tag::ANSWER));
        for odd in [
            0,
            0x0040,
            SET | 5,
            SET | ANSWER | IDENTITY,
            SET | 17 << HOPS_AT,
            SET | 1 << 11,
        ] {
            assert_eq!(Tag::from_bits(odd), None, "{odd:#x}");
        }
    }
}
