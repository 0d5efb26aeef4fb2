//! Security groups: stateful filters at an interface.

use std::collections::BTreeMap;

use atoll_net::Prefix;
use serde::{Deserialize, Serialize};

use crate::id::{PeeringId, PrefixListId, SecurityGroupId, SecurityGroupRuleId, VpcId};
use crate::protocol::{Direction, Traffic};
use crate::{AccountId, Tags};

/// The far side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Peer {
    /// A block of addresses.
    Cidr {
        /// The block.
        block: Prefix,
    },
    /// The private addresses of a group's members (semantics 38). The group may be gone: the rule is then stale
    /// and matches nothing (semantics 40).
    Group {
        /// The group.
        id: SecurityGroupId,
        /// Who owns it.
        owner: AccountId,
        /// By which peering it is reached, when it is another VPC's (semantics 39).
        peering: Option<PeeringId>,
    },
    /// The blocks of a managed prefix list; no operation makes one yet.
    PrefixList {
        /// The list.
        id: PrefixListId,
    },
}

/// One rule. All rules allow (semantics 35).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// Which way.
    pub direction: Direction,
    /// Protocol, destination ports, ICMP.
    pub traffic: Traffic,
    /// The far side: source of ingress, destination of egress.
    pub peer: Peer,
    /// What it is for.
    pub description: Option<String>,
    /// Tags.
    pub tags: Tags,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Who owns it.
    pub owner: AccountId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its name, unique within the VPC.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its rules.
    pub rules: BTreeMap<SecurityGroupRuleId, SecurityGroupRule>,
    /// Tags.
    pub tags: Tags,
}

impl SecurityGroup {
    /// The rules of one direction.
    pub fn rules_of(
        &self,
        direction: Direction,
    ) -> impl Iterator<Item = (SecurityGroupRuleId, &SecurityGroupRule)> {
        self.rules
            .iter()
            .filter(move |(_, r)| r.direction == direction)
            .map(|(id, r)| (*id, r))
    }
}
