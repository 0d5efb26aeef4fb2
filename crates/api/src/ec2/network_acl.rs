//! Network ACLs.

use std::sync::Arc;

use atoll_model::network_acl::{FINAL_V4, FINAL_V6};
use atoll_model::{AclEntry, Direction, NetworkAcl, Protocol, RuleAction, Traffic, Vpc};
use atoll_net::{Family, Prefix};
use atoll_region::network_acl::{
    CreateNetworkAcl, CreateNetworkAclEntry, DeleteNetworkAcl, DeleteNetworkAclEntry,
    ReplaceNetworkAclAssociation, ReplaceNetworkAclEntry, traffic,
};
use atoll_region::{Command, Region, Transaction};
use atoll_shapes::ec2::{
    self, CreateNetworkAclEntryRequest, CreateNetworkAclEntryResult, CreateNetworkAclRequest,
    CreateNetworkAclResult, DeleteNetworkAclEntryRequest, DeleteNetworkAclEntryResult,
    DeleteNetworkAclRequest, DeleteNetworkAclResult, DescribeNetworkAclsRequest, DescribeNetworkAclsResult,
    IcmpTypeCode, NetworkAclAssociation, NetworkAclEntry, PortRange, ReplaceNetworkAclAssociationRequest,
    ReplaceNetworkAclAssociationResult, ReplaceNetworkAclEntryRequest, ReplaceNetworkAclEntryResult,
};

use super::listing::Listing;
use crate::wire::{Filters, cidr, id, tag_list, tags_of, value};
use crate::{ApiError, Call, dispatch::Table};

const ENTRY: &[&str] = &[
    "NetworkAclId",
    "RuleNumber",
    "Protocol",
    "RuleAction",
    "Egress",
    "CidrBlock",
    "Ipv6CidrBlock",
    "PortRange",
    "Icmp",
];

pub(super) fn operations(table: &mut Table) {
    table.add(create_network_acl, &["VpcId", "ClientToken", "TagSpecification"]);
    table.add(delete_network_acl, &["NetworkAclId"]);
    table.add(
        describe_network_acls,
        &["NetworkAclId", "Filter", "MaxResults", "NextToken"],
    );
    table.add(create_network_acl_entry, ENTRY);
    table.add(replace_network_acl_entry, ENTRY);
    table.add(
        delete_network_acl_entry,
        &["NetworkAclId", "RuleNumber", "Egress"],
    );
    table.add(
        replace_network_acl_association,
        &["AssociationId", "NetworkAclId"],
    );
}

async fn create_network_acl(
    call: Call,
    request: CreateNetworkAclRequest,
) -> Result<CreateNetworkAclResult, ApiError> {
    let new = CreateNetworkAcl {
        vpc: id(&request.vpc_id)?,
        client_token: request.client_token.clone(),
        tags: tags_of(&request.tag_specifications, "network-acl")?,
    };
    let acl = call
        .submit(move |tx: &mut Transaction| {
            let id = new.apply(tx)?;
            Ok(shape(tx.region(), &*tx.find::<NetworkAcl>(id)?))
        })
        .await?;
    Ok(CreateNetworkAclResult {
        network_acl: Some(acl),
        client_token: request.client_token,
    })
}

async fn delete_network_acl(
    call: Call,
    request: DeleteNetworkAclRequest,
) -> Result<DeleteNetworkAclResult, ApiError> {
    let acl = id(&request.network_acl_id)?;
    call.submit(DeleteNetworkAcl { acl }).await?;
    Ok(DeleteNetworkAclResult::default())
}

async fn describe_network_acls(
    call: Call,
    request: DescribeNetworkAclsRequest,
) -> Result<DescribeNetworkAclsResult, ApiError> {
    let region = call.region()?;
    let of_entries = |acl: &Arc<NetworkAcl>, field: fn(NetworkAclEntry) -> Option<String>| {
        entries(&region, acl)
            .into_iter()
            .filter_map(field)
            .collect::<Vec<_>>()
    };
    let keep = Filters::tagged(|acl: &Arc<NetworkAcl>| &acl.tags)
        .many("association.association-id", |acl| {
            acl.associations.keys().copied().collect::<Vec<_>>()
        })
        .many("association.network-acl-id", |acl| {
            acl.associations.keys().map(|_| acl.id).collect::<Vec<_>>()
        })
        .many("association.subnet-id", |acl| {
            acl.associations.values().copied().collect::<Vec<_>>()
        })
        .one("default", |acl| acl.is_default)
        .many("entry.cidr", |acl| of_entries(acl, |e| e.cidr_block))
        .many("entry.egress", |acl| {
            of_entries(acl, |e| Some(e.egress?.to_string()))
        })
        .many("entry.icmp.code", |acl| {
            of_entries(acl, |e| Some(e.icmp_type_code?.code?.to_string()))
        })
        .many("entry.icmp.type", |acl| {
            of_entries(acl, |e| Some(e.icmp_type_code?.r#type?.to_string()))
        })
        .many("entry.ipv6-cidr", |acl| of_entries(acl, |e| e.ipv6_cidr_block))
        .many("entry.port-range.from", |acl| {
            of_entries(acl, |e| Some(e.port_range?.from?.to_string()))
        })
        .many("entry.port-range.to", |acl| {
            of_entries(acl, |e| Some(e.port_range?.to?.to_string()))
        })
        // By number, as entries show it, and by name.
        .many("entry.protocol", |acl| {
            let mut found = of_entries(acl, |e| e.protocol);
            let named = found
                .iter()
                .filter_map(|number| Protocol::parse(number))
                .map(Protocol::name);
            found.extend(named.collect::<Vec<_>>());
            found
        })
        .many("entry.rule-action", |acl| of_entries(acl, |e| e.rule_action))
        .many("entry.rule-number", |acl| {
            of_entries(acl, |e| Some(e.rule_number?.to_string()))
        })
        .one("network-acl-id", |acl| acl.id)
        .one("owner-id", |acl| acl.owner)
        .one("vpc-id", |acl| acl.vpc)
        .parse(&request.filters)?;
    let listing = Listing {
        action: "DescribeNetworkAcls",
        ids: &request.network_acl_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=1000,
    };
    let page = listing.of::<NetworkAcl>(&region, call.account, &keep)?;
    Ok(DescribeNetworkAclsResult {
        network_acls: page.items.iter().map(|acl| shape(&region, acl)).collect(),
        next_token: page.next_token,
    })
}

fn shape(region: &Region, acl: &NetworkAcl) -> ec2::NetworkAcl {
    ec2::NetworkAcl {
        network_acl_id: Some(acl.id.to_string()),
        vpc_id: Some(acl.vpc.to_string()),
        owner_id: Some(acl.owner.to_string()),
        is_default: Some(acl.is_default),
        associations: acl
            .associations
            .iter()
            .map(|(id, subnet)| NetworkAclAssociation {
                network_acl_association_id: Some(id.to_string()),
                network_acl_id: Some(acl.id.to_string()),
                subnet_id: Some(subnet.to_string()),
            })
            .collect(),
        entries: entries(region, acl),
        tags: tag_list(&acl.tags),
    }
}

/// The rules as EC2 shows them: both directions, each ending in the final deny, which is not stored; that for IPv6
/// where the VPC has it (semantics 22).
fn entries(region: &Region, acl: &NetworkAcl) -> Vec<NetworkAclEntry> {
    let has_ipv6 = region
        .get::<Vpc>(acl.vpc)
        .is_some_and(|vpc| vpc.has_family(Family::V6));
    let deny = |cidr| AclEntry {
        action: RuleAction::Deny,
        cidr,
        traffic: Traffic::All,
    };
    let finals = [
        Some((FINAL_V4, deny(Prefix::ALL_V4))),
        has_ipv6.then_some((FINAL_V6, deny(Prefix::ALL_V6))),
    ];
    let mut shown = Vec::new();
    for (egress, stored) in [(true, &acl.egress), (false, &acl.ingress)] {
        let stored = stored.iter().map(|(number, entry)| (*number, *entry));
        let all = stored.chain(finals.iter().flatten().copied());
        shown.extend(all.map(|(number, entry)| entry_shape(egress, number, &entry)));
    }
    shown
}

fn entry_shape(egress: bool, number: u16, entry: &AclEntry) -> NetworkAclEntry {
    let block = Some(entry.cidr.to_string());
    let (cidr_block, ipv6_cidr_block) = match entry.cidr.family() {
        Family::V4 => (block, None),
        Family::V6 => (None, block),
    };
    NetworkAclEntry {
        egress: Some(egress),
        rule_number: Some(i32::from(number)),
        rule_action: Some(entry.action.to_string()),
        protocol: Some(entry.traffic.protocol().number().to_string()),
        cidr_block,
        ipv6_cidr_block,
        port_range: entry.traffic.ports().map(|ports| PortRange {
            from: Some(i32::from(ports.from)),
            to: Some(i32::from(ports.to)),
        }),
        icmp_type_code: entry.traffic.icmp().map(|icmp| IcmpTypeCode {
            r#type: Some(icmp.kind.map_or(-1, i32::from)),
            code: Some(icmp.code.map_or(-1, i32::from)),
        }),
    }
}

fn direction(egress: bool) -> Direction {
    if egress {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

/// A rule's number; whether it is one that can be given is the region's to say.
fn number(given: i32) -> Result<u16, ApiError> {
    u16::try_from(given).map_err(|_| {
        ApiError::invalid_parameter(
            "ruleNumber",
            &given.to_string(),
            "A rule number must be from 1 to 32766.",
        )
    })
}

/// What a rule is to say, from the parameters that creating and replacing one share.
fn entry(
    action: &str,
    protocol: &str,
    blocks: (Option<&str>, Option<&str>),
    ports: Option<PortRange>,
    icmp: Option<IcmpTypeCode>,
) -> Result<AclEntry, ApiError> {
    let block = match blocks {
        (Some(block), None) => cidr("cidrBlock", block, Family::V4)?,
        (None, Some(block)) => cidr("ipv6CidrBlock", block, Family::V6)?,
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination(
                "The parameters CidrBlock and Ipv6CidrBlock may not be used together.",
            ));
        }
        (None, None) => return Err(ApiError::missing("CidrBlock")),
    };
    let number = Protocol::parse(protocol).ok_or_else(|| {
        ApiError::invalid_parameter(
            "protocol",
            protocol,
            "Expecting -1 for all, a number from 0 to 255, tcp, udp, icmp or icmpv6.",
        )
    })?;
    let pair = |parameter: &str, first: Option<i32>, second: Option<i32>| {
        first.zip(second).ok_or_else(|| ApiError::missing(parameter))
    };
    // Only what the protocol makes use of has to be whole.
    let ports = match ports {
        Some(range) if number.has_ports() => {
            Some(pair("PortRange.From and PortRange.To", range.from, range.to)?)
        }
        _ => None,
    };
    let icmp = match icmp {
        Some(icmp) if number.is_icmp() => Some(pair("Icmp.Type and Icmp.Code", icmp.r#type, icmp.code)?),
        _ => None,
    };
    Ok(AclEntry {
        action: value("ruleAction", action, "Expecting allow or deny.")?,
        cidr: block,
        traffic: traffic(number, ports, icmp)?,
    })
}

/// The command by which a request creates or replaces a rule: the two have the same words, and the same fields.
macro_rules! command {
    ($command:ident, $request:ident) => {
        $command {
            acl: id(&$request.network_acl_id)?,
            direction: direction($request.egress),
            number: number($request.rule_number)?,
            entry: entry(
                &$request.rule_action,
                &$request.protocol,
                (
                    $request.cidr_block.as_deref(),
                    $request.ipv6_cidr_block.as_deref(),
                ),
                $request.port_range,
                $request.icmp_type_code,
            )?,
        }
    };
}

async fn create_network_acl_entry(
    call: Call,
    request: CreateNetworkAclEntryRequest,
) -> Result<CreateNetworkAclEntryResult, ApiError> {
    call.submit(command!(CreateNetworkAclEntry, request)).await?;
    Ok(CreateNetworkAclEntryResult::default())
}

async fn replace_network_acl_entry(
    call: Call,
    request: ReplaceNetworkAclEntryRequest,
) -> Result<ReplaceNetworkAclEntryResult, ApiError> {
    call.submit(command!(ReplaceNetworkAclEntry, request)).await?;
    Ok(ReplaceNetworkAclEntryResult::default())
}

async fn delete_network_acl_entry(
    call: Call,
    request: DeleteNetworkAclEntryRequest,
) -> Result<DeleteNetworkAclEntryResult, ApiError> {
    let delete = DeleteNetworkAclEntry {
        acl: id(&request.network_acl_id)?,
        direction: direction(request.egress),
        number: number(request.rule_number)?,
    };
    call.submit(delete).await?;
    Ok(DeleteNetworkAclEntryResult::default())
}

async fn replace_network_acl_association(
    call: Call,
    request: ReplaceNetworkAclAssociationRequest,
) -> Result<ReplaceNetworkAclAssociationResult, ApiError> {
    let replace = ReplaceNetworkAclAssociation {
        association: id(&request.association_id)?,
        acl: id(&request.network_acl_id)?,
    };
    let new = call.submit(replace).await?;
    Ok(ReplaceNetworkAclAssociationResult {
        new_association_id: Some(new.to_string()),
    })
}
