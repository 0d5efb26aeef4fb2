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
    DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult, IpPermission, IpRange,
    ModifySecurityGroupRulesRequest, ModifySecurityGroupRulesResult, ReferencedSecurityGroup,
    RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult, RevokeSecurityGroupIngressRequest,
    RevokeSecurityGroupIngressResult, RevokedSecurityGroupRule, SecurityGroupRuleRequest, UserIdGroupPair,
};

use super::security_group::{arn, group_ref, ip_permissions};
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

/// The protocol as security groups show it.
pub(super) fn protocol(traffic: Traffic) -> String {
    traffic.protocol().name()
}

/// `FromPort` and `ToPort`: ports, or ICMP type and code (semantics 50); nothing for whole protocols.
pub(super) fn numbers(traffic: Traffic) -> (Option<i32>, Option<i32>) {
    let part = |part: Option<u8>| Some(part.map_or(-1, i32::from));
    match (traffic.ports(), traffic.icmp()) {
        (Some(ports), _) => (Some(ports.from.into()), Some(ports.to.into())),
        (_, Some(icmp)) => (part(icmp.kind), part(icmp.code)),
        (None, None) => (None, None),
    }
}

/// The rules a request names: permissions, or one rule in the flat form of old.
#[derive(Default)]
struct Words {
    permissions: Vec<IpPermission>,
    protocol: Option<String>,
    from: Option<i32>,
    to: Option<i32>,
    cidr: Option<String>,
    group_name: Option<String>,
    group_owner: Option<String>,
}

impl Words {
    fn specs(self, call: &Call, region: &Region) -> Result<Vec<RuleSpec>, ApiError> {
        let flat = self.protocol.is_some()
            || self.from.is_some()
            || self.to.is_some()
            || self.cidr.is_some()
            || self.group_name.is_some()
            || self.group_owner.is_some();
        if flat && !self.permissions.is_empty() {
            return Err(ApiError::invalid_combination(
                "The parameter ipPermissions may not be used with IpProtocol, FromPort, ToPort, CidrIp or \
                 SourceSecurityGroupName",
            ));
        }
        let mut specs = Vec::new();
        for permission in self.permissions.into_iter().chain(match flat {
            false => Vec::new(),
            true => Words::flat(
                self.protocol,
                self.from,
                self.to,
                self.cidr,
                self.group_name,
                self.group_owner,
            )?,
        }) {
            of_permission(call, region, permission, &mut specs)?;
        }
        Ok(specs)
    }

    /// A source group in the flat form stands for TCP, UDP and ICMP, whole, and nothing else may be said with it.
    fn flat(
        protocol: Option<String>,
        from: Option<i32>,
        to: Option<i32>,
        cidr: Option<String>,
        group_name: Option<String>,
        group_owner: Option<String>,
    ) -> Result<Vec<IpPermission>, ApiError> {
        let Some(group_name) = group_name else {
            if group_owner.is_some() {
                return Err(ApiError::missing("SourceSecurityGroupName"));
            }
            return Ok(vec![IpPermission {
                ip_protocol: Some(protocol.ok_or_else(|| ApiError::missing("IpProtocol"))?),
                from_port: from,
                to_port: to,
                ip_ranges: vec![IpRange {
                    cidr_ip: Some(cidr.ok_or_else(|| ApiError::missing("CidrIp"))?),
                    description: None,
                }],
                ..Default::default()
            }]);
        };
        if protocol.is_some() || from.is_some() || to.is_some() || cidr.is_some() {
            return Err(ApiError::invalid_combination(
                "The parameter SourceSecurityGroupName may not be used with IpProtocol, FromPort, ToPort or CidrIp; \
                 use ipPermissions",
            ));
        }
        let from_group = |name: &str, from: i32, to: i32| IpPermission {
            ip_protocol: Some(name.into()),
            from_port: Some(from),
            to_port: Some(to),
            user_id_group_pairs: vec![UserIdGroupPair {
                group_name: Some(group_name.clone()),
                user_id: group_owner.clone(),
                ..Default::default()
            }],
            ..Default::default()
        };
        Ok(vec![
            from_group("tcp", 0, 65535),
            from_group("udp", 0, 65535),
            from_group("icmp", -1, -1),
        ])
    }
}

fn of_permission(
    call: &Call,
    region: &Region,
    permission: IpPermission,
    specs: &mut Vec<RuleSpec>,
) -> Result<(), ApiError> {
    let protocol = permission
        .ip_protocol
        .ok_or_else(|| ApiError::missing("IpProtocol"))?;
    let traffic = security_group::traffic(&protocol, permission.from_port, permission.to_port)?;
    let before = specs.len();
    for range in permission.ip_ranges {
        let text = range.cidr_ip.ok_or_else(|| ApiError::missing("CidrIp"))?;
        specs.push(RuleSpec {
            traffic,
            peer: security_group::cidr(&text, Family::V4)?,
            description: range.description,
        });
    }
    for range in permission.ipv6_ranges {
        let text = range.cidr_ipv6.ok_or_else(|| ApiError::missing("CidrIpv6"))?;
        specs.push(RuleSpec {
            traffic,
            peer: security_group::cidr(&text, Family::V6)?,
            description: range.description,
        });
    }
    for pair in permission.user_id_group_pairs {
        let description = pair.description.clone();
        specs.push(RuleSpec {
            traffic,
            peer: group_peer(call, region, pair)?,
            description,
        });
    }
    if let Some(list) = permission.prefix_list_ids.first() {
        return Err(no_prefix_lists(list.prefix_list_id.as_deref().unwrap_or_default()).into());
    }
    if specs.len() == before {
        return Err(ApiError::missing("CidrIp, CidrIpv6 or GroupId"));
    }
    Ok(())
}

/// A referenced group. One of another account cannot be seen: there is no peering yet.
fn group_peer(call: &Call, region: &Region, pair: UserIdGroupPair) -> Result<Peer, ApiError> {
    let peering = pair
        .vpc_peering_connection_id
        .as_deref()
        .map(id::<PeeringId>)
        .transpose()?;
    let named = match (pair.group_id, pair.group_name) {
        // EC2 describes a pair with both: the id decides.
        (Some(group), _) => GroupRef::Id(id(&group)?),
        (None, Some(name)) => GroupRef::Name(name),
        (None, None) => return Err(ApiError::missing("GroupId")),
    };
    let not_found = |what: &str| {
        ApiError::new(
            "InvalidGroup.NotFound",
            format!("The security group '{what}' does not exist"),
        )
    };
    let shown = match &named {
        GroupRef::Id(id) => id.to_string(),
        GroupRef::Name(name) => crate::error::shortened(name),
    };
    if pair.user_id.is_some_and(|user| user != call.account.to_string()) {
        return Err(not_found(&shown));
    }
    let group = match named {
        // By id it need not be there any more: a stale rule can be revoked (semantics 40).
        GroupRef::Id(id) => region.get::<SecurityGroup>(id).cloned(),
        GroupRef::Name(_) => Some(named.find(region, call.account)?),
    };
    if let (Some(vpc), Some(group)) = (pair.vpc_id, &group)
        && vpc != group.vpc.to_string()
    {
        return Err(not_found(&shown));
    }
    let group_id = match (&group, shown.parse::<SecurityGroupId>()) {
        (Some(group), _) => group.id,
        (None, Ok(id)) => id,
        (None, Err(_)) => return Err(not_found(&shown)),
    };
    Ok(Peer::Group {
        id: group_id,
        owner: call.account,
        peering,
    })
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
        permissions: request.ip_permissions,
        protocol: request.ip_protocol,
        from: request.from_port,
        to: request.to_port,
        cidr: request.cidr_ip,
        group_name: request.source_security_group_name,
        group_owner: request.source_security_group_owner_id,
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
    let words = Words {
        permissions: request.ip_permissions,
        protocol: request.ip_protocol,
        from: request.from_port,
        to: request.to_port,
        cidr: request.cidr_ip,
        ..Words::default()
    };
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
        permissions: request.ip_permissions,
        protocol: request.ip_protocol,
        from: request.from_port,
        to: request.to_port,
        cidr: request.cidr_ip,
        group_name: request.source_security_group_name,
        group_owner: request.source_security_group_owner_id,
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
    let words = Words {
        permissions: request.ip_permissions,
        protocol: request.ip_protocol,
        from: request.from_port,
        to: request.to_port,
        cidr: request.cidr_ip,
        ..Words::default()
    };
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
