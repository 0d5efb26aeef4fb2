//! NAT gateways: made with an interface of their own, ready or failed a moment later, deleted, forgotten after an
//! hour.
//!
//! A gateway's life has steps that nobody asks for. Whoever runs the region sends them: [`NatGatewayReady`] for a
//! `pending` one once data planes serve it, [`NatGatewayGone`] for a `deleting` one once they no longer do, and
//! [`crate::tick::Tick`] now and then.

use std::net::Ipv4Addr;

use atoll_model::nat_gateway::{Connectivity, NatGatewayAddress};
use atoll_model::network_interface::InterfaceType;
use atoll_model::{
    AddressAssociationId, AllocationId, ElasticIp, EniId, NatGateway, NatGatewayId, NatGatewayState, Row,
    Subnet, SubnetId, Tags, quota,
};

use crate::error::Error;
use crate::idempotency::{self, Repeated, look_up};
use crate::network_interface::NewInterface;
use crate::state::Region;
use crate::transaction::{Command, Transaction};
use crate::{elastic_ip, internet_gateway, network_interface, tag};

/// CreateNatGateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateNatGateway {
    /// Its subnet, and so its zone (semantics 86).
    pub subnet: SubnetId,
    /// Public or private.
    pub connectivity: Connectivity,
    /// The Elastic IP of a public one.
    pub allocation: Option<AllocationId>,
    /// The primary private address; without it a free one of the subnet.
    pub private_ip: Option<Ipv4Addr>,
    /// Further Elastic IPs of a public one, each with a private address of its own.
    pub secondary_allocations: Vec<AllocationId>,
    /// Further private addresses. Of a public gateway: as many as further Elastic IPs, or none to take free ones.
    pub secondary_private_ips: Vec<Ipv4Addr>,
    /// How many further private addresses a private gateway takes from the free ones of its subnet.
    pub secondary_private_ip_count: Option<usize>,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl CreateNatGateway {
    /// Whether the parameters go together, and how many secondary addresses they ask for.
    fn check(&self) -> Result<usize, Error> {
        let secondary = match self.connectivity {
            Connectivity::Public => {
                if self.allocation.is_none() {
                    return Err(Error::missing("AllocationId"));
                }
                if self.secondary_private_ip_count.is_some() {
                    return Err(Error::invalid_combination(
                        "The parameter SecondaryPrivateIpAddressCount may be used with a private NAT gateway only.",
                    ));
                }
                let (ips, allocations) = (self.secondary_private_ips.len(), self.secondary_allocations.len());
                if ips != 0 && ips != allocations {
                    return Err(Error::invalid_combination(format!(
                        "There are {ips} SecondaryPrivateIpAddresses for {allocations} SecondaryAllocationIds; a public \
                         NAT gateway needs one for each."
                    )));
                }
                allocations
            }
            Connectivity::Private => {
                if self.allocation.is_some() || !self.secondary_allocations.is_empty() {
                    return Err(Error::invalid_combination(
                        "The parameters AllocationId and SecondaryAllocationIds may not be used with a private NAT gateway.",
                    ));
                }
                match self.secondary_private_ip_count {
                    Some(_) if !self.secondary_private_ips.is_empty() => {
                        return Err(Error::invalid_combination(
                            "The parameters SecondaryPrivateIpAddresses and SecondaryPrivateIpAddressCount may not be used \
                             together.",
                        ));
                    }
                    Some(count) => count,
                    None => self.secondary_private_ips.len(),
                }
            }
        };
        // semantics 80
        if secondary >= quota::NAT_GATEWAY_ADDRESSES {
            return Err(Error::new(
                "NatGatewayLimitExceeded",
                format!(
                    "A NAT gateway has at most {} addresses, its primary one included.",
                    quota::NAT_GATEWAY_ADDRESSES
                ),
            ));
        }
        Ok(secondary)
    }
}

impl Command for CreateNatGateway {
    type Reply = NatGatewayId;

    fn apply(self, tx: &mut Transaction) -> Result<NatGatewayId, Error> {
        tag::allowed(&self.tags)?;
        let token = self.client_token.as_deref();
        let client_token = match look_up(tx, token, &self, |row| match row {
            Row::NatGateway(gateway) => gateway.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Untokened => None,
            Repeated::New(token) => Some(token),
            Repeated::Before(keys) => return idempotency::made::<NatGateway>(tx, &keys),
        };
        let secondary = self.check()?;
        let subnet = tx.find::<Subnet>(self.subnet)?;
        let in_zone = tx
            .region()
            .list::<NatGateway>(tx.account())
            .filter(|gateway| gateway.eni.is_some())
            .filter_map(|gateway| tx.region().get::<Subnet>(gateway.subnet))
            .filter(|other| other.zone == subnet.zone)
            .count();
        if in_zone >= quota::NAT_GATEWAYS_PER_ZONE {
            return Err(Error::new(
                "NatGatewayLimitExceeded",
                format!(
                    "The maximum number of NAT gateways of the Availability Zone {} has been reached.",
                    subnet.zone
                ),
            ));
        }
        let missing = secondary.saturating_sub(self.secondary_private_ips.len());
        let id = tx.fresh_id::<NatGateway>();
        let eni = network_interface::make(
            tx,
            NewInterface {
                interface_type: InterfaceType::NatGateway,
                description: format!("Interface for NAT Gateway {id}"),
                primary: self.private_ip,
                secondary: self.secondary_private_ips.clone(),
                secondary_count: u32::try_from(missing).unwrap_or(u32::MAX),
                requester_managed: true,
                ..NewInterface::new(subnet.id)
            },
        )?;
        let allocations = self.allocation.iter().chain(&self.secondary_allocations);
        let mut allocations = allocations.copied();
        let mut addresses = Vec::new();
        for private in eni.private_addresses.iter().map(|address| address.ip) {
            let allocation = allocations.next();
            let (public, association) = match allocation {
                Some(allocation) => {
                    let (public, association) = associate(tx, allocation, eni.id, private)?;
                    (Some(public), Some(association))
                }
                None => (None, None),
            };
            addresses.push(NatGatewayAddress {
                private,
                public,
                allocation,
                association,
                primary: addresses.is_empty(),
            });
        }
        tx.put(NatGateway {
            id,
            owner: tx.account(),
            vpc: subnet.vpc,
            subnet: subnet.id,
            connectivity: self.connectivity,
            state: NatGatewayState::Pending,
            eni: Some(eni.id),
            addresses,
            created: tx.now(),
            deleted: None,
            failure: None,
            client_token,
            tags: self.tags,
        });
        Ok(id)
    }
}

/// Lets a free Elastic IP stand for a private address of a gateway's interface.
fn associate(
    tx: &mut Transaction,
    allocation: AllocationId,
    eni: EniId,
    private: Ipv4Addr,
) -> Result<(Ipv4Addr, AddressAssociationId), Error> {
    let address = tx.find::<ElasticIp>(allocation)?;
    if address.association.is_some() {
        return Err(Error::new(
            "Resource.AlreadyAssociated",
            format!("Elastic IP address [{allocation}] is already associated"),
        ));
    }
    let association = elastic_ip::associate(tx, allocation, eni, private)?;
    Ok((address.public, association))
}

/// Takes a gateway's interface away, and with it the associations of its Elastic IPs.
fn release(tx: &mut Transaction, gateway: &mut NatGateway) {
    if let Some(eni) = gateway.eni.take() {
        network_interface::remove(tx, eni);
    }
    for address in &mut gateway.addresses {
        address.association = None;
    }
}

/// A step in the life of a gateway that the region's owner, not a caller, takes: whoever owns the gateway.
fn find_any(region: &Region, id: NatGatewayId) -> Result<NatGateway, Error> {
    match region.get::<NatGateway>(id) {
        Some(gateway) => Ok((**gateway).clone()),
        None => Err(Error::new(
            "NatGatewayNotFound",
            format!("NatGateway {id} was not found"),
        )),
    }
}

/// A `pending` gateway becomes `available`, or `failed` when it is public and its VPC has no internet gateway.
/// In any other state nothing changes. The reply is the state it then has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatGatewayReady {
    /// The gateway.
    pub gateway: NatGatewayId,
}

impl Command for NatGatewayReady {
    type Reply = NatGatewayState;

    fn apply(self, tx: &mut Transaction) -> Result<NatGatewayState, Error> {
        let mut gateway = find_any(tx.region(), self.gateway)?;
        if gateway.state != NatGatewayState::Pending {
            return Ok(gateway.state);
        }
        let public = gateway.connectivity == Connectivity::Public;
        if public && internet_gateway::of_vpc(tx.region(), gateway.vpc).is_none() {
            gateway.state = NatGatewayState::Failed;
            gateway.failure = Some((
                "Gateway.NotAttached".to_owned(),
                format!("Network {} has no Internet gateway attached", gateway.vpc),
            ));
            gateway.deleted = Some(tx.now());
            release(tx, &mut gateway);
        } else {
            gateway.state = NatGatewayState::Available;
        }
        let state = gateway.state;
        tx.put(gateway);
        Ok(state)
    }
}

/// DeleteNatGateway: it begins to go; [`NatGatewayGone`] ends it. Its Elastic IPs stay allocated. Repeating it is no
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteNatGateway {
    /// The gateway.
    pub gateway: NatGatewayId,
}

impl Command for DeleteNatGateway {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let mut gateway = (*tx.find::<NatGateway>(self.gateway)?).clone();
        match gateway.state {
            NatGatewayState::Pending | NatGatewayState::Available => {
                gateway.state = NatGatewayState::Deleting;
                tx.put(gateway);
            }
            NatGatewayState::Failed => {
                gateway.state = NatGatewayState::Deleted;
                tx.put(gateway);
            }
            NatGatewayState::Deleting | NatGatewayState::Deleted => {}
        }
        Ok(())
    }
}

/// A `deleting` gateway is `deleted`: its interface goes, its Elastic IPs are free. In any other state nothing
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatGatewayGone {
    /// The gateway.
    pub gateway: NatGatewayId,
}

impl Command for NatGatewayGone {
    type Reply = NatGatewayState;

    fn apply(self, tx: &mut Transaction) -> Result<NatGatewayState, Error> {
        let mut gateway = find_any(tx.region(), self.gateway)?;
        if gateway.state == NatGatewayState::Deleting {
            gateway.state = NatGatewayState::Deleted;
            gateway.deleted = Some(tx.now());
            release(tx, &mut gateway);
            tx.put(gateway.clone());
        }
        Ok(gateway.state)
    }
}
