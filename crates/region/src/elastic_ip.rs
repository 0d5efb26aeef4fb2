//! Public IPv4 addresses: Elastic ones, which an account holds, and auto-assigned ones, which an instance has while
//! it runs (semantics 66-74).
//!
//! An association stands in two rows, the address's and the interface's; [`associate`] and [`disassociate`] change
//! both, and nothing else does.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use atoll_model::elastic_ip::AddressAssociation;
use atoll_model::network_interface::PublicAddress;
use atoll_model::{
    AccountId, AddressAssociationId, AllocationId, ElasticIp, EniId, Instance, InstanceId, InstanceState,
    Key, NetworkInterface, Tags, quota,
};

use crate::error::Error;
use crate::index::Index;
use crate::internet_gateway;
use crate::state::{Noun, Region};
use crate::tag;
use crate::transaction::{Command, Transaction};

/// Whether a public address is taken.
fn is_taken(region: &Region, addr: Ipv4Addr) -> bool {
    region.indexed(Index::Public(addr)).next().is_some()
}

/// A free address of the region's pool, whose first and last address nobody gets.
///
/// # Errors
/// `InsufficientAddressCapacity` when there is none.
pub fn free_public(tx: &mut Transaction) -> Result<Ipv4Addr, Error> {
    let pool = tx.region().config().public_pool;
    let usable = pool.size().saturating_sub(2);
    let start = u128::from(tx.draw());
    (0..usable)
        .filter_map(|step| match pool.nth(1 + (start + step) % usable) {
            Some(IpAddr::V4(addr)) => Some(addr),
            _ => None,
        })
        .find(|addr| !is_taken(tx.region(), *addr))
        .ok_or_else(|| {
            Error::new(
                "InsufficientAddressCapacity",
                format!("Not enough available addresses to satisfy your request: every address of the pool {pool} is taken."),
            )
        })
}

/// Gives an interface's primary address a public one from the pool, unless it has one.
///
/// # Errors
/// `InsufficientAddressCapacity` when the pool is exhausted.
pub(crate) fn assign_automatically(tx: &mut Transaction, eni: EniId) -> Result<(), Error> {
    let wants = tx
        .region()
        .get::<NetworkInterface>(eni)
        .and_then(|eni| eni.private_addresses.first())
        .is_some_and(|address| address.public.is_none());
    if wants {
        let ip = free_public(tx)?;
        tx.alter::<NetworkInterface>(eni, |eni| {
            if let Some(address) = eni.private_addresses.first_mut() {
                address.public = Some(PublicAddress { ip, elastic: None });
            }
        });
    }
    Ok(())
}

/// Takes the auto-assigned public addresses off an interface; Elastic ones stay.
pub(crate) fn release_automatic(tx: &mut Transaction, eni: EniId) {
    tx.alter::<NetworkInterface>(eni, |eni| {
        for address in &mut eni.private_addresses {
            address.public = address.public.filter(|public| public.elastic.is_some());
        }
    });
}

/// Associates an Elastic IP with a private address of an interface, in both rows. Its former association ends, as
/// does that of another Elastic IP with the same private address; an auto-assigned public address is released
/// (semantics 73). Whether all that is allowed is the caller's question.
///
/// # Errors
/// The address is not the interface's.
pub fn associate(
    tx: &mut Transaction,
    allocation: AllocationId,
    eni: EniId,
    private: Ipv4Addr,
) -> Result<AddressAssociationId, Error> {
    disassociate(tx, allocation);
    let address = tx.find::<ElasticIp>(allocation)?;
    let interface = tx.find::<NetworkInterface>(eni)?;
    let Some(held) = interface.private_addresses.iter().find(|a| a.ip == private) else {
        return Err(Error::invalid_value(format!(
            "The private IP address {private} is not assigned to interface {eni}"
        )));
    };
    if let Some((other, _)) = held.public.and_then(|p| p.elastic) {
        disassociate(tx, other);
    }
    let id = tx.fresh::<AddressAssociationId>();
    tx.alter::<NetworkInterface>(eni, |eni| {
        for held in eni.private_addresses.iter_mut().filter(|a| a.ip == private) {
            held.public = Some(PublicAddress {
                ip: address.public,
                elastic: Some((allocation, id)),
            });
        }
    });
    tx.alter::<ElasticIp>(allocation, |address| {
        address.association = Some(AddressAssociation { id, eni, private });
    });
    Ok(id)
}

/// Ends an Elastic IP's association, in both rows; nothing when it has none.
pub fn disassociate(tx: &mut Transaction, allocation: AllocationId) {
    let Some(association) = tx
        .region()
        .get::<ElasticIp>(allocation)
        .and_then(|a| a.association)
    else {
        return;
    };
    tx.alter::<ElasticIp>(allocation, |address| address.association = None);
    tx.alter::<NetworkInterface>(association.eni, |eni| {
        for held in &mut eni.private_addresses {
            held.public = held
                .public
                .filter(|public| public.elastic.is_none_or(|(id, _)| id != allocation));
        }
    });
}

/// An Elastic IP by its allocation or by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRef {
    /// By allocation.
    Allocation(AllocationId),
    /// By address.
    Public(Ipv4Addr),
}

impl AddressRef {
    /// The Elastic IP.
    ///
    /// # Errors
    /// `InvalidAllocationID.NotFound`, `InvalidAddress.NotFound`.
    pub fn find(self, region: &Region, account: AccountId) -> Result<Arc<ElasticIp>, Error> {
        match self {
            AddressRef::Allocation(id) => region.find::<ElasticIp>(account, id).cloned(),
            AddressRef::Public(addr) => region
                .indexed(Index::Public(addr))
                .find_map(|key| match key {
                    Key::ElasticIp(id) => region.find::<ElasticIp>(account, id).ok().cloned(),
                    _ => None,
                })
                .ok_or_else(|| Error::new("InvalidAddress.NotFound", format!("Address '{addr}' not found."))),
        }
    }
}

/// AllocateAddress.
#[derive(Clone, Debug, Default)]
pub struct AllocateAddress {
    /// A certain free address of the region's pool; any one when `None`.
    pub address: Option<Ipv4Addr>,
    /// Tags.
    pub tags: Tags,
}

impl Command for AllocateAddress {
    type Reply = ElasticIp;

    fn apply(self, tx: &mut Transaction) -> Result<ElasticIp, Error> {
        tag::allowed(&self.tags)?;
        if tx.region().list::<ElasticIp>(tx.account()).count() >= quota::ELASTIC_IPS_PER_REGION {
            return Err(Error::new(
                "AddressLimitExceeded",
                "The maximum number of addresses has been reached.",
            ));
        }
        let public = match self.address {
            None => free_public(tx)?,
            Some(addr) => {
                let pool = tx.region().config().public_pool;
                let inside = pool
                    .index_of(IpAddr::V4(addr))
                    .is_some_and(|i| i > 0 && i + 1 < pool.size());
                if !inside {
                    return Err(Error::new(
                        "InvalidAddress.NotFound",
                        format!("Address '{addr}' not found: it is not one of the pool {pool}."),
                    ));
                }
                if is_taken(tx.region(), addr) {
                    return Err(Error::new(
                        "InvalidIPAddress.InUse",
                        format!("Address {addr} is in use."),
                    ));
                }
                addr
            }
        };
        let address = ElasticIp {
            id: tx.fresh_id::<ElasticIp>(),
            owner: tx.account(),
            public,
            association: None,
            tags: self.tags,
        };
        tx.put(address.clone());
        Ok(address)
    }
}

/// What an Elastic IP is to stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociateTarget {
    /// The one interface of an instance.
    Instance(InstanceId),
    /// An interface, attached or not.
    NetworkInterface(EniId),
}

/// AssociateAddress.
#[derive(Clone, Debug)]
pub struct AssociateAddress {
    /// Which.
    pub address: AddressRef,
    /// With what.
    pub target: AssociateTarget,
    /// With which private address; the primary one when `None`.
    pub private: Option<Ipv4Addr>,
    /// Whether a former association may end for it.
    pub allow_reassociation: bool,
}

impl Command for AssociateAddress {
    type Reply = AddressAssociationId;

    fn apply(self, tx: &mut Transaction) -> Result<AddressAssociationId, Error> {
        let address = self.address.find(tx.region(), tx.account())?;
        let eni = match self.target {
            AssociateTarget::NetworkInterface(id) => tx.find::<NetworkInterface>(id)?,
            AssociateTarget::Instance(id) => only_interface(tx, id)?,
        };
        permitted(&eni)?;
        if internet_gateway::of_vpc(tx.region(), eni.vpc).is_none() {
            return Err(Error::new(
                "Gateway.NotAttached",
                format!("Network {} is not attached to any internet gateway", eni.vpc),
            ));
        }
        let Some(private) = self.private.or(eni.primary_ip()) else {
            return Err(Error::invalid_value(format!(
                "The interface {} has no private IPv4 address",
                eni.id
            )));
        };
        let Some(held) = eni.private_addresses.iter().find(|a| a.ip == private) else {
            return Err(Error::invalid_value(format!(
                "The private IP address {private} is not assigned to interface {}",
                eni.id
            )));
        };
        if let Some(old) = address.association {
            if old.eni == eni.id && old.private == private {
                return Ok(old.id);
            }
            if let Some(holder) = tx.region().get::<NetworkInterface>(old.eni) {
                permitted(holder)?;
            }
            if !self.allow_reassociation {
                return Err(already_associated(address.id, old.id));
            }
        }
        if let Some((other, association)) = held.public.and_then(|p| p.elastic)
            && !self.allow_reassociation
        {
            return Err(already_associated(other, association));
        }
        associate(tx, address.id, eni.id, private)
    }
}

fn already_associated(allocation: AllocationId, association: AddressAssociationId) -> Error {
    Error::new(
        "Resource.AlreadyAssociated",
        format!("resource {allocation} is already associated with associate-id {association}"),
    )
}

/// The addresses of a service's interface are the service's.
fn permitted(eni: &NetworkInterface) -> Result<(), Error> {
    if eni.requester_managed {
        return Err(Error::new(
            "AuthFailure",
            format!(
                "You do not have permission to access the specified resource: {} belongs to a NAT gateway.",
                eni.id
            ),
        ));
    }
    Ok(())
}

fn only_interface(tx: &Transaction, id: InstanceId) -> Result<Arc<NetworkInterface>, Error> {
    let instance = tx.find::<Instance>(id)?;
    if !matches!(
        instance.state,
        InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped
    ) {
        return Err(Error::new(
            "InvalidInstanceID",
            format!(
                "The {} instance '{id}' is not in a valid state for this operation.",
                instance.state
            ),
        ));
    }
    match tx.region().enis_of(id).as_slice() {
        [eni] => Ok(Arc::clone(eni)),
        [] => Err(Error::internal(format!("the instance '{id}' has no interface"))),
        _ => Err(Error::new(
            "InvalidInstanceID",
            format!(
                "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the \
                 operation instead."
            ),
        )),
    }
}

/// An association by its own id, or by the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociationRef {
    /// By the association's id.
    Association(AddressAssociationId),
    /// By the public address.
    Public(Ipv4Addr),
}

/// DisassociateAddress. No auto-assigned address takes its place until the instance was stopped and started
/// (semantics 73). An address without an association is no error, as on EC2.
#[derive(Clone, Debug)]
pub struct DisassociateAddress {
    /// Which.
    pub association: AssociationRef,
}

impl Command for DisassociateAddress {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let address = match self.association {
            AssociationRef::Public(addr) => AddressRef::Public(addr).find(tx.region(), tx.account())?,
            AssociationRef::Association(id) => tx
                .region()
                .indexed(Index::Association(id))
                .find_map(|key| match key {
                    Key::ElasticIp(id) => tx.find::<ElasticIp>(id).ok(),
                    _ => None,
                })
                .ok_or_else(|| {
                    Error::new(
                        "InvalidAssociationID.NotFound",
                        format!("The association ID '{id}' does not exist"),
                    )
                })?,
        };
        if let Some(holder) = address
            .association
            .and_then(|a| tx.region().get::<NetworkInterface>(a.eni))
        {
            permitted(holder)?;
        }
        disassociate(tx, address.id);
        Ok(())
    }
}

/// ReleaseAddress.
#[derive(Clone, Debug)]
pub struct ReleaseAddress {
    /// Which.
    pub address: AddressRef,
}

impl Command for ReleaseAddress {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let address = self.address.find(tx.region(), tx.account())?;
        let needed = tx
            .region()
            .dependants(ElasticIp::key(address.id))
            .next()
            .is_some();
        if address.association.is_some() || needed {
            return Err(Error::new(
                "InvalidIPAddress.InUse",
                format!("Address {} is in use.", address.public),
            ));
        }
        tx.delete(Key::ElasticIp(address.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
