//! A packet's way in short: where it comes from, which gateways and interfaces hand it on, where it ends.

use std::net::IpAddr;
use std::sync::Arc;

use atoll_fabric::{Hop, Place, Port};
use atoll_model::Host;
use atoll_region::Region;
use serde::{Deserialize, Serialize};

use crate::{place, words};

/// A component that has a packet in its hands. (Rules and routes only say where it may go.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    /// Its kind, in kebab case: `network-interface`, `nat-gateway`, `internet-gateway`,
    /// `egress-only-internet-gateway`, `internet`, or `host` for another host, which says the rest.
    pub kind: String,
    /// Its id; of the internet, the address there; of a host its address for the others.
    pub at: String,
    /// Its `Name` tag or logical id; of an interface without one, its instance's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

impl Station {
    /// Another host, which the rows may have a name for.
    pub fn host(regions: &[Arc<Region>], address: IpAddr) -> Station {
        let mut hosts = regions.iter().flat_map(|region| region.all::<Host>());
        let found = hosts.find(|host| host.underlay == address);
        let name = found.map_or_else(|| address.to_string(), |host| host.name.to_string());
        Station {
            kind: "host".into(),
            at: address.to_string(),
            name: Some(format!("host {name}")),
        }
    }

    /// In a word: what people call it, or what it is.
    pub fn word(&self) -> &str {
        match (&*self.kind, &self.name) {
            ("network-interface" | "host", Some(name)) => name,
            ("nat-gateway", _) => "nat",
            ("internet-gateway", _) => "igw",
            ("egress-only-internet-gateway", _) => "eigw",
            _ => &self.at,
        }
    }
}

fn station(regions: &[Arc<Region>], place: Place) -> Station {
    Station {
        kind: words::kind(place).into(),
        at: words::id(place),
        name: place::name_of(regions, place),
    }
}

fn outside(address: IpAddr) -> Station {
    Station {
        kind: words::kind(Place::Internet).into(),
        at: address.to_string(),
        name: None,
    }
}

/// The stations of a walk that began at a port with a packet from `source`, as far as it came.
pub fn stations(regions: &[Arc<Region>], ingress: Port, source: IpAddr, hops: &[Hop]) -> Vec<Station> {
    let mut stations = vec![match ingress {
        Port::Eni(id) => station(regions, Place::Interface(id)),
        Port::Internet => outside(source),
    }];
    for hop in hops {
        let next = match hop.place {
            Place::Internet => outside(hop.dst),
            Place::Interface(_)
            | Place::NatGateway(_)
            | Place::InternetGateway(_)
            | Place::EgressOnlyGateway(_) => station(regions, hop.place),
            Place::SecurityGroups(..) | Place::Subnet(_) | Place::NetworkAcl(..) | Place::RouteTable(_) => {
                continue;
            }
        };
        // A component may decide several things about one packet.
        if stations.last() != Some(&next) {
            stations.push(next);
        }
    }
    stations
}

#[cfg(test)]
mod tests {
    use atoll_fabric::{Decision, L4};
    use atoll_model::{Direction, EgressOnlyGatewayId, EniId, InternetGatewayId, NatGatewayId, RouteTableId};

    use super::*;

    fn hop(place: Place) -> Hop {
        Hop {
            place,
            decision: Decision::Passed,
            rule: None,
            src: [10, 0, 0, 5].into(),
            dst: [198, 51, 100, 7].into(),
            l4: L4::Other,
        }
    }

    fn told(ingress: Port, places: &[Place]) -> Vec<String> {
        let hops: Vec<Hop> = places.iter().copied().map(hop).collect();
        let stations = stations(&[], ingress, [203, 0, 113, 9].into(), &hops);
        stations.iter().map(|station| station.word().to_owned()).collect()
    }

    #[test]
    fn who_hands_a_packet_on_is_told_and_who_only_judges_is_not() {
        let eni = EniId::new(5);
        let way = [
            Place::Interface(eni),
            Place::SecurityGroups(eni, Direction::Egress),
            Place::RouteTable(RouteTableId::new(1)),
            Place::NatGateway(NatGatewayId::new(1)),
            Place::RouteTable(RouteTableId::new(2)),
            Place::InternetGateway(InternetGatewayId::new(1)),
            Place::Internet,
        ];
        let id = eni.to_string();
        assert_eq!(told(Port::Eni(eni), &way), [&*id, "nat", "igw", "198.51.100.7"]);
        assert_eq!(told(Port::Eni(eni), &way[..3]), [&*id], "a way that ends early");
        let back = [
            Place::EgressOnlyGateway(EgressOnlyGatewayId::new(1)),
            Place::SecurityGroups(eni, Direction::Ingress),
            Place::Interface(eni),
        ];
        assert_eq!(told(Port::Internet, &back), ["203.0.113.9", "eigw", &*id]);
    }
}
