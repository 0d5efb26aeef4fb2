//! VPCs: creation with everything that belongs to one, attributes, deletion, the default VPC.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use atoll_model::route_table::{AssociationTarget, RouteOrigin, RouteTarget};
use atoll_model::vpc::Tenancy;
use atoll_model::{
    AclEntry, Key, NetworkAcl, NetworkAclId, Route, RouteTable, RouteTableAssociationId, RouteTableId,
    RuleAction, Tags, Traffic, Vpc, VpcId, quota,
};
use atoll_net::{Family, Prefix};

use crate::error::Error;
use crate::host;
use crate::internet_gateway::{AttachInternetGateway, CreateInternetGateway};
use crate::route_table::LOCAL_ROUTE;
use crate::security_group;
use crate::subnet::{self, NewSubnet};
use crate::tag;
use crate::transaction::{Command, Transaction};
use crate::vpc_cidr;

/// The number of the default ACL's IPv4 rule.
const DEFAULT_RULE_V4: u16 = 100;
/// The number of the rule it gets with the VPC's first IPv6 block.
const DEFAULT_RULE_V6: u16 = 101;

/// CreateVpc: the VPC with its main route table, default network ACL and default security group (semantics 6, 26,
/// 37), in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVpc {
    /// The primary IPv4 block.
    pub cidr: Prefix,
    /// Whether an IPv6 block is associated from the start.
    pub amazon_provided_ipv6: bool,
    /// Tenancy of its instances.
    pub tenancy: Tenancy,
    /// Tags.
    pub tags: Tags,
}

impl Command for CreateVpc {
    type Reply = VpcId;

    fn apply(self, tx: &mut Transaction) -> Result<VpcId, Error> {
        tag::allowed(&self.tags)?;
        create(tx, self, false)
    }
}

fn create(tx: &mut Transaction, new: CreateVpc, is_default: bool) -> Result<VpcId, Error> {
    vpc_cidr::check_block(new.cidr)?;
    if tx.region().list::<Vpc>(tx.account()).count() >= quota::VPCS_PER_REGION {
        return Err(Error::new(
            "VpcLimitExceeded",
            "The maximum number of VPCs has been reached.",
        ));
    }
    let (id, owner) = (tx.fresh_id::<Vpc>(), tx.account());
    let table_id: RouteTableId = tx.fresh_id::<RouteTable>();
    let acl_id: NetworkAclId = tx.fresh_id::<NetworkAcl>();
    let group_id = security_group::default_group(tx, id).id;

    let mut ipv6_cidrs = Vec::new();
    if new.amazon_provided_ipv6 {
        let block = vpc_cidr::free_ipv6_block(tx.region())?;
        ipv6_cidrs.push(vpc_cidr::association(tx, block));
    }
    let cidrs = vec![vpc_cidr::association(tx, new.cidr)];
    let vpc = Vpc {
        id,
        owner,
        region: tx.region().name(),
        cidrs,
        ipv6_cidrs,
        is_default,
        tenancy: new.tenancy,
        enable_dns_support: true,
        // semantics 99: on in the default VPC only.
        enable_dns_hostnames: is_default,
        enable_network_address_usage_metrics: false,
        dhcp_options: None,
        main_route_table: table_id,
        default_network_acl: acl_id,
        default_security_group: group_id,
        network: host::free_network(tx.region(), id),
        created: tx.now(),
        tags: new.tags,
    };

    let main: RouteTableAssociationId = tx.fresh();
    tx.put(RouteTable {
        id: table_id,
        owner,
        vpc: id,
        routes: vpc.blocks().map(|block| (block, LOCAL_ROUTE)).collect(),
        associations: BTreeMap::from([(main, AssociationTarget::Main)]),
        client_token: None,
        tags: Tags::new(),
    });
    tx.put(NetworkAcl {
        id: acl_id,
        owner,
        vpc: id,
        is_default: true,
        ingress: default_entries(),
        egress: default_entries(),
        associations: BTreeMap::new(),
        client_token: None,
        tags: Tags::new(),
    });
    let has_ipv6 = vpc.has_family(Family::V6);
    tx.put(vpc.clone());
    if has_ipv6 {
        open_defaults_to_ipv6(tx, &vpc)?;
    }
    Ok(id)
}

fn allow_all(cidr: Prefix) -> AclEntry {
    AclEntry {
        action: RuleAction::Allow,
        cidr,
        traffic: Traffic::All,
    }
}

/// semantics 26: the default ACL allows all.
fn default_entries() -> BTreeMap<u16, AclEntry> {
    BTreeMap::from([(DEFAULT_RULE_V4, allow_all(Prefix::ALL_V4))])
}

/// What a VPC's IPv6 block adds to its default ACL and group, each only where a person has not changed the rules
/// (semantics 27).
pub(crate) fn open_defaults_to_ipv6(tx: &mut Transaction, vpc: &Vpc) -> Result<(), Error> {
    let mut acl = (*tx.find::<NetworkAcl>(vpc.default_network_acl)?).clone();
    if acl.ingress == default_entries() && acl.egress == default_entries() {
        acl.ingress.insert(DEFAULT_RULE_V6, allow_all(Prefix::ALL_V6));
        acl.egress.insert(DEFAULT_RULE_V6, allow_all(Prefix::ALL_V6));
        tx.put(acl);
    }
    security_group::ipv6_block_associated(tx, vpc.id)
}

/// DeleteVpc: with its main route table, default ACL and default group; nothing else may be left in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteVpc {
    /// The VPC.
    pub vpc: VpcId,
}

impl Command for DeleteVpc {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let vpc = tx.find::<Vpc>(self.vpc)?;
        let own = [
            Key::RouteTable(vpc.main_route_table),
            Key::NetworkAcl(vpc.default_network_acl),
            Key::SecurityGroup(vpc.default_security_group),
        ];
        let held = tx
            .region()
            .dependants(Key::Vpc(vpc.id))
            .any(|key| !own.contains(&key));
        // A group of another VPC may name this one's default group (semantics 39).
        let named = tx
            .region()
            .dependants(Key::SecurityGroup(vpc.default_security_group))
            .next()
            .is_some();
        if held || named {
            return Err(Error::dependency(format!(
                "The vpc '{}' has dependencies and cannot be deleted.",
                vpc.id
            )));
        }
        for key in own {
            tx.delete(key);
        }
        tx.delete(Key::Vpc(vpc.id));
        Ok(())
    }
}

/// One attribute of a VPC, with its new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpcAttribute {
    /// Whether the resolver answers (semantics 99).
    EnableDnsSupport(bool),
    /// Whether instances with public addresses get public names (semantics 99).
    EnableDnsHostnames(bool),
    /// Whether address usage metrics are kept.
    EnableNetworkAddressUsageMetrics(bool),
}

/// ModifyVpcAttribute: one attribute a call, as in EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyVpcAttribute {
    /// The VPC.
    pub vpc: VpcId,
    /// What changes.
    pub attribute: VpcAttribute,
}

impl Command for ModifyVpcAttribute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        tx.update::<Vpc>(self.vpc, |vpc| match self.attribute {
            VpcAttribute::EnableDnsSupport(value) => vpc.enable_dns_support = value,
            VpcAttribute::EnableDnsHostnames(value) => vpc.enable_dns_hostnames = value,
            VpcAttribute::EnableNetworkAddressUsageMetrics(value) => {
                vpc.enable_network_address_usage_metrics = value;
            }
        })
    }
}

/// CreateDefaultVpc: 172.31.0.0/16 with a public /20 in every zone, an internet gateway and the route to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateDefaultVpc;

impl Command for CreateDefaultVpc {
    type Reply = VpcId;

    fn apply(self, tx: &mut Transaction) -> Result<VpcId, Error> {
        if tx.region().list::<Vpc>(tx.account()).any(|vpc| vpc.is_default) {
            return Err(Error::new(
                "DefaultVpcAlreadyExists",
                "A Default VPC already exists for this account in this region.",
            ));
        }
        let cidr = Prefix::containing(IpAddr::V4(Ipv4Addr::new(172, 31, 0, 0)), 16);
        let new = CreateVpc {
            cidr,
            amazon_provided_ipv6: false,
            tenancy: Tenancy::Default,
            tags: Tags::new(),
        };
        let vpc = create(tx, new, true)?;
        for (index, zone) in (0u128..).zip(tx.region().name().zones()) {
            let block = cidr.subnet(20, index).ok_or_else(|| {
                Error::internal("a region has more zones than a default VPC has /20 blocks")
            })?;
            subnet::create(
                tx,
                NewSubnet {
                    vpc,
                    zone: Some(zone),
                    cidr: Some(block),
                    ipv6_cidr: None,
                    ipv6_native: false,
                    tags: Tags::new(),
                },
                true,
            )?;
        }
        let gateway = CreateInternetGateway { tags: Tags::new() }.apply(tx)?;
        AttachInternetGateway { gateway, vpc }.apply(tx)?;
        let main = tx.find::<Vpc>(vpc)?.main_route_table;
        tx.update::<RouteTable>(main, |table| {
            table.routes.insert(
                Prefix::ALL_V4,
                Route {
                    target: RouteTarget::InternetGateway(gateway),
                    origin: RouteOrigin::CreateRoute,
                },
            );
        })?;
        Ok(vpc)
    }
}
