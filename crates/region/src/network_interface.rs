//! Network interfaces: making and deleting them, and what may be changed about them. Their attachment to
//! instances is in [`attachment`], the choice and change of their addresses in [`address`].

pub mod address;
pub mod attachment;
pub mod attribute;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use atoll_model::network_interface::{AttachmentState, ConnectionTracking, InterfaceType, PrivateAddress};
use atoll_model::{
    ClientToken, EniId, Key, NetworkInterface, Row, SecurityGroup, SecurityGroupId, Subnet, SubnetId, Tags,
    Vpc, VpcId, quota,
};
use atoll_net::Mac;

use crate::elastic_ip;
use crate::error::Error;
use crate::idempotency::{self, Repeated};
use crate::index::Index;
use crate::state::{Noun, Region};
use crate::tag;
use crate::transaction::{Command, Transaction};

/// Most characters of a description.
pub const MAX_DESCRIPTION: usize = 255;

/// What an interface shall be made with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewInterface {
    /// Its subnet.
    pub subnet: SubnetId,
    /// What it serves.
    pub interface_type: InterfaceType,
    /// What it is for.
    pub description: String,
    /// Its primary private address; a free one when `None`.
    pub primary: Option<Ipv4Addr>,
    /// Certain secondary addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// So many free secondary addresses more.
    pub secondary_count: u32,
    /// Certain IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// So many free IPv6 addresses; `None` leaves it to the subnet (one where it says so, when none is given).
    pub ipv6_count: Option<u32>,
    /// Its groups; none is the VPC's default group, except for a service's interface (semantics 83).
    pub groups: Vec<SecurityGroupId>,
    /// Whether a service makes it.
    pub requester_managed: bool,
    /// Idle timeouts.
    pub connection_tracking: ConnectionTracking,
    /// Tags.
    pub tags: Tags,
    /// The request it is made by.
    pub client_token: Option<ClientToken>,
}

impl NewInterface {
    /// A plain interface in a subnet, with whatever address is free.
    pub fn new(subnet: SubnetId) -> NewInterface {
        NewInterface {
            subnet,
            interface_type: InterfaceType::Interface,
            description: String::new(),
            primary: None,
            secondary: Vec::new(),
            secondary_count: 0,
            ipv6: Vec::new(),
            ipv6_count: None,
            groups: Vec::new(),
            requester_managed: false,
            connection_tracking: ConnectionTracking::default(),
            tags: Tags::new(),
            client_token: None,
        }
    }
}

/// Makes an interface, attached to nothing, and puts its row; nothing is put on an error.
///
/// # Errors
/// EC2's own for the subnet, groups, addresses, counts, tags and quotas.
pub fn make(tx: &mut Transaction, new: NewInterface) -> Result<NetworkInterface, Error> {
    let subnet = tx.find::<Subnet>(new.subnet)?;
    tag::allowed(&new.tags)?;
    description_allowed(&new.description)?;
    tracking_allowed(new.connection_tracking)?;
    if NetworkInterface::table(tx.region()).len() >= quota::INTERFACES_PER_REGION {
        return Err(Error::new(
            "NetworkInterfaceLimitExceeded",
            format!(
                "The maximum number of network interfaces ({}) has been reached.",
                quota::INTERFACES_PER_REGION
            ),
        ));
    }
    let groups = match new.interface_type {
        InterfaceType::NatGateway => Vec::new(),
        InterfaceType::Interface => groups_allowed(tx, subnet.vpc, Some(subnet.id), &new.groups)?,
    };
    let private = address::choose_v4(
        tx,
        &subnet,
        subnet.cidr.is_some(),
        new.primary,
        &new.secondary,
        new.secondary_count,
    )?;
    let by_default = u32::from(subnet.assign_ipv6_on_creation && new.ipv6.is_empty());
    let count = match new.ipv6_count {
        Some(count) => count,
        None if new.interface_type == InterfaceType::Interface => by_default,
        None => 0,
    };
    let ipv6 = address::choose_v6(tx, &subnet, &new.ipv6, count)?;
    if private.is_empty() && ipv6.is_empty() {
        return Err(Error::invalid_value(format!(
            "The subnet {} has no IPv4 block: an interface in it needs an IPv6 address",
            subnet.id
        )));
    }
    address::within_limit(None, private.len(), ipv6.len())?;
    let eni = NetworkInterface {
        id: tx.fresh_id::<NetworkInterface>(),
        owner: tx.account(),
        vpc: subnet.vpc,
        subnet: subnet.id,
        zone: subnet.zone,
        mac: free_mac(tx),
        interface_type: new.interface_type,
        description: new.description,
        private_addresses: private
            .into_iter()
            .map(|ip| PrivateAddress { ip, public: None })
            .collect(),
        ipv6_addresses: ipv6,
        groups,
        source_dest_check: new.interface_type == InterfaceType::Interface,
        attachment: None,
        requester_managed: new.requester_managed,
        connection_tracking: new.connection_tracking,
        client_token: new.client_token,
        tags: new.tags,
    };
    tx.put(eni.clone());
    Ok(eni)
}

/// Deletes an interface's row, and with it the associations of its Elastic IPs. Routes to it become blackholes.
pub fn remove(tx: &mut Transaction, id: EniId) {
    for allocation in elastic_ips(tx.region(), id) {
        elastic_ip::disassociate(tx, allocation);
    }
    tx.delete(Key::NetworkInterface(id));
}

/// The Elastic IPs associated with an interface's addresses.
pub(crate) fn elastic_ips(region: &Region, id: EniId) -> Vec<atoll_model::AllocationId> {
    region
        .get::<NetworkInterface>(id)
        .map(|eni| {
            eni.private_addresses
                .iter()
                .filter_map(|a| a.public?.elastic)
                .map(|(allocation, _)| allocation)
                .collect()
        })
        .unwrap_or_default()
}

/// How EC2 calls the state an interface is in.
pub fn status(eni: &NetworkInterface) -> &'static str {
    match &eni.attachment {
        Some(attachment) => match attachment.state {
            AttachmentState::Attaching => "attaching",
            AttachmentState::Attached => "in-use",
            AttachmentState::Detaching => "detaching",
        },
        None if eni.requester_managed => "in-use",
        None => "available",
    }
}

/// A MAC that no interface of the region has: `02`, an even octet (routers' are odd), four more.
fn free_mac(tx: &mut Transaction) -> Mac {
    loop {
        let mut mac = Mac::local(tx.draw());
        mac.0[1] &= 0xfe;
        if tx.region().indexed(Index::Mac(mac)).next().is_none() {
            return mac;
        }
    }
}

pub(crate) fn description_allowed(description: &str) -> Result<(), Error> {
    if description.chars().count() > MAX_DESCRIPTION {
        return Err(Error::invalid_value(format!(
            "Value for parameter description is invalid. It may have {MAX_DESCRIPTION} characters."
        )));
    }
    Ok(())
}

/// semantics 46: the ranges of the idle timeouts.
pub(crate) fn tracking_allowed(tracking: ConnectionTracking) -> Result<(), Error> {
    for (name, value, from, to) in [
        ("TcpEstablishedTimeout", tracking.tcp_established, 60, 432_000),
        ("UdpStreamTimeout", tracking.udp_stream, 60, 180),
        ("UdpTimeout", tracking.udp_timeout, 30, 60),
    ] {
        if let Some(value) = value.filter(|v| !(from..=to).contains(v)) {
            return Err(Error::invalid_value(format!(
                "Invalid value '{value}' for {name}: it must be of {from} to {to} seconds"
            )));
        }
    }
    Ok(())
}

/// The groups of an interface: the named ones without repetition, or the VPC's default group. `launching` is the
/// subnet of an interface that is being made; it only changes EC2's words.
pub(crate) fn groups_allowed(
    tx: &Transaction,
    vpc: VpcId,
    launching: Option<SubnetId>,
    named: &[SecurityGroupId],
) -> Result<Vec<SecurityGroupId>, Error> {
    if named.is_empty() {
        return Ok(vec![tx.find::<Vpc>(vpc)?.default_security_group]);
    }
    let mut seen = BTreeSet::new();
    let groups: Vec<_> = named.iter().copied().filter(|id| seen.insert(*id)).collect();
    // semantics 52
    if groups.len() > quota::GROUPS_PER_INTERFACE {
        return Err(Error::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            format!(
                "The maximum number of security groups per interface ({}) has been reached.",
                quota::GROUPS_PER_INTERFACE
            ),
        ));
    }
    for id in &groups {
        let group = tx.find::<SecurityGroup>(*id)?;
        if group.vpc != vpc {
            return Err(match launching {
                Some(subnet) => Error::new(
                    "InvalidParameter",
                    format!("Security group {id} and subnet {subnet} belong to different networks."),
                ),
                None => Error::new(
                    "InvalidGroup.NotFound",
                    "You have specified two resources that belong to different networks.",
                ),
            });
        }
    }
    Ok(groups)
}

/// What a service made is the service's to change.
pub(crate) fn managed_by_caller(eni: &NetworkInterface) -> Result<(), Error> {
    if eni.requester_managed {
        return Err(Error::new(
            "OperationNotPermitted",
            format!(
                "You are not allowed to manage the network interface '{}': a NAT gateway does",
                eni.id
            ),
        ));
    }
    Ok(())
}

pub(crate) fn in_use(id: EniId) -> Error {
    Error::new(
        "InvalidNetworkInterface.InUse",
        format!("Interface: [{id}] in use."),
    )
}

/// CreateNetworkInterface.
#[derive(Clone, Debug)]
pub struct CreateNetworkInterface {
    /// What to make; its `client_token` is set here.
    pub new: NewInterface,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
}

impl Command for CreateNetworkInterface {
    type Reply = NetworkInterface;

    fn apply(self, tx: &mut Transaction) -> Result<NetworkInterface, Error> {
        let CreateNetworkInterface {
            mut new,
            client_token,
        } = self;
        let token = client_token.as_deref();
        new.client_token = match idempotency::look_up(tx, token, &new, |row| match row {
            Row::NetworkInterface(eni) => eni.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Untokened => None,
            Repeated::New(token) => Some(token),
            Repeated::Before(keys) => {
                let made = keys.into_iter().find_map(|key| match key {
                    Key::NetworkInterface(id) => tx.find::<NetworkInterface>(id).ok(),
                    _ => None,
                });
                return made
                    .map(|eni| (*eni).clone())
                    .ok_or_else(|| Error::internal("a client token leads to no interface"));
            }
        };
        make(tx, new)
    }
}

/// DeleteNetworkInterface.
#[derive(Clone, Debug)]
pub struct DeleteNetworkInterface {
    /// Which.
    pub id: EniId,
}

impl Command for DeleteNetworkInterface {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let eni = tx.find::<NetworkInterface>(self.id)?;
        managed_by_caller(&eni)?;
        if eni.attachment.is_some() {
            // Another code than an attachment's refusal has: clients look for these words.
            let message = format!("Network interface '{}' is currently in use.", self.id);
            return Err(Error::new("InvalidParameterValue", message));
        }
        remove(tx, self.id);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
