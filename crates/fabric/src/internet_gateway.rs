//! Internet gateways: stateless one-to-one translation at the edge of a VPC (semantics 62, 66-71, 76), and the
//! edge tables associated with them (semantics 14-19).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use atoll_model::{InternetGateway, InternetGatewayId, RouteTarget, VpcId};

use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::FlowView;
use crate::journey::{Destination, Halt, Journey, Leg};
use crate::network_interface::Interface;
use crate::outcome::MTU_INTERNET;
use crate::stage::Stage;
use crate::trace::{Decision, Place, Recorder, RuleRef};

/// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (RFC 1918), and IPv6's unique local fc00::/7.
pub(crate) fn is_private(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => a.is_private(),
        IpAddr::V6(a) => a.octets()[0] & 0xfe == 0xfc,
    }
}

/// 100.64.0.0/10 (RFC 6598).
pub(crate) fn is_shared(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V4(a) if a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64)
}

impl Fabric {
    pub(crate) fn put_internet_gateway(&mut self, row: &Arc<InternetGateway>, changed: &mut Changed) {
        self.attach_internet_gateway(row.id, row.vpc, changed);
    }

    pub(crate) fn delete_internet_gateway(&mut self, id: InternetGatewayId, changed: &mut Changed) {
        self.attach_internet_gateway(id, None, changed);
    }

    fn attach_internet_gateway(&mut self, id: InternetGatewayId, vpc: Option<VpcId>, changed: &mut Changed) {
        let old = match vpc {
            Some(vpc) => self.gateway_vpcs.insert(id, vpc),
            None => self.gateway_vpcs.remove(&id),
        };
        if old == vpc {
            return;
        }
        changed.add(Component::internet_gateway(id));
        if let Some(old) = old
            && self.vpc_gateways.get(&old) == Some(&id)
        {
            self.vpc_gateways.remove(&old);
            changed.add(Component::gateway_of(old));
        }
        if let Some(vpc) = vpc {
            self.vpc_gateways.insert(vpc, id);
            changed.add(Component::gateway_of(vpc));
        }
    }
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// Out of a VPC by its gateway: to the internet, or round to a public address of some VPC (semantics 71).
    pub(crate) fn leave_by_internet_gateway(
        &mut self,
        id: InternetGatewayId,
        leg: &Leg,
    ) -> Result<Leg, Halt> {
        let here = Place::InternetGateway(id);
        let (src, dst) = (self.packet.src, self.packet.dst);
        self.depends(Component::internet_gateway(id));
        let Some(vpc) = self.fabric.gateway_vpcs.get(&id).copied() else {
            return Err(self.halt(Stage::BlackholeRoute, here, None));
        };
        let Some(part) = self.vpc(vpc).filter(|part| part.contains(src)) else {
            return Err(self.halt(Stage::SpoofedAtGateway, here, None));
        };
        if is_shared(dst) {
            return Err(self.halt(Stage::SharedDstAtInternet, here, None)); // semantics 68
        }
        if is_private(dst) || part.contains(dst) {
            return Err(self.halt(Stage::PrivateDstAtInternet, here, None)); // semantics 62, 68
        }
        let public = match self.owner_of(vpc, src) {
            Some(owner) if owner.attached => public_of(owner, src),
            _ => None,
        };
        let Some(public) = public else {
            return Err(self.halt(Stage::IgwNoPublicAddress, here, None)); // semantics 67, 70
        };
        self.redirected_subnet_goes_round_its_appliance(id, leg, here)?;
        self.fits(MTU_INTERNET, here)?;
        self.ages(1, here)?;
        if public == src {
            self.record(here, Decision::Passed, None);
        } else {
            self.record(
                here,
                Decision::SourceTranslated {
                    to: public,
                    port: None,
                },
                None,
            );
            self.packet.src = public;
            self.translate_quote_out(vpc);
        }
        self.identity = None; // semantics 42, 71
        self.packet_leaves_for(dst)
    }

    /// semantics 19: a subnet whose inbound traffic an edge table leads to an appliance may not answer past it.
    fn redirected_subnet_goes_round_its_appliance(
        &mut self,
        id: InternetGatewayId,
        leg: &Leg,
        here: Place,
    ) -> Result<(), Halt> {
        let Some((rule, RouteTarget::NetworkInterface(appliance))) = self.edge_route(id, self.packet.src)
        else {
            return Ok(());
        };
        if leg.sender == Some(appliance) {
            Ok(())
        } else {
            Err(self.halt(Stage::SpoofedAtGateway, here, Some(rule)))
        }
    }

    /// Past all gateways of a VPC: on to an address that some VPC holds, else out.
    pub(crate) fn packet_leaves_for(&mut self, dst: IpAddr) -> Result<Leg, Halt> {
        self.depends(Component::public(dst));
        if self.fabric.publics.contains_key(&dst) || self.fabric.is_elastic(dst) {
            self.enter_by_internet_gateway()
        } else {
            Ok(Leg::to(Destination::Internet))
        }
    }

    /// From outside into the VPC that has the destination.
    pub(crate) fn enter_by_internet_gateway(&mut self) -> Result<Leg, Halt> {
        let dst = self.packet.dst;
        self.depends(Component::public(dst));
        let unknown = Stage::IgwUnknownPublicDestination;
        let Some((interface, private)) = self.fabric.public_interface(dst) else {
            return Err(self.halt(unknown, Place::Internet, None)); // semantics 69
        };
        self.remember(interface);
        self.depends(Component::interface(interface.id));
        if dst.is_ipv6()
            && let Some(gateway) = self.egress_only_gateway_towards(interface, self.packet.src)
        {
            return self.enter_by_egress_only_gateway(gateway, interface);
        }
        let vpc = interface.vpc;
        self.depends(Component::gateway_of(vpc));
        let Some(id) = self.fabric.vpc_gateways.get(&vpc).copied() else {
            return Err(self.halt(unknown, Place::Internet, None));
        };
        let here = Place::InternetGateway(id);
        self.depends(Component::internet_gateway(id));
        if is_private(self.packet.src) || is_shared(self.packet.src) {
            return Err(self.halt(Stage::PrivateSrcFromInternet, here, None)); // semantics 68
        }
        let inside = self.vpc(vpc).is_some_and(|part| part.contains(private));
        if !interface.attached || !inside {
            return Err(self.halt(unknown, here, None)); // semantics 69
        }
        self.fits(MTU_INTERNET, here)?;
        self.ages(1, here)?;
        if private == dst {
            self.record(here, Decision::Passed, None);
        } else {
            self.record(
                here,
                Decision::DestinationTranslated {
                    to: private,
                    port: None,
                },
                None,
            );
            self.packet.dst = private;
            self.translate_quote_in(dst, private);
        }
        self.identity = None;
        self.by_edge_table(id, interface)
    }

    /// Where an edge table leads what comes in, else straight to the interface (semantics 14-18).
    fn by_edge_table(&mut self, id: InternetGatewayId, interface: &'a Interface) -> Result<Leg, Halt> {
        let Some(table) = self.fabric.edge_tables.get(&id).copied() else {
            return Ok(Leg::to(Destination::Interface(interface.id)));
        };
        let here = Place::RouteTable(table);
        let Some((rule, target)) = self.edge_route(id, self.packet.dst) else {
            return Err(self.halt(Stage::NoRoute, here, None));
        };
        match target {
            RouteTarget::Local => {
                self.record(here, Decision::Routed(target), Some(rule));
                Ok(Leg::to(Destination::Interface(interface.id)))
            }
            RouteTarget::NetworkInterface(eni) => {
                let appliance = self
                    .interface(eni)
                    .filter(|a| a.running && a.vpc == interface.vpc);
                let Some(appliance) = appliance else {
                    return Err(self.halt(Stage::BlackholeRoute, here, Some(rule)));
                };
                if !appliance.has_public() && self.packet.dst.is_ipv4() {
                    return Err(self.halt(Stage::EdgeRtbNoPublicIp, here, Some(rule))); // semantics 16
                }
                self.record(here, Decision::Routed(target), Some(rule));
                Ok(Leg::to(Destination::Interface(eni)))
            }
            RouteTarget::InternetGateway(_)
            | RouteTarget::EgressOnlyGateway(_)
            | RouteTarget::NatGateway(_) => Err(self.halt(Stage::BlackholeRoute, here, Some(rule))),
        }
    }

    fn edge_route(&mut self, id: InternetGatewayId, addr: IpAddr) -> Option<(RuleRef, RouteTarget)> {
        let table = self.fabric.edge_tables.get(&id).copied()?;
        self.depends(Component::route_table(table));
        let (destination, target) = self.fabric.tables.get(&table)?.lookup(addr)?;
        Some((RuleRef::Route { table, destination }, target))
    }

    /// Of an ICMP error on its way out, the quoted destination is the one that the outside knows.
    fn translate_quote_out(&mut self, vpc: VpcId) {
        let Some(quoted) = self.packet.quote.map(|q| q.dst) else {
            return;
        };
        if let Some(public) = self.owner_of(vpc, quoted).and_then(|o| public_of(o, quoted))
            && let Some(quote) = &mut self.packet.quote
        {
            quote.dst = public;
        }
    }

    /// Of an ICMP error on its way in, the quoted source is the one that the inside knows.
    fn translate_quote_in(&mut self, public: IpAddr, private: IpAddr) {
        if let Some(quote) = &mut self.packet.quote
            && quote.src == public
        {
            quote.src = private;
        }
    }
}

/// The address that stands for `private` outside: IPv6 is its own.
fn public_of(owner: &Interface, private: IpAddr) -> Option<IpAddr> {
    match private {
        IpAddr::V4(private) => owner
            .public()
            .iter()
            .find(|(p, _): &&(Ipv4Addr, Ipv4Addr)| *p == private)
            .map(|(_, public)| IpAddr::V4(*public)),
        IpAddr::V6(_) => Some(private),
    }
}
