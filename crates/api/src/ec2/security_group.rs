//! Security groups. What their rules look like on the wire is in [`super::ip_permission`] and
//! [`super::security_group_rule`].

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_model::{Direction, Peer, SecurityGroup, SecurityGroupId, Traffic, VpcId};
use atoll_region::Region;
use atoll_region::security_group::{self, GroupRef};
use atoll_shapes::ec2::{
    self, CreateSecurityGroupRequest, CreateSecurityGroupResult, DeleteSecurityGroupRequest,
    DeleteSecurityGroupResult, DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult,
};

use super::ip_permission::{ip_permissions, numbers, protocol};
use crate::wire::{Filters, id, ids, optional_id, page, tag_list, tags_of};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        create_security_group,
        &["GroupName", "GroupDescription", "VpcId", "TagSpecification"],
    );
    table.add(delete_security_group, &["GroupId", "GroupName"]);
    table.add(
        describe_security_groups,
        &["GroupId", "GroupName", "Filter", "MaxResults", "NextToken"],
    );
}

/// A group's name in the caller's words: exactly one of id and name.
pub(super) fn group_ref(group_id: Option<&str>, name: Option<String>) -> Result<GroupRef, ApiError> {
    match (group_id, name) {
        (Some(group), None) => Ok(GroupRef::Id(id(group)?)),
        (None, Some(name)) => Ok(GroupRef::Name(name)),
        (None, None) => Err(ApiError::missing("GroupId")),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "The parameters GroupId and GroupName may not be specified together",
        )),
    }
}

pub(super) fn arn(call: &Call, kind: &str, id: impl std::fmt::Display) -> Option<String> {
    Some(format!(
        "arn:aws:ec2:{}:{}:{kind}/{id}",
        call.region_name, call.account
    ))
}

async fn create_security_group(
    call: Call,
    request: CreateSecurityGroupRequest,
) -> Result<CreateSecurityGroupResult, ApiError> {
    let made = call
        .submit(security_group::CreateSecurityGroup {
            name: request.group_name,
            description: request.description,
            vpc: optional_id::<VpcId>(request.vpc_id.as_deref())?,
            tags: tags_of(&request.tag_specifications, "security-group")?,
        })
        .await?;
    Ok(CreateSecurityGroupResult {
        group_id: Some(made.id.to_string()),
        tags: tag_list(&made.tags),
        security_group_arn: arn(&call, "security-group", made.id),
    })
}

async fn delete_security_group(
    call: Call,
    request: DeleteSecurityGroupRequest,
) -> Result<DeleteSecurityGroupResult, ApiError> {
    let group = group_ref(request.group_id.as_deref(), request.group_name)?;
    let gone = call.submit(security_group::DeleteSecurityGroup { group }).await?;
    Ok(DeleteSecurityGroupResult {
        r#return: Some(true),
        group_id: Some(gone.to_string()),
    })
}

/// What a filter on rules sees of one direction.
fn filters_on_rules<'a>(
    filters: Filters<'a, Arc<SecurityGroup>>,
    names: [&'static str; 8],
    direction: Direction,
    region: &Arc<Region>,
) -> Filters<'a, Arc<SecurityGroup>> {
    let [cidr, from, group_id, group_name, ipv6, prefix_list, proto, to] = names;
    let traffic = move |group: &Arc<SecurityGroup>| -> Vec<Traffic> {
        group.rules_of(direction).map(|(_, rule)| rule.traffic).collect()
    };
    let peers = move |group: &Arc<SecurityGroup>| -> Vec<Peer> {
        group.rules_of(direction).map(|(_, rule)| rule.peer).collect()
    };
    let blocks = move |group: &Arc<SecurityGroup>, family| -> Vec<String> {
        let of = |peer| match peer {
            Peer::Cidr { block } if block.family() == family => Some(block.to_string()),
            _ => None,
        };
        peers(group).into_iter().filter_map(of).collect()
    };
    let groups = move |group: &Arc<SecurityGroup>| -> Vec<SecurityGroupId> {
        let of = |peer| match peer {
            Peer::Group { id, .. } => Some(id),
            _ => None,
        };
        peers(group).into_iter().filter_map(of).collect()
    };
    let region = Arc::clone(region);
    filters
        .many(cidr, move |group| blocks(group, atoll_net::Family::V4))
        .many(from, move |group| {
            traffic(group)
                .into_iter()
                .filter_map(|t| numbers(t).0)
                .collect::<Vec<_>>()
        })
        .many(group_id, groups)
        .many(group_name, move |group| {
            groups(group)
                .into_iter()
                .filter_map(|id| region.get::<SecurityGroup>(id).map(|group| group.name.clone()))
                .collect::<Vec<_>>()
        })
        .many(ipv6, move |group| blocks(group, atoll_net::Family::V6))
        .many(prefix_list, move |group| {
            let of = |peer| match peer {
                Peer::PrefixList { id } => Some(id),
                _ => None,
            };
            peers(group).into_iter().filter_map(of).collect::<Vec<_>>()
        })
        .many(proto, move |group| {
            traffic(group).into_iter().map(protocol).collect::<Vec<_>>()
        })
        .many(to, move |group| {
            traffic(group)
                .into_iter()
                .filter_map(|t| numbers(t).1)
                .collect::<Vec<_>>()
        })
}

async fn describe_security_groups(
    call: Call,
    request: DescribeSecurityGroupsRequest,
) -> Result<DescribeSecurityGroupsResult, ApiError> {
    let region = call.region()?;
    let users = |direction: Direction| {
        move |group: &Arc<SecurityGroup>| -> Vec<String> {
            let of = |rule: &atoll_model::SecurityGroupRule| match rule.peer {
                Peer::Group { owner, .. } => Some(owner.to_string()),
                _ => None,
            };
            group
                .rules_of(direction)
                .filter_map(|(_, rule)| of(rule))
                .collect()
        }
    };
    let keep = Filters::tagged(|group: &Arc<SecurityGroup>| &group.tags)
        .one("description", |group| group.description.clone())
        .one("group-id", |group| group.id)
        .one("group-name", |group| group.name.clone())
        .one("owner-id", |group| group.owner)
        .one("vpc-id", |group| group.vpc)
        .many("ip-permission.user-id", users(Direction::Ingress))
        .many("egress.ip-permission.user-id", users(Direction::Egress));
    let keep = filters_on_rules(
        keep,
        [
            "ip-permission.cidr",
            "ip-permission.from-port",
            "ip-permission.group-id",
            "ip-permission.group-name",
            "ip-permission.ipv6-cidr",
            "ip-permission.prefix-list-id",
            "ip-permission.protocol",
            "ip-permission.to-port",
        ],
        Direction::Ingress,
        &region,
    );
    let keep = filters_on_rules(
        keep,
        [
            "egress.ip-permission.cidr",
            "egress.ip-permission.from-port",
            "egress.ip-permission.group-id",
            "egress.ip-permission.group-name",
            "egress.ip-permission.ipv6-cidr",
            "egress.ip-permission.prefix-list-id",
            "egress.ip-permission.protocol",
            "egress.ip-permission.to-port",
        ],
        Direction::Egress,
        &region,
    )
    .parse(&request.filters)?;

    let mut asked: BTreeMap<SecurityGroupId, Arc<SecurityGroup>> = BTreeMap::new();
    for group in ids::<SecurityGroupId>(&request.group_ids)? {
        asked.insert(
            group,
            Arc::clone(region.find::<SecurityGroup>(call.account, group)?),
        );
    }
    for name in request.group_names.iter().cloned() {
        let group = GroupRef::Name(name).find(&region, call.account)?;
        asked.insert(group.id, group);
    }
    let found: Vec<_> = if request.group_ids.is_empty() && request.group_names.is_empty() {
        region.list::<SecurityGroup>(call.account).cloned().collect()
    } else {
        asked.into_values().collect()
    };
    let page = page(
        "DescribeSecurityGroups",
        found
            .into_iter()
            .filter(|group| keep.matches(group))
            .map(|group| (group.id, group)),
        request.max_results,
        request.next_token.as_deref(),
        5..=1000,
    )?;
    Ok(DescribeSecurityGroupsResult {
        security_groups: page.items.iter().map(|group| shape(&call, group)).collect(),
        next_token: page.next_token,
    })
}

fn shape(call: &Call, group: &SecurityGroup) -> ec2::SecurityGroup {
    let permissions = |direction| {
        let rules = group.rules_of(direction).map(|(_, rule)| rule);
        ip_permissions(rules.map(|rule| (rule.traffic, rule.peer, rule.description.clone())))
    };
    ec2::SecurityGroup {
        group_id: Some(group.id.to_string()),
        group_name: Some(group.name.clone()),
        description: Some(group.description.clone()),
        vpc_id: Some(group.vpc.to_string()),
        owner_id: Some(group.owner.to_string()),
        security_group_arn: arn(call, "security-group", group.id),
        ip_permissions: permissions(Direction::Ingress),
        ip_permissions_egress: permissions(Direction::Egress),
        tags: tag_list(&group.tags),
    }
}
