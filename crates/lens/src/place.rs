//! What a person means by the name of a place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use atoll_fabric::Port;
use atoll_model::{EniId, Instance, InstanceState, NetworkInterface};
use atoll_net::Family;
use atoll_region::Region;

/// The outside's own host: where `internet` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Outside {
    /// Its address of a family.
    pub fn address(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// Why a name leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Nothing has that name.
    #[error(
        "{0:?} is no instance (id, Name tag or logical id), network interface, address or `internet`; `atoll status` lists instances"
    )]
    Unknown(String),
    /// Several things have that name.
    #[error("{name:?} is ambiguous: {candidates}; name one by its id")]
    Ambiguous {
        /// The name.
        name: String,
        /// The ids, joined.
        candidates: String,
    },
    /// It has no address of the family that the packet would have.
    #[error("{name} has no {family} address")]
    Family {
        /// The place.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// It has no interface.
    #[error("{0} has no network interface: it is terminated")]
    NoInterface(String),
}

fn unknown(name: &str) -> PlaceError {
    PlaceError::Unknown(name.chars().take(128).collect())
}

/// One of several, or why not one.
fn only<T>(name: &str, mut found: Vec<T>, id: impl Fn(&T) -> String) -> Result<T, PlaceError> {
    match found.len() {
        0 => Err(unknown(name)),
        1 => found.pop().ok_or_else(|| unknown(name)),
        _ => {
            let candidates = found.iter().map(id).collect::<Vec<_>>().join(", ");
            Err(PlaceError::Ambiguous {
                name: name.to_owned(),
                candidates,
            })
        }
    }
}

/// The instance that a person means: by id, by `Name` tag, or by logical id in a stack; terminated ones only by id.
pub fn find_instance(regions: &[Arc<Region>], name: &str) -> Result<Arc<Instance>, PlaceError> {
    use atoll_region::Noun;
    let all = || regions.iter().flat_map(|region| Instance::table(region).values());
    if let Ok(id) = name.parse() {
        return all().find(|i| i.id == id).cloned().ok_or_else(|| unknown(name));
    }
    let living = || all().filter(|i| i.state != InstanceState::Terminated);
    let tagged = |key: &str| -> Vec<Arc<Instance>> {
        living()
            .filter(|i| i.tags.get(key).is_some_and(|v| v == name))
            .cloned()
            .collect()
    };
    let found = match tagged("Name") {
        named if !named.is_empty() => named,
        _ => tagged("aws:cloudformation:logical-id"),
    };
    only(name, found, |i| i.id.to_string())
}

/// A place, found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// An interface; with the address that was named, if one was.
    Interface(Arc<NetworkInterface>, Option<IpAddr>),
    /// The internet; with the address that was named, if one was.
    Internet(Option<IpAddr>),
}

/// Every interface of every region.
fn interfaces(regions: &[Arc<Region>]) -> impl Iterator<Item = &Arc<NetworkInterface>> {
    use atoll_region::Noun;
    regions
        .iter()
        .flat_map(|region| NetworkInterface::table(region).values())
}

/// The interface with that id.
pub(crate) fn interface(regions: &[Arc<Region>], id: EniId) -> Option<&Arc<NetworkInterface>> {
    regions
        .iter()
        .find_map(|region| region.get::<NetworkInterface>(id))
}

/// What a name means.
pub(crate) fn find(regions: &[Arc<Region>], name: &str) -> Result<Found, PlaceError> {
    if name == "internet" {
        return Ok(Found::Internet(None));
    }
    if let Ok(addr) = name.parse::<IpAddr>() {
        let holders: Vec<_> = interfaces(regions)
            .filter(|eni| eni.has_address(addr))
            .cloned()
            .collect();
        if holders.is_empty() {
            return Ok(Found::Internet(Some(addr)));
        }
        return only(name, holders, |eni| eni.id.to_string()).map(|eni| Found::Interface(eni, Some(addr)));
    }
    if let Ok(id) = name.parse::<EniId>() {
        return interface(regions, id)
            .cloned()
            .map(|eni| Found::Interface(eni, None))
            .ok_or_else(|| unknown(name));
    }
    let instance = find_instance(regions, name)?;
    regions
        .iter()
        .find_map(|region| region.enis_of(instance.id).first().map(|eni| Arc::clone(eni)))
        .map(|eni| Found::Interface(eni, None))
        .ok_or_else(|| PlaceError::NoInterface(instance.id.to_string()))
}

/// The ports that a name means: of an instance, all its interfaces'.
///
/// # Errors
/// When nothing here has the name, or several things have it; an address that no interface has is nothing here.
pub fn find_ports(regions: &[Arc<Region>], name: &str) -> Result<Vec<Port>, PlaceError> {
    match find_instance(regions, name) {
        Ok(instance) => {
            let interfaces = regions.iter().flat_map(|region| region.enis_of(instance.id));
            return Ok(interfaces.map(|eni| Port::Eni(eni.id)).collect());
        }
        Err(PlaceError::Unknown(_)) => {}
        Err(error) => return Err(error),
    }
    match find(regions, name)? {
        Found::Interface(eni, _) => Ok(vec![Port::Eni(eni.id)]),
        Found::Internet(None) => Ok(vec![Port::Internet]),
        Found::Internet(Some(_)) => Err(unknown(name)),
    }
}

/// An interface's first address of a family.
pub(crate) fn address(eni: &NetworkInterface, family: Family) -> Option<IpAddr> {
    eni.addresses().find(|a| Family::of(*a) == family)
}

/// What a destination means: as [`find`], but an address that several VPCs have is the sender's VPC's one, and one that
/// nobody in the sender's VPC has is just an address.
pub(crate) fn find_destination(
    regions: &[Arc<Region>],
    name: &str,
    from: &Found,
) -> Result<Found, PlaceError> {
    let (Ok(addr), Found::Interface(sender, _)) = (name.parse::<IpAddr>(), from) else {
        return match name.parse::<IpAddr>() {
            Ok(addr) => Ok(Found::Internet(Some(addr))),
            Err(_) => find(regions, name),
        };
    };
    let own = interfaces(regions).find(|eni| eni.vpc == sender.vpc && eni.has_address(addr));
    Ok(match own {
        Some(eni) => Found::Interface(Arc::clone(eni), Some(addr)),
        None => Found::Internet(Some(addr)),
    })
}

/// The `Name` tag of a component; of an interface without one, its instance's.
pub fn name_of(regions: &[Arc<Region>], place: atoll_fabric::Place) -> Option<String> {
    use atoll_fabric::Place;
    use atoll_model::Key;
    let key = match place {
        Place::Interface(id) | Place::SecurityGroups(id, _) => Key::NetworkInterface(id),
        Place::Subnet(id) => Key::Subnet(id),
        Place::NetworkAcl(id, _, _) => Key::NetworkAcl(id),
        Place::RouteTable(id) => Key::RouteTable(id),
        Place::NatGateway(id) => Key::NatGateway(id),
        Place::InternetGateway(id) => Key::InternetGateway(id),
        Place::EgressOnlyGateway(id) => Key::EgressOnlyGateway(id),
        Place::Internet => return None,
    };
    let tags = |key: Key| {
        regions
            .iter()
            .find_map(|region| region.row(key))
            .map(|row| atoll_region::tag::tags_of(&row).clone())
    };
    let own = |key: Key| {
        let tags = tags(key)?;
        tags.get("Name")
            .or_else(|| tags.get("aws:cloudformation:logical-id"))
            .cloned()
    };
    own(key).or_else(|| match key {
        Key::NetworkInterface(id) => {
            let instance = interface(regions, id)?.attachment.as_ref()?.instance;
            own(Key::Instance(instance))
        }
        _ => None,
    })
}
