//! The permissions of security groups on the wire: rules in a request's words, and rules as EC2 lists them.

use std::collections::BTreeMap;

use atoll_model::{Peer, PeeringId, SecurityGroup, SecurityGroupId, Traffic};
use atoll_net::Family;
use atoll_region::Region;
use atoll_region::security_group::{self, GroupRef, RuleSpec, no_prefix_lists};
use atoll_shapes::ec2::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};

use crate::wire::id;
use crate::{ApiError, Call};

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
pub(super) struct Words {
    pub permissions: Vec<IpPermission>,
    pub protocol: Option<String>,
    pub from: Option<i32>,
    pub to: Option<i32>,
    pub cidr: Option<String>,
    pub group_name: Option<String>,
    pub group_owner: Option<String>,
}

impl Words {
    pub fn specs(self, call: &Call, region: &Region) -> Result<Vec<RuleSpec>, ApiError> {
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

/// Rules as EC2 lists them: one permission for each kind of traffic, with all its peers.
pub(super) fn ip_permissions(
    rules: impl IntoIterator<Item = (Traffic, Peer, Option<String>)>,
) -> Vec<IpPermission> {
    let mut permissions: BTreeMap<Traffic, IpPermission> = BTreeMap::new();
    for (traffic, peer, description) in rules {
        let (from_port, to_port) = numbers(traffic);
        let permission = permissions.entry(traffic).or_insert_with(|| IpPermission {
            ip_protocol: Some(protocol(traffic)),
            from_port,
            to_port,
            ..Default::default()
        });
        match peer {
            Peer::Cidr { block } if block.family() == Family::V4 => {
                permission.ip_ranges.push(IpRange {
                    cidr_ip: Some(block.to_string()),
                    description,
                });
            }
            Peer::Cidr { block } => permission.ipv6_ranges.push(Ipv6Range {
                cidr_ipv6: Some(block.to_string()),
                description,
            }),
            Peer::Group { id, owner, peering } => permission.user_id_group_pairs.push(UserIdGroupPair {
                group_id: Some(id.to_string()),
                user_id: Some(owner.to_string()),
                vpc_peering_connection_id: peering.map(|id| id.to_string()),
                description,
                ..Default::default()
            }),
            Peer::PrefixList { id } => permission.prefix_list_ids.push(PrefixListId {
                prefix_list_id: Some(id.to_string()),
                description,
            }),
        }
    }
    permissions.into_values().collect()
}
