//! Private addresses: choosing free ones of a subnet, assigning and unassigning secondary ones.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_model::instance_type::{self, InstanceType};
use atoll_model::network_interface::PrivateAddress;
use atoll_model::{EniId, Instance, NetworkInterface, Subnet};

use crate::elastic_ip;
use crate::error::Error;
use crate::network_interface::{elastic_ips, managed_by_caller};
use crate::subnet;
use crate::transaction::{Command, Transaction};

/// Most addresses of a family on any interface: what the largest instance types allow.
pub const MAX_ADDRESSES: usize = 50;

/// The limits that an interface stands under: those of its instance's type, if it is attached.
pub(crate) fn limits_of(tx: &Transaction, eni: &NetworkInterface) -> Option<InstanceType> {
    let instance = tx.region().get::<Instance>(eni.attachment.as_ref()?.instance)?;
    instance_type::find(&instance.instance_type)
}

/// Whether an interface may have so many addresses (semantics 63).
pub(crate) fn within_limit(limits: Option<InstanceType>, v4: usize, v6: usize) -> Result<(), Error> {
    let (most4, most6) = limits.map_or((MAX_ADDRESSES, MAX_ADDRESSES), |t| {
        (
            usize::from(t.ipv4_per_interface),
            usize::from(t.ipv6_per_interface),
        )
    });
    let on = limits.map_or(String::new(), |t| format!(" of {}", t.name));
    for (count, most, family) in [(v4, most4, "private IPv4"), (v6, most6, "IPv6")] {
        if count > most {
            return Err(Error::new(
                "PrivateIpAddressLimitExceeded",
                format!(
                    "Number of {family} addresses will exceed limit: {count} are more than the {most} that an \
                     interface{on} may have."
                ),
            ));
        }
    }
    Ok(())
}

/// Certain addresses and free ones: primary, secondary ones, and `count` more. Reserved, used and foreign ones
/// are refused (semantics 54).
pub(crate) fn choose_v4(
    tx: &mut Transaction,
    subnet: &Subnet,
    with_primary: bool,
    primary: Option<Ipv4Addr>,
    secondary: &[Ipv4Addr],
    count: u32,
) -> Result<Vec<Ipv4Addr>, Error> {
    within_limit(None, wanted(secondary.len(), count), 0)?;
    if !with_primary && primary.is_none() && secondary.is_empty() && count == 0 {
        return Ok(Vec::new());
    }
    if subnet.cidr.is_none() {
        return Err(Error::invalid_value(format!(
            "The subnet {} has no IPv4 CIDR block",
            subnet.id
        )));
    }
    let certain: Vec<Ipv4Addr> = primary.iter().chain(secondary).copied().collect();
    all_free(tx, subnet, certain.iter().map(|a| IpAddr::V4(*a)))?;
    // Without a certain primary address, the first free one is it.
    let leads = usize::from(with_primary && primary.is_none());
    let free = subnet::free_ipv4s(tx, subnet.id, wanted(leads, count), &certain)?;
    let (first, rest) = free.split_at(leads.min(free.len()));
    Ok([first, &certain, rest].concat())
}

/// Certain IPv6 addresses and `count` free ones.
pub(crate) fn choose_v6(
    tx: &mut Transaction,
    subnet: &Subnet,
    certain: &[Ipv6Addr],
    count: u32,
) -> Result<Vec<Ipv6Addr>, Error> {
    within_limit(None, 0, wanted(certain.len(), count))?;
    if certain.is_empty() && count == 0 {
        return Ok(Vec::new());
    }
    if subnet.ipv6_cidr().is_none() {
        return Err(Error::invalid_value(format!(
            "The subnet {} has no IPv6 CIDR block",
            subnet.id
        )));
    }
    all_free(tx, subnet, certain.iter().map(|a| IpAddr::V6(*a)))?;
    let free = subnet::free_ipv6s(
        tx,
        subnet.id,
        usize::try_from(count).unwrap_or(usize::MAX),
        certain,
    )?;
    Ok([certain, &free].concat())
}

/// How many addresses are asked for: checked against the limit before any is looked for.
fn wanted(certain: usize, count: u32) -> usize {
    certain.saturating_add(usize::try_from(count).unwrap_or(usize::MAX))
}

fn all_free(tx: &Transaction, subnet: &Subnet, certain: impl Iterator<Item = IpAddr>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for addr in certain {
        subnet::check_free(tx.region(), subnet, addr)?;
        if !seen.insert(addr) {
            return Err(Error::invalid_value(format!(
                "Address {addr} is given more than once"
            )));
        }
    }
    Ok(())
}

fn address_in_use(addr: IpAddr) -> Error {
    Error::new("InvalidIPAddress.InUse", format!("Address {addr} is in use."))
}

/// AssignPrivateIpAddresses: certain secondary addresses, or so many free ones.
#[derive(Clone, Debug)]
pub struct AssignPrivateIpAddresses {
    /// To which interface.
    pub eni: EniId,
    /// Certain addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// So many free ones.
    pub count: u32,
    /// Whether secondary addresses of another interface of the subnet may move here; their Elastic IPs move along.
    pub allow_reassignment: bool,
}

impl Command for AssignPrivateIpAddresses {
    /// What was assigned.
    type Reply = Vec<Ipv4Addr>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<Ipv4Addr>, Error> {
        let eni = tx.find::<NetworkInterface>(self.eni)?;
        managed_by_caller(&eni)?;
        one_of(
            self.addresses.is_empty(),
            self.count,
            "privateIpAddress",
            "secondaryPrivateIpAddressCount",
        )?;
        let subnet = tx.find::<Subnet>(eni.subnet)?;
        let mut fresh = Vec::new();
        let mut moved: Vec<PrivateAddress> = Vec::new();
        for addr in self.addresses {
            match tx.region().eni_at(subnet.id, IpAddr::V4(addr)).cloned() {
                // Already here: nothing to do, as on EC2.
                Some(holder) if holder.id == eni.id => {}
                Some(holder) if self.allow_reassignment => moved.extend(take_secondary(tx, &holder, addr)?),
                Some(_) => return Err(address_in_use(IpAddr::V4(addr))),
                None => fresh.push(addr),
            }
        }
        let fresh = choose_v4(tx, &subnet, false, None, &fresh, self.count)?;
        let assigned: Vec<Ipv4Addr> = moved.iter().map(|a| a.ip).chain(fresh.iter().copied()).collect();
        let v4 = eni.private_addresses.len() + assigned.len();
        within_limit(limits_of(tx, &eni), v4, eni.ipv6_addresses.len())?;
        tx.alter::<NetworkInterface>(eni.id, |eni| {
            let new = assigned.iter().map(|ip| PrivateAddress {
                ip: *ip,
                public: None,
            });
            eni.private_addresses.extend(new);
        });
        for address in moved {
            if let Some((allocation, _)) = address.public.and_then(|p| p.elastic) {
                elastic_ip::associate(tx, allocation, eni.id, address.ip)?;
            }
        }
        Ok(assigned)
    }
}

/// Takes a secondary address off its interface, with its Elastic IP dissociated but remembered in the result.
fn take_secondary(
    tx: &mut Transaction,
    holder: &NetworkInterface,
    addr: Ipv4Addr,
) -> Result<Option<PrivateAddress>, Error> {
    managed_by_caller(holder)?;
    if holder.primary_ip() == Some(addr) {
        return Err(Error::invalid_value(format!(
            "Address {addr} is the primary address of {} and cannot be reassigned",
            holder.id
        )));
    }
    let taken = holder.private_addresses.iter().copied().find(|a| a.ip == addr);
    if let Some((allocation, _)) = taken.and_then(|a| a.public?.elastic) {
        elastic_ip::disassociate(tx, allocation);
    }
    tx.alter::<NetworkInterface>(holder.id, |eni| eni.private_addresses.retain(|a| a.ip != addr));
    Ok(taken)
}

fn one_of(no_addresses: bool, count: u32, addresses: &str, number: &str) -> Result<(), Error> {
    match (no_addresses, count) {
        (true, 0) => Err(Error::missing(format!("{addresses} or {number}"))),
        (false, 1..) => Err(Error::invalid_combination(format!(
            "Only one of {addresses} and {number} may be specified"
        ))),
        _ => Ok(()),
    }
}

/// UnassignPrivateIpAddresses: secondary addresses go; their Elastic IPs stay allocated.
#[derive(Clone, Debug)]
pub struct UnassignPrivateIpAddresses {
    /// From which interface.
    pub eni: EniId,
    /// Which addresses.
    pub addresses: Vec<Ipv4Addr>,
}

impl Command for UnassignPrivateIpAddresses {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let eni = tx.find::<NetworkInterface>(self.eni)?;
        managed_by_caller(&eni)?;
        if self.addresses.is_empty() {
            return Err(Error::missing("privateIpAddress"));
        }
        for addr in &self.addresses {
            if eni.primary_ip() == Some(*addr) {
                return Err(Error::invalid_value(format!(
                    "The primary address {addr} of the interface {} cannot be unassigned",
                    eni.id
                )));
            }
            not_assigned(&eni, IpAddr::V4(*addr))?;
        }
        for allocation in elastic_ips(tx.region(), eni.id) {
            let gone = eni.private_addresses.iter().any(|held| {
                self.addresses.contains(&held.ip)
                    && held
                        .public
                        .and_then(|p| p.elastic)
                        .is_some_and(|(id, _)| id == allocation)
            });
            if gone {
                elastic_ip::disassociate(tx, allocation);
            }
        }
        tx.alter::<NetworkInterface>(eni.id, |eni| {
            eni.private_addresses
                .retain(|held| !self.addresses.contains(&held.ip));
        });
        Ok(())
    }
}

fn not_assigned(eni: &NetworkInterface, addr: IpAddr) -> Result<(), Error> {
    if eni.has_address(addr) {
        return Ok(());
    }
    Err(Error::invalid_value(format!(
        "Some of the specified addresses are not assigned to interface {}: {addr}",
        eni.id
    )))
}

/// AssignIpv6Addresses: certain addresses, or so many free ones.
#[derive(Clone, Debug)]
pub struct AssignIpv6Addresses {
    /// To which interface.
    pub eni: EniId,
    /// Certain addresses.
    pub addresses: Vec<Ipv6Addr>,
    /// So many free ones.
    pub count: u32,
}

impl Command for AssignIpv6Addresses {
    /// What was assigned.
    type Reply = Vec<Ipv6Addr>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<Ipv6Addr>, Error> {
        let eni = tx.find::<NetworkInterface>(self.eni)?;
        managed_by_caller(&eni)?;
        one_of(
            self.addresses.is_empty(),
            self.count,
            "ipv6Addresses",
            "ipv6AddressCount",
        )?;
        let subnet = tx.find::<Subnet>(eni.subnet)?;
        let new: Vec<_> = self
            .addresses
            .into_iter()
            .filter(|addr| !eni.has_address(IpAddr::V6(*addr)))
            .collect();
        let assigned = choose_v6(tx, &subnet, &new, self.count)?;
        let v6 = eni.ipv6_addresses.len() + assigned.len();
        within_limit(limits_of(tx, &eni), eni.private_addresses.len(), v6)?;
        tx.alter::<NetworkInterface>(eni.id, |eni| eni.ipv6_addresses.extend(&assigned));
        Ok(assigned)
    }
}

/// UnassignIpv6Addresses.
#[derive(Clone, Debug)]
pub struct UnassignIpv6Addresses {
    /// From which interface.
    pub eni: EniId,
    /// Which addresses.
    pub addresses: Vec<Ipv6Addr>,
}

impl Command for UnassignIpv6Addresses {
    /// What was unassigned.
    type Reply = Vec<Ipv6Addr>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<Ipv6Addr>, Error> {
        let eni = tx.find::<NetworkInterface>(self.eni)?;
        managed_by_caller(&eni)?;
        if self.addresses.is_empty() {
            return Err(Error::missing("ipv6Addresses"));
        }
        for addr in &self.addresses {
            not_assigned(&eni, IpAddr::V6(*addr))?;
        }
        let remaining = eni
            .ipv6_addresses
            .iter()
            .filter(|a| !self.addresses.contains(a))
            .count();
        if eni.private_addresses.is_empty() && remaining == 0 {
            return Err(Error::invalid_value(format!(
                "The interface {} has no IPv4 address: its last IPv6 address cannot be unassigned",
                eni.id
            )));
        }
        tx.alter::<NetworkInterface>(eni.id, |eni| {
            eni.ipv6_addresses.retain(|held| !self.addresses.contains(held));
        });
        Ok(self.addresses)
    }
}
