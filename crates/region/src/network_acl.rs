//! Network ACLs: made, their rules, which subnet stands in which, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_model::network_acl::MAX_RULE;
use atoll_model::{
    AclEntry, Direction, IcmpMatch, Key, NetworkAcl, NetworkAclAssociationId, NetworkAclId, Protocol, Row,
    SubnetId, Tags, Traffic, Vpc, VpcId, quota,
};
use atoll_net::{Family, PortRange};

use crate::error::Error;
use crate::idempotency::{self, Repeated, look_up};
use crate::state::Region;
use crate::tag;
use crate::transaction::{Command, Transaction};

/// The ACL in which a subnet stands; every subnet stands in exactly one (semantics 26).
pub fn of_subnet(region: &Region, subnet: SubnetId) -> Option<Arc<NetworkAcl>> {
    region.dependants_of::<NetworkAcl>(Key::Subnet(subnet)).next()
}

/// CreateNetworkAcl: it denies all until rules are added (semantics 26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateNetworkAcl {
    /// The VPC.
    pub vpc: VpcId,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Command for CreateNetworkAcl {
    type Reply = NetworkAclId;

    fn apply(self, tx: &mut Transaction) -> Result<NetworkAclId, Error> {
        tag::allowed(&self.tags)?;
        let request = (self.vpc, &self.tags);
        let token = self.client_token.as_deref();
        let client_token = match look_up(tx, token, &request, |row| match row {
            Row::NetworkAcl(acl) => acl.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Untokened => None,
            Repeated::New(token) => Some(token),
            Repeated::Before(keys) => return idempotency::made::<NetworkAcl>(tx, &keys),
        };
        let vpc = tx.find::<Vpc>(self.vpc)?.id;
        let count = tx.region().dependants_of::<NetworkAcl>(Key::Vpc(vpc)).count();
        if count >= quota::NETWORK_ACLS_PER_VPC {
            return Err(Error::new(
                "NetworkAclLimitExceeded",
                "The maximum number of network ACLs has been reached.",
            ));
        }
        let id = tx.fresh_id::<NetworkAcl>();
        tx.put(NetworkAcl {
            id,
            owner: tx.account(),
            vpc,
            is_default: false,
            ingress: BTreeMap::new(),
            egress: BTreeMap::new(),
            associations: BTreeMap::new(),
            client_token,
            tags: self.tags,
        });
        Ok(id)
    }
}

/// DeleteNetworkAcl: neither the default one nor one in which subnets stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteNetworkAcl {
    /// The ACL.
    pub acl: NetworkAclId,
}

impl Command for DeleteNetworkAcl {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let acl = tx.find::<NetworkAcl>(self.acl)?;
        if acl.is_default {
            return Err(Error::new(
                "InvalidParameterValue",
                format!("cannot delete default network ACL {}", acl.id),
            ));
        }
        if !acl.associations.is_empty() {
            return Err(Error::dependency(format!(
                "The networkAcl '{}' has dependencies and cannot be deleted.",
                acl.id
            )));
        }
        tx.delete(Key::NetworkAcl(acl.id));
        Ok(())
    }
}

fn entries(acl: &NetworkAcl, direction: Direction) -> &BTreeMap<u16, AclEntry> {
    match direction {
        Direction::Ingress => &acl.ingress,
        Direction::Egress => &acl.egress,
    }
}

fn entries_mut(acl: &mut NetworkAcl, direction: Direction) -> &mut BTreeMap<u16, AclEntry> {
    match direction {
        Direction::Ingress => &mut acl.ingress,
        Direction::Egress => &mut acl.egress,
    }
}

/// Whether a rule may have this number and say this.
fn check_entry(number: u16, entry: &AclEntry) -> Result<(), Error> {
    check_number(number)?;
    let wrong_family = match (entry.traffic, entry.cidr.family()) {
        (Traffic::Icmp { .. }, Family::V6) => Some("1 (icmp)"),
        (Traffic::Icmpv6 { .. }, Family::V4) => Some("58 (icmpv6)"),
        _ => None,
    };
    match wrong_family {
        Some(protocol) => Err(Error::invalid_value(format!(
            "The protocol {protocol} does not occur with addresses of the CIDR block {}.",
            entry.cidr
        ))),
        None => Ok(()),
    }
}

/// semantics 22: the final deny (32767, 32768) cannot be touched.
fn check_number(number: u16) -> Result<(), Error> {
    if (1..=MAX_RULE).contains(&number) {
        Ok(())
    } else {
        Err(Error::invalid_value(format!(
            "Value ({number}) for parameter ruleNumber is invalid. A rule number must be from 1 to {MAX_RULE}."
        )))
    }
}

/// semantics 33: rules are counted by direction and family, the final deny among them.
fn check_quota(
    acl: &NetworkAcl,
    direction: Direction,
    except: Option<u16>,
    entry: &AclEntry,
) -> Result<(), Error> {
    let family = entry.cidr.family();
    let count = entries(acl, direction)
        .iter()
        .filter(|(number, e)| Some(**number) != except && e.cidr.family() == family)
        .count();
    if count + 1 >= quota::ACL_RULES {
        return Err(Error::new(
            "NetworkAclEntryLimitExceeded",
            format!(
                "The maximum number of network acl entries has been reached for {}",
                acl.id
            ),
        ));
    }
    Ok(())
}

fn not_found(direction: Direction, number: u16) -> Error {
    Error::new(
        "InvalidNetworkAclEntry.NotFound",
        format!("The network acl entry identified by {number} ({direction}) does not exist"),
    )
}

/// CreateNetworkAclEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateNetworkAclEntry {
    /// The ACL.
    pub acl: NetworkAclId,
    /// Which way.
    pub direction: Direction,
    /// Its number, 1 to 32766; IPv4 and IPv6 rules share the numbers.
    pub number: u16,
    /// What it says.
    pub entry: AclEntry,
}

impl Command for CreateNetworkAclEntry {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let acl = tx.find::<NetworkAcl>(self.acl)?;
        check_entry(self.number, &self.entry)?;
        if entries(&acl, self.direction).contains_key(&self.number) {
            return Err(Error::new(
                "NetworkAclEntryAlreadyExists",
                format!(
                    "The network acl entry identified by {} already exists.",
                    self.number
                ),
            ));
        }
        check_quota(&acl, self.direction, None, &self.entry)?;
        tx.update::<NetworkAcl>(acl.id, |acl| {
            entries_mut(acl, self.direction).insert(self.number, self.entry);
        })
    }
}

/// ReplaceNetworkAclEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceNetworkAclEntry {
    /// The ACL.
    pub acl: NetworkAclId,
    /// Which way.
    pub direction: Direction,
    /// The number of a rule that is there.
    pub number: u16,
    /// What it says from now on.
    pub entry: AclEntry,
}

impl Command for ReplaceNetworkAclEntry {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let acl = tx.find::<NetworkAcl>(self.acl)?;
        check_entry(self.number, &self.entry)?;
        if !entries(&acl, self.direction).contains_key(&self.number) {
            return Err(not_found(self.direction, self.number));
        }
        check_quota(&acl, self.direction, Some(self.number), &self.entry)?;
        tx.update::<NetworkAcl>(acl.id, |acl| {
            entries_mut(acl, self.direction).insert(self.number, self.entry);
        })
    }
}

/// DeleteNetworkAclEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteNetworkAclEntry {
    /// The ACL.
    pub acl: NetworkAclId,
    /// Which way.
    pub direction: Direction,
    /// The number of a rule that is there.
    pub number: u16,
}

impl Command for DeleteNetworkAclEntry {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let acl = tx.find::<NetworkAcl>(self.acl)?;
        check_number(self.number)?;
        if !entries(&acl, self.direction).contains_key(&self.number) {
            return Err(not_found(self.direction, self.number));
        }
        tx.update::<NetworkAcl>(acl.id, |acl| {
            entries_mut(acl, self.direction).remove(&self.number);
        })
    }
}

/// ReplaceNetworkAclAssociation: the subnet of the association goes over to another ACL, under a new association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceNetworkAclAssociation {
    /// The association that is replaced.
    pub association: NetworkAclAssociationId,
    /// The ACL that takes the subnet.
    pub acl: NetworkAclId,
}

impl Command for ReplaceNetworkAclAssociation {
    type Reply = NetworkAclAssociationId;

    fn apply(self, tx: &mut Transaction) -> Result<NetworkAclAssociationId, Error> {
        let found = tx
            .region()
            .list::<NetworkAcl>(tx.account())
            .find_map(|acl| Some((acl.clone(), *acl.associations.get(&self.association)?)));
        let Some((old, subnet)) = found else {
            return Err(Error::new(
                "InvalidAssociationID.NotFound",
                format!("The association ID '{}' does not exist", self.association),
            ));
        };
        let new = tx.find::<NetworkAcl>(self.acl)?;
        if new.vpc != old.vpc {
            return Err(Error::invalid_value(format!(
                "network acl {} and subnet {subnet} belong to different networks",
                new.id
            )));
        }
        let id = tx.fresh();
        tx.update::<NetworkAcl>(old.id, |acl| {
            acl.associations.remove(&self.association);
        })?;
        tx.update::<NetworkAcl>(new.id, |acl| {
            acl.associations.insert(id, subnet);
        })?;
        Ok(id)
    }
}

/// What a rule is about, from the parts in which EC2 and CloudFormation take it: ports for TCP and UDP, type and
/// code for ICMP, -1 for any of those. For other protocols ports and ICMP are without meaning, as in EC2.
///
/// # Errors
/// `MissingParameter` where the protocol needs a part that is not given, `InvalidParameterValue` for numbers that
/// cannot be.
pub fn traffic(
    protocol: Protocol,
    ports: Option<(i32, i32)>,
    icmp: Option<(i32, i32)>,
) -> Result<Traffic, Error> {
    let ports = || {
        let (from, to) = ports.ok_or_else(|| Error::missing("PortRange"))?;
        let port = |number: i32| {
            u16::try_from(number).map_err(|_| {
                Error::invalid_value(format!("port ({number}) out of range; expecting 0 to 65535"))
            })
        };
        PortRange::new(port(from)?, port(to)?).ok_or_else(|| {
            Error::invalid_value(format!("The port range {from} to {to} begins after its end"))
        })
    };
    let icmp = || {
        let (kind, code) = icmp.ok_or_else(|| Error::missing("Icmp"))?;
        let byte = |name: &str, number: i32| match number {
            -1 => Ok(None),
            number => u8::try_from(number).map(Some).map_err(|_| {
                Error::invalid_value(format!(
                    "ICMP {name} ({number}) out of range; expecting -1 to 255"
                ))
            }),
        };
        Ok::<IcmpMatch, Error>(IcmpMatch {
            kind: byte("type", kind)?,
            code: byte("code", code)?,
        })
    };
    Ok(match protocol {
        Protocol::All => Traffic::All,
        Protocol::TCP => Traffic::Tcp { ports: ports()? },
        Protocol::UDP => Traffic::Udp { ports: ports()? },
        Protocol::ICMP => Traffic::Icmp { icmp: icmp()? },
        Protocol::ICMPV6 => Traffic::Icmpv6 { icmp: icmp()? },
        Protocol::Number(number) => Traffic::Other { number },
    })
}
