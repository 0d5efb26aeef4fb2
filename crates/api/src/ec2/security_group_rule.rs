//! The rules of security groups: adding, taking away, changing, listing.

use std::sync::Arc;

use atoll_model::{
    AccountId, Direction, Peer, PeeringId, SecurityGroup, SecurityGroupId, SecurityGroupRule,
    SecurityGroupRuleId, Tags, Traffic,
};
use atoll_net::Family;
use atoll_region::Region;
use atoll_region::security_group::{self, GroupRef, RuleSpec, no_prefix_lists};
use atoll_shapes::ec2::{
    self, AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult,
    AuthorizeSecurityGroupIngressRequest, AuthorizeSecurityGroupIngressResult,
    DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult, IpPermission,
    ModifySecurityGroupRulesRequest, ModifySecurityGroupRulesResult, ReferencedSecurityGroup,
    RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult, RevokeSecurityGroupIngressRequest,
    RevokeSecurityGroupIngressResult, RevokedSecurityGroupRule, SecurityGroupRuleRequest,
};

use super::ip_permission::{Words, ip_permissions, numbers, protocol};
use super::security_group::{arn, group_ref};
use crate::wire::{Filters, id, ids, page, tag_list, tags_of};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        authorize_security_group_ingress,
        &[
            "GroupId",
            "GroupName",
            "IpPermissions",
            "IpProtocol",
            "FromPort",
            "ToPort",
            "CidrIp",
            "SourceSecurityGroupName",
            "SourceSecurityGroupOwnerId",
            "TagSpecification",
        ],
    );
    table.add(
        authorize_security_group_egress,
        &[
            "GroupId",
            "IpPermissions",
            "IpProtocol",
            "FromPort",
            "ToPort",
            "CidrIp",
            "TagSpecification",
        ],
    );
    table.add(
        revoke_security_group_ingress,
        &[
            "GroupId",
            "GroupName",
            "IpPermissions",
            "IpProtocol",
            "FromPort",
            "ToPort",
            "CidrIp",
            "SourceSecurityGroupName",
            "SourceSecurityGroupOwnerId",
            "SecurityGroupRuleId",
        ],
    );
    table.add(
        revoke_security_group_egress,
        &[
            "GroupId",
            "IpPermissions",
            "IpProtocol",
            "FromPort",
            "ToPort",
            "CidrIp",
            "SecurityGroupRuleId",
        ],
    );
    table.add(modify_security_group_rules, &["GroupId", "SecurityGroupRule"]);
    table.add(
        describe_security_group_rules,
        &["SecurityGroupRuleId", "Filter", "MaxResults", "NextToken"],
    );
}

/// The words that all requests to add and to revoke rules have alike; those for ingress may name a source group, too.
macro_rules! words {
    ($request:ident) => {
        Words {
            permissions: $request.ip_permissions,
            protocol: $request.ip_protocol,
            from: $request.from_port,
            to: $request.to_port,
            cidr: $request.cidr_ip,
            ..Words::default()
        }
    };
}

async fn authorize(
    call: &Call,
    group: GroupRef,
    direction: Direction,
    words: Words,
    tags: Tags,
) -> Result<Vec<ec2::SecurityGroupRule>, ApiError> {
    let region = call.region()?;
    let rules = words.specs(call, &region)?;
    let (group, made) = call
        .submit(security_group::AuthorizeSecurityGroup {
            group,
            direction,
            rules,
            tags,
        })
        .await?;
    let region = call.region()?;
    Ok(made
        .iter()
        .map(|(id, rule)| shape(call, &region, group, *id, rule))
        .collect())
}

async fn authorize_security_group_ingress(
    call: Call,
    request: AuthorizeSecurityGroupIngressRequest,
) -> Result<AuthorizeSecurityGroupIngressResult, ApiError> {
    let group = group_ref(request.group_id.as_deref(), request.group_name)?;
    let tags = tags_of(&request.tag_specifications, "security-group-rule")?;
    let words = Words {
        group_name: request.source_security_group_name,
        group_owner: request.source_security_group_owner_id,
        ..words!(request)
    };
    Ok(AuthorizeSecurityGroupIngressResult {
        r#return: Some(true),
        security_group_rules: authorize(&call, group, Direction::Ingress, words, tags).await?,
    })
}

async fn authorize_security_group_egress(
    call: Call,
    request: AuthorizeSecurityGroupEgressRequest,
) -> Result<AuthorizeSecurityGroupEgressResult, ApiError> {
    let group = GroupRef::Id(id(&request.group_id)?);
    let tags = tags_of(&request.tag_specifications, "security-group-rule")?;
    let words = words!(request);
    Ok(AuthorizeSecurityGroupEgressResult {
        r#return: Some(true),
        security_group_rules: authorize(&call, group, Direction::Egress, words, tags).await?,
    })
}

async fn revoke(
    call: &Call,
    group: GroupRef,
    direction: Direction,
    words: Words,
    rule_ids: &[String],
) -> Result<(Vec<IpPermission>, Vec<RevokedSecurityGroupRule>), ApiError> {
    let rules = words.specs(call, &*call.region()?)?;
    let (group, revoked) = call
        .submit(security_group::RevokeSecurityGroup {
            group,
            direction,
            rules,
            ids: ids::<SecurityGroupRuleId>(rule_ids)?,
        })
        .await?;
    let unknown = revoked
        .unknown
        .into_iter()
        .map(|spec| (spec.traffic, spec.peer, spec.description));
    let gone = revoked.rules.iter().map(|(id, rule)| {
        let (from_port, to_port) = all_numbers(rule.traffic);
        let peer = PeerWords::of(rule.peer);
        RevokedSecurityGroupRule {
            security_group_rule_id: Some(id.to_string()),
            group_id: Some(group.to_string()),
            is_egress: Some(rule.direction == Direction::Egress),
            ip_protocol: Some(protocol(rule.traffic)),
            from_port,
            to_port,
            cidr_ipv4: peer.cidr_ipv4,
            cidr_ipv6: peer.cidr_ipv6,
            prefix_list_id: peer.prefix_list,
            referenced_group_id: peer.group.map(|(id, _, _)| id.to_string()),
            description: rule.description.clone(),
        }
    });
    Ok((ip_permissions(unknown), gone.collect()))
}

async fn revoke_security_group_ingress(
    call: Call,
    request: RevokeSecurityGroupIngressRequest,
) -> Result<RevokeSecurityGroupIngressResult, ApiError> {
    let group = group_ref(request.group_id.as_deref(), request.group_name)?;
    let words = Words {
        group_name: request.source_security_group_name,
        group_owner: request.source_security_group_owner_id,
        ..words!(request)
    };
    let ids = &request.security_group_rule_ids;
    let (unknown, revoked) = revoke(&call, group, Direction::Ingress, words, ids).await?;
    Ok(RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        unknown_ip_permissions: unknown,
        revoked_security_group_rules: revoked,
    })
}

async fn revoke_security_group_egress(
    call: Call,
    request: RevokeSecurityGroupEgressRequest,
) -> Result<RevokeSecurityGroupEgressResult, ApiError> {
    let group = GroupRef::Id(id(&request.group_id)?);
    let words = words!(request);
    let ids = &request.security_group_rule_ids;
    let (unknown, revoked) = revoke(&call, group, Direction::Egress, words, ids).await?;
    Ok(RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        unknown_ip_permissions: unknown,
        revoked_security_group_rules: revoked,
    })
}

async fn modify_security_group_rules(
    call: Call,
    request: ModifySecurityGroupRulesRequest,
) -> Result<ModifySecurityGroupRulesResult, ApiError> {
    let mut rules = Vec::new();
    for update in request.security_group_rules {
        let rule = id::<SecurityGroupRuleId>(&update.security_group_rule_id)?;
        let words = update
            .security_group_rule
            .ok_or_else(|| ApiError::missing("SecurityGroupRule.SecurityGroupRule"))?;
        rules.push((rule, modified(call.account, words)?));
    }
    let group = id::<SecurityGroupId>(&request.group_id)?;
    call.submit(security_group::ModifySecurityGroupRules { group, rules })
        .await?;
    Ok(ModifySecurityGroupRulesResult { r#return: Some(true) })
}

fn modified(account: AccountId, words: SecurityGroupRuleRequest) -> Result<RuleSpec, ApiError> {
    let protocol = words.ip_protocol.ok_or_else(|| ApiError::missing("IpProtocol"))?;
    let traffic = security_group::traffic(&protocol, words.from_port, words.to_port)?;
    if let Some(list) = &words.prefix_list_id {
        return Err(no_prefix_lists(list).into());
    }
    let peer = match (&words.cidr_ipv4, &words.cidr_ipv6, &words.referenced_group_id) {
        (Some(block), None, None) => security_group::cidr(block, Family::V4)?,
        (None, Some(block), None) => security_group::cidr(block, Family::V6)?,
        (None, None, Some(group)) => Peer::Group {
            id: id(group)?,
            owner: account,
            peering: None,
        },
        _ => {
            return Err(ApiError::invalid_combination(
                "Exactly one of CidrIpv4, CidrIpv6 and ReferencedGroupId must be specified",
            ));
        }
    };
    Ok(RuleSpec {
        traffic,
        peer,
        description: words.description,
    })
}

/// A rule of a group.
type Item = (Arc<SecurityGroup>, SecurityGroupRuleId);

async fn describe_security_group_rules(
    call: Call,
    request: DescribeSecurityGroupRulesRequest,
) -> Result<DescribeSecurityGroupRulesResult, ApiError> {
    static NO_TAGS: Tags = Tags::new();
    let region = call.region()?;
    let keep =
        Filters::tagged(|(group, rule): &Item| group.rules.get(rule).map_or(&NO_TAGS, |rule| &rule.tags))
            .one("group-id", |(group, _)| group.id)
            .one("security-group-rule-id", |(_, rule)| *rule)
            .parse(&request.filters)?;
    let asked = ids::<SecurityGroupRuleId>(&request.security_group_rule_ids)?;
    let mut found: Vec<Item> = region
        .list::<SecurityGroup>(call.account)
        .flat_map(|group| group.rules.keys().map(|rule| (Arc::clone(group), *rule)))
        .filter(|(_, rule)| asked.is_empty() || asked.contains(rule))
        .collect();
    if let Some(unknown) = asked
        .iter()
        .find(|asked| !found.iter().any(|(_, rule)| rule == *asked))
    {
        return Err(security_group::rule_not_found(*unknown).into());
    }
    found.retain(|item| keep.matches(item));
    found.sort_by_key(|(_, rule)| *rule);
    let page = page(
        "DescribeSecurityGroupRules",
        found.into_iter().map(|item| (item.1, item)),
        request.max_results,
        request.next_token.as_deref(),
        5..=1000,
    )?;
    Ok(DescribeSecurityGroupRulesResult {
        security_group_rules: page
            .items
            .iter()
            .filter_map(|(group, id)| Some(shape(&call, &region, group.id, *id, group.rules.get(id)?)))
            .collect(),
        next_token: page.next_token,
    })
}

/// A rule by itself shows -1 where it is about every port.
fn all_numbers(traffic: Traffic) -> (Option<i32>, Option<i32>) {
    let (from, to) = numbers(traffic);
    (from.or(Some(-1)), to.or(Some(-1)))
}

#[derive(Default)]
struct PeerWords {
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list: Option<String>,
    group: Option<(SecurityGroupId, AccountId, Option<PeeringId>)>,
}

impl PeerWords {
    fn of(peer: Peer) -> PeerWords {
        let mut words = PeerWords::default();
        match peer {
            Peer::Cidr { block } if block.family() == Family::V4 => words.cidr_ipv4 = Some(block.to_string()),
            Peer::Cidr { block } => words.cidr_ipv6 = Some(block.to_string()),
            Peer::PrefixList { id } => words.prefix_list = Some(id.to_string()),
            Peer::Group { id, owner, peering } => words.group = Some((id, owner, peering)),
        }
        words
    }
}

fn shape(
    call: &Call,
    region: &Region,
    group: SecurityGroupId,
    id: SecurityGroupRuleId,
    rule: &SecurityGroupRule,
) -> ec2::SecurityGroupRule {
    let (from_port, to_port) = all_numbers(rule.traffic);
    let peer = PeerWords::of(rule.peer);
    ec2::SecurityGroupRule {
        security_group_rule_id: Some(id.to_string()),
        security_group_rule_arn: arn(call, "security-group-rule", id),
        group_id: Some(group.to_string()),
        group_owner_id: Some(call.account.to_string()),
        is_egress: Some(rule.direction == Direction::Egress),
        ip_protocol: Some(protocol(rule.traffic)),
        from_port,
        to_port,
        cidr_ipv4: peer.cidr_ipv4,
        cidr_ipv6: peer.cidr_ipv6,
        prefix_list_id: peer.prefix_list,
        referenced_group_info: peer.group.map(|(id, owner, peering)| ReferencedSecurityGroup {
            group_id: Some(id.to_string()),
            user_id: Some(owner.to_string()),
            vpc_id: region.get::<SecurityGroup>(id).map(|group| group.vpc.to_string()),
            vpc_peering_connection_id: peering.map(|id| id.to_string()),
            peering_status: None,
        }),
        description: rule.description.clone(),
        tags: tag_list(&rule.tags),
    }
}
