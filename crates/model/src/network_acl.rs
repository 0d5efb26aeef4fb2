//! Network ACLs: stateless filters at the edge of a subnet.

use std::collections::BTreeMap;

use atoll_net::Prefix;
use serde::{Deserialize, Serialize};

use crate::id::{NetworkAclAssociationId, NetworkAclId, SubnetId, VpcId};
use crate::protocol::Traffic;
use crate::{AccountId, ClientToken, Tags};

text_enum! {
    /// What a rule does with what it matches.
    pub enum RuleAction {
        /// Lets it pass.
        Allow = "allow",
        /// Drops it.
        Deny = "deny",
    }
}

/// A numbered rule (1 to 32766; semantics 22). The final deny is not stored: it cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// Allow or deny.
    pub action: RuleAction,
    /// The far side: source of ingress, destination of egress, canonical (semantics 32). Its family decides
    /// which family the rule is about (semantics 27).
    pub cidr: Prefix,
    /// Protocol, destination ports, ICMP.
    pub traffic: Traffic,
}

/// A network ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// Its id.
    pub id: NetworkAclId,
    /// Who owns it.
    pub owner: AccountId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Whether it is the VPC's default one (semantics 26).
    pub is_default: bool,
    /// Rules for what enters the subnet, by number.
    pub ingress: BTreeMap<u16, AclEntry>,
    /// Rules for what leaves the subnet, by number.
    pub egress: BTreeMap<u16, AclEntry>,
    /// Subnets it filters: every subnet of a VPC stands in exactly one ACL, so the default one's are listed too.
    pub associations: BTreeMap<NetworkAclAssociationId, SubnetId>,
    /// The caller's idempotency token.
    #[serde(default)]
    pub client_token: Option<ClientToken>,
    /// Tags.
    pub tags: Tags,
}

/// Highest number of a stored rule.
pub const MAX_RULE: u16 = 32766;
/// The final deny's number for IPv4, as the API shows it.
pub const FINAL_V4: u16 = 32767;
/// The final deny's number for IPv6, as the API shows it.
pub const FINAL_V6: u16 = 32768;
