//! A packet's way in short: where it comes from, which gateways and interfaces hand it on, where it ends.

use std::net::IpAddr;
use std::sync::Arc;

use atoll_fabric::{Hop, Place, Port};
use atoll_region::Region;
use serde::{Deserialize, Serialize};

use crate::{place, words};

/// A component that has a packet in its hands. (Rules and routes only say where it may go.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    /// Its kind, in kebab case: `network-interface`, `nat-gateway`, `internet-gateway`,
    /// `egress-only-internet-gateway` or `internet`.
    pub kind: String,
    /// Its id; of the internet, the address there.
    pub at: String,
    /// Its `Name` tag or logical id; of an interface without one, its instance's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

impl Station {
    /// In a word: what people call it, or what it is.
    pub fn word(&self) -> &str {
        match (&*self.kind, &self.name) {
            ("network-interface", Some(name)) => name,
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
