//! Subnets and the addresses in them: which are free, which are reserved, who holds one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_model::subnet::{HostnameType, SubnetCidrAssociation};
use atoll_model::{
    CidrState, Key, NetworkAcl, RouteTable, Subnet, SubnetCidrAssociationId, SubnetId, Tags, Vpc, VpcId,
    ZoneName, quota,
};
use atoll_net::{Family, Prefix};

use crate::error::Error;
use crate::index::Index;
use crate::state::Region;
use crate::tag;
use crate::transaction::{Command, Transaction};

/// Length of every IPv6 block of a subnet (semantics 53).
pub const IPV6_SUBNET_LENGTH: u8 = 64;
/// Addresses of every block that nobody gets (semantics 54).
pub const RESERVED: u128 = Subnet::RESERVED_FIRST + 1;

/// What a new subnet is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubnet {
    /// Its VPC.
    pub vpc: VpcId,
    /// Its zone; without one the zone of the region with the fewest subnets of this VPC.
    pub zone: Option<ZoneName>,
    /// Its IPv4 block; `None` only for an IPv6-only subnet.
    pub cidr: Option<Prefix>,
    /// Its IPv6 block.
    pub ipv6_cidr: Option<Prefix>,
    /// Whether it is IPv6-only.
    pub ipv6_native: bool,
    /// Tags.
    pub tags: Tags,
}

/// CreateSubnet: the subnet, in its VPC's default network ACL (semantics 26).
pub type CreateSubnet = NewSubnet;

impl Command for CreateSubnet {
    type Reply = SubnetId;

    fn apply(self, tx: &mut Transaction) -> Result<SubnetId, Error> {
        tag::allowed(&self.tags)?;
        create(tx, self, false)
    }
}

pub(crate) fn create(tx: &mut Transaction, new: NewSubnet, is_default: bool) -> Result<SubnetId, Error> {
    let vpc = tx.find::<Vpc>(new.vpc)?;
    match (new.ipv6_native, new.cidr, new.ipv6_cidr) {
        (true, Some(_), _) => {
            return Err(Error::invalid_combination(
                "The parameter CidrBlock may not be used with Ipv6Native: an IPv6-only subnet has no IPv4 CIDR block.",
            ));
        }
        (true, None, None) => return Err(Error::missing("Ipv6CidrBlock")),
        (false, None, _) => return Err(Error::missing("CidrBlock")),
        (true, None, Some(_)) | (false, Some(_), _) => {}
    }
    let siblings: Vec<_> = tx.region().dependants_of::<Subnet>(Key::Vpc(vpc.id)).collect();
    if siblings.len() >= quota::SUBNETS_PER_VPC {
        return Err(Error::new(
            "SubnetLimitExceeded",
            "The maximum number of subnets has been reached.",
        ));
    }
    if let Some(block) = new.cidr {
        check_ipv4_block(&vpc, &siblings, block)?;
    }
    if let Some(block) = new.ipv6_cidr {
        check_ipv6_block(&vpc, &siblings, block)?;
    }
    let zones = tx.region().name().zones();
    let zone = match new.zone {
        Some(zone) if zones.contains(&zone) => zone,
        Some(zone) => {
            let names: Vec<String> = zones.iter().map(ZoneName::to_string).collect();
            return Err(Error::invalid_value(format!(
                "Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the \
                 following availability zones: {}.",
                names.join(", ")
            )));
        }
        None => zones
            .into_iter()
            .min_by_key(|zone| siblings.iter().filter(|s| s.zone == *zone).count())
            .ok_or_else(|| Error::internal("the region has no zones"))?,
    };
    let id = tx.fresh_id::<Subnet>();
    let ipv6_cidrs = match new.ipv6_cidr {
        Some(block) => vec![association(tx, block)],
        None => Vec::new(),
    };
    tx.put(Subnet {
        id,
        owner: tx.account(),
        vpc: vpc.id,
        zone,
        cidr: new.cidr,
        ipv6_cidrs,
        default_for_az: is_default,
        map_public_ip_on_launch: is_default,
        // Nothing else could be assigned in an IPv6-only subnet.
        assign_ipv6_on_creation: new.ipv6_native,
        enable_dns64: false,
        hostname_type: if new.ipv6_native {
            HostnameType::ResourceName
        } else {
            HostnameType::IpName
        },
        resource_name_a_record: false,
        resource_name_aaaa_record: false,
        tags: new.tags,
    });
    let acl_association = tx.fresh();
    tx.update::<NetworkAcl>(vpc.default_network_acl, |acl| {
        acl.associations.insert(acl_association, id);
    })?;
    Ok(id)
}

fn association(tx: &mut Transaction, block: Prefix) -> SubnetCidrAssociation {
    SubnetCidrAssociation {
        id: tx.fresh(),
        block,
        state: CidrState::Associated,
    }
}

fn range_error(block: Prefix) -> Error {
    Error::new("InvalidSubnet.Range", format!("The CIDR '{block}' is invalid."))
}

fn check_conflict(siblings: &[std::sync::Arc<Subnet>], block: Prefix) -> Result<(), Error> {
    if siblings.iter().any(|s| s.blocks().any(|b| b.overlaps(block))) {
        return Err(Error::new(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{block}' conflicts with another subnet"),
        ));
    }
    Ok(())
}

fn check_ipv4_block(vpc: &Vpc, siblings: &[std::sync::Arc<Subnet>], block: Prefix) -> Result<(), Error> {
    // semantics 53
    let sized = block.family() == Family::V4 && (16..=28).contains(&block.length());
    if !sized || !vpc.blocks().any(|b| b.covers(block)) {
        return Err(range_error(block));
    }
    check_conflict(siblings, block)
}

fn check_ipv6_block(vpc: &Vpc, siblings: &[std::sync::Arc<Subnet>], block: Prefix) -> Result<(), Error> {
    // semantics 53
    let sized = block.family() == Family::V6 && block.length() == IPV6_SUBNET_LENGTH;
    if !sized || !vpc.blocks().any(|b| b.covers(block)) {
        return Err(range_error(block));
    }
    check_conflict(siblings, block)
}

/// DeleteSubnet: with its associations; no interface, instance or NAT gateway may be left in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSubnet {
    /// The subnet.
    pub subnet: SubnetId,
}

impl Command for DeleteSubnet {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let id = tx.find::<Subnet>(self.subnet)?.id;
        let held = tx
            .region()
            .dependants(Key::Subnet(id))
            .any(|key| !matches!(key, Key::RouteTable(_) | Key::NetworkAcl(_)));
        if held {
            return Err(Error::dependency(format!(
                "The subnet '{id}' has dependencies and cannot be deleted."
            )));
        }
        let tables: Vec<_> = tx.region().dependants_of::<RouteTable>(Key::Subnet(id)).collect();
        for table in tables {
            let mut table = (*table).clone();
            table
                .associations
                .retain(|_, target| *target != atoll_model::route_table::AssociationTarget::Subnet(id));
            tx.put(table);
        }
        let acls: Vec<_> = tx.region().dependants_of::<NetworkAcl>(Key::Subnet(id)).collect();
        for acl in acls {
            let mut acl = (*acl).clone();
            acl.associations.retain(|_, subnet| *subnet != id);
            tx.put(acl);
        }
        tx.delete(Key::Subnet(id));
        Ok(())
    }
}

/// One attribute of a subnet, with its new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubnetAttribute {
    /// Whether new primary interfaces get a public IPv4 address.
    MapPublicIpOnLaunch(bool),
    /// Whether new interfaces get an IPv6 address.
    AssignIpv6AddressOnCreation(bool),
    /// Whether the resolver synthesises NAT64 addresses.
    EnableDns64(bool),
    /// How instances are named.
    PrivateDnsHostnameTypeOnLaunch(HostnameType),
    /// Whether an A record by resource name is answered.
    EnableResourceNameDnsARecordOnLaunch(bool),
    /// Whether an AAAA record by resource name is answered.
    EnableResourceNameDnsAaaaRecordOnLaunch(bool),
}

/// ModifySubnetAttribute: one attribute a call, as in EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifySubnetAttribute {
    /// The subnet.
    pub subnet: SubnetId,
    /// What changes.
    pub attribute: SubnetAttribute,
}

impl Command for ModifySubnetAttribute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let mut subnet = (*tx.find::<Subnet>(self.subnet)?).clone();
        let needs_ipv6 = |name: &str, subnet: &Subnet| match subnet.ipv6_cidr() {
            Some(_) => Ok(()),
            None => Err(Error::invalid_value(format!(
                "Invalid value 'true' for {name}. The subnet '{}' has no IPv6 CIDR block.",
                subnet.id
            ))),
        };
        let needs_ipv4 = |name: &str, value: &str, subnet: &Subnet| match subnet.cidr {
            Some(_) => Ok(()),
            None => Err(Error::invalid_value(format!(
                "Invalid value '{value}' for {name}. The subnet '{}' is IPv6-only.",
                subnet.id
            ))),
        };
        match self.attribute {
            SubnetAttribute::MapPublicIpOnLaunch(value) => {
                if value {
                    needs_ipv4("mapPublicIpOnLaunch", "true", &subnet)?;
                }
                subnet.map_public_ip_on_launch = value;
            }
            SubnetAttribute::AssignIpv6AddressOnCreation(value) => {
                if value {
                    needs_ipv6("assignIpv6AddressOnCreation", &subnet)?;
                } else {
                    needs_ipv4("assignIpv6AddressOnCreation", "false", &subnet)?;
                }
                subnet.assign_ipv6_on_creation = value;
            }
            SubnetAttribute::EnableDns64(value) => {
                if value {
                    needs_ipv6("enableDns64", &subnet)?;
                }
                subnet.enable_dns64 = value;
            }
            SubnetAttribute::PrivateDnsHostnameTypeOnLaunch(value) => {
                if value == HostnameType::IpName {
                    needs_ipv4("privateDnsHostnameTypeOnLaunch", value.as_str(), &subnet)?;
                }
                subnet.hostname_type = value;
            }
            SubnetAttribute::EnableResourceNameDnsARecordOnLaunch(value) => {
                if value {
                    needs_ipv4("enableResourceNameDnsARecordOnLaunch", "true", &subnet)?;
                }
                subnet.resource_name_a_record = value;
            }
            SubnetAttribute::EnableResourceNameDnsAaaaRecordOnLaunch(value) => {
                if value {
                    needs_ipv6("enableResourceNameDnsAAAARecordOnLaunch", &subnet)?;
                }
                subnet.resource_name_aaaa_record = value;
            }
        }
        tx.put(subnet);
        Ok(())
    }
}

/// AssociateSubnetCidrBlock: an IPv6 block; a subnet has at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateSubnetCidrBlock {
    /// The subnet.
    pub subnet: SubnetId,
    /// A /64 of a block of the VPC.
    pub ipv6_cidr: Prefix,
}

impl Command for AssociateSubnetCidrBlock {
    type Reply = SubnetCidrAssociation;

    fn apply(self, tx: &mut Transaction) -> Result<SubnetCidrAssociation, Error> {
        let mut subnet = (*tx.find::<Subnet>(self.subnet)?).clone();
        let vpc = tx.find::<Vpc>(subnet.vpc)?;
        if subnet.ipv6_cidr().is_some() {
            return Err(Error::new(
                "SubnetCidrBlockLimitExceeded",
                format!("The subnet '{}' already has an IPv6 CIDR block", subnet.id),
            ));
        }
        let siblings: Vec<_> = tx.region().dependants_of::<Subnet>(Key::Vpc(vpc.id)).collect();
        check_ipv6_block(&vpc, &siblings, self.ipv6_cidr)?;
        let added = association(tx, self.ipv6_cidr);
        subnet.ipv6_cidrs.push(added.clone());
        tx.put(subnet);
        Ok(added)
    }
}

/// DisassociateSubnetCidrBlock. The reply is the subnet and the association as it was, now disassociated; the
/// subnet no longer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateSubnetCidrBlock {
    /// The association.
    pub association: SubnetCidrAssociationId,
}

impl Command for DisassociateSubnetCidrBlock {
    type Reply = (SubnetId, SubnetCidrAssociation);

    fn apply(self, tx: &mut Transaction) -> Result<(SubnetId, SubnetCidrAssociation), Error> {
        let id = self.association;
        let found = tx.region().list::<Subnet>(tx.account()).find_map(|subnet| {
            let association = subnet.ipv6_cidrs.iter().find(|c| c.id == id)?;
            Some((subnet.clone(), association.clone()))
        });
        let Some((subnet, mut gone)) = found else {
            return Err(Error::new(
                "InvalidSubnetCidrBlockAssociationID.NotFound",
                format!("The subnet CIDR block association ID '{id}' does not exist"),
            ));
        };
        if subnet.cidr.is_none() {
            return Err(Error::new(
                "OperationNotPermitted",
                format!(
                    "The subnet CIDR block with association ID {id} may not be disassociated. It is the only CIDR block \
                     of the IPv6-only subnet '{}'",
                    subnet.id
                ),
            ));
        }
        if tx
            .region()
            .addresses_in(subnet.id)
            .any(|a| gone.block.contains(a))
        {
            return Err(Error::new(
                "InvalidCidrBlock.InUse",
                format!(
                    "The subnet {} currently has network interfaces with addresses within CIDR block {}",
                    subnet.id, gone.block
                ),
            ));
        }
        let mut subnet = (*subnet).clone();
        let subnet_id = subnet.id;
        subnet.ipv6_cidrs.retain(|c| c.id != id);
        // What needs an IPv6 block goes with it.
        subnet.assign_ipv6_on_creation = false;
        subnet.enable_dns64 = false;
        subnet.resource_name_aaaa_record = false;
        tx.put(subnet);
        gone.state = CidrState::Disassociated;
        Ok((subnet_id, gone))
    }
}

/// How many IPv4 addresses of a subnet nobody holds; 0 for an IPv6-only one.
pub fn available_ips(region: &Region, subnet: &Subnet) -> u128 {
    let Some(block) = subnet.cidr else { return 0 };
    let taken = region.addresses_in(subnet.id).filter(IpAddr::is_ipv4).count();
    block
        .size()
        .saturating_sub(RESERVED)
        .saturating_sub(taken as u128)
}

/// Whether an interface may take this very address: it lies in the subnet, is not reserved (semantics 54), and
/// nobody holds it.
pub fn check_free(region: &Region, subnet: &Subnet, addr: IpAddr) -> Result<(), Error> {
    let Some(block) = subnet.blocks().find(|b| b.contains(addr)) else {
        return Err(Error::invalid_value(format!(
            "Address {addr} does not fall within the subnet's address range"
        )));
    };
    if Subnet::is_reserved(block, addr) {
        return Err(Error::invalid_value(format!(
            "Address {addr} is in subnet's reserved address range"
        )));
    }
    if is_taken(region, subnet.id, addr) {
        return Err(Error::new(
            "InvalidIPAddress.InUse",
            format!("Address {addr} is in use."),
        ));
    }
    Ok(())
}

fn is_taken(region: &Region, subnet: SubnetId, addr: IpAddr) -> bool {
    region.indexed(Index::Address(subnet, addr)).next().is_some()
}

fn exhausted(subnet: SubnetId, wanted: usize) -> Error {
    Error::new(
        "InsufficientFreeAddressesInSubnet",
        format!(
            "The subnet '{subnet}' does not have enough free addresses to satisfy the request for {wanted}."
        ),
    )
}

/// A free IPv4 address of a subnet.
pub fn free_ipv4(tx: &mut Transaction, subnet: SubnetId) -> Result<Ipv4Addr, Error> {
    let free = free_ipv4s(tx, subnet, 1, &[])?;
    free.first().copied().ok_or_else(|| exhausted(subnet, 1))
}

/// So many free IPv4 addresses of a subnet, none of them among `except`.
///
/// The search begins at a place that the seed gives, so that an address just freed is not at once another's.
pub fn free_ipv4s(
    tx: &mut Transaction,
    subnet: SubnetId,
    count: usize,
    except: &[Ipv4Addr],
) -> Result<Vec<Ipv4Addr>, Error> {
    let row = tx.find::<Subnet>(subnet)?;
    let Some(block) = row.cidr else {
        return Err(Error::invalid_value(format!(
            "The subnet '{subnet}' is IPv6-only: it has no IPv4 addresses."
        )));
    };
    if available_ips(tx.region(), &row) < count as u128 {
        return Err(exhausted(subnet, count));
    }
    // A subnet's block is a /28 or larger, so at least 11 remain.
    let usable = block.size().saturating_sub(RESERVED).max(1);
    let start = u128::from(tx.draw()) % usable;
    let free: Vec<Ipv4Addr> = (0..usable)
        .filter_map(|i| block.nth(Subnet::RESERVED_FIRST + (start + i) % usable))
        .filter_map(|addr| match addr {
            IpAddr::V4(v4) if !except.contains(&v4) && !is_taken(tx.region(), subnet, addr) => Some(v4),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .take(count)
        .collect();
    if free.len() < count {
        return Err(exhausted(subnet, count));
    }
    Ok(free)
}

/// A free IPv6 address of a subnet.
pub fn free_ipv6(tx: &mut Transaction, subnet: SubnetId) -> Result<Ipv6Addr, Error> {
    let free = free_ipv6s(tx, subnet, 1, &[])?;
    free.first().copied().ok_or_else(|| exhausted(subnet, 1))
}

/// So many free IPv6 addresses of a subnet, none of them among `except`.
pub fn free_ipv6s(
    tx: &mut Transaction,
    subnet: SubnetId,
    count: usize,
    except: &[Ipv6Addr],
) -> Result<Vec<Ipv6Addr>, Error> {
    let row = tx.find::<Subnet>(subnet)?;
    let Some(block) = row.ipv6_cidr() else {
        return Err(Error::invalid_value(format!(
            "The subnet '{subnet}' has no IPv6 CIDR block."
        )));
    };
    let mut free: Vec<Ipv6Addr> = Vec::new();
    // Of 2^64 addresses a drawn one is almost never taken; the bound only keeps the loop honest.
    for _ in 0..count.saturating_mul(4).saturating_add(64) {
        if free.len() == count {
            break;
        }
        let Some(addr) = block.nth(u128::from(tx.draw())) else {
            continue;
        };
        if let IpAddr::V6(v6) = addr
            && !Subnet::is_reserved(block, addr)
            && !is_taken(tx.region(), subnet, addr)
            && !except.contains(&v6)
            && !free.contains(&v6)
        {
            free.push(v6);
        }
    }
    if free.len() < count {
        return Err(exhausted(subnet, count));
    }
    Ok(free)
}
