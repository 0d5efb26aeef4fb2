//! Security groups (semantics 35-52); what a rule says is in [`rule`].

pub mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_model::{
    AccountId, Direction, Key, Peer, SecurityGroup, SecurityGroupId, SecurityGroupRule, SecurityGroupRuleId,
    Tags, Traffic, Vpc, VpcId, quota,
};
use atoll_net::{Family, Prefix};

use crate::error::Error;
use crate::security_group::rule::description_allowed;
use crate::state::Region;
use crate::tag;
use crate::transaction::{Command, Transaction};

pub use rule::{RuleSpec, cidr, no_prefix_lists, traffic};

/// The name of the group that every VPC has.
pub const DEFAULT_NAME: &str = "default";
/// Most characters of a name or a description.
pub const MAX_TEXT: usize = 255;

/// Puts the group `default` of a VPC that is being made and returns it: everything from its own members comes in,
/// every IPv4 destination may be reached (semantics 37). A VPC with an IPv6 block calls
/// [`ipv6_block_associated`] after its row is put.
pub fn default_group(tx: &mut Transaction, vpc: VpcId) -> SecurityGroup {
    let id = tx.fresh_id::<SecurityGroup>();
    let owner = tx.account();
    let from_itself = SecurityGroupRule {
        direction: Direction::Ingress,
        traffic: Traffic::All,
        peer: Peer::Group {
            id,
            owner,
            peering: None,
        },
        description: None,
        tags: Tags::new(),
    };
    let rules = BTreeMap::from([
        (tx.fresh(), from_itself),
        (tx.fresh(), everything_out(Prefix::ALL_V4)),
    ]);
    let group = SecurityGroup {
        id,
        owner,
        vpc,
        name: DEFAULT_NAME.into(),
        description: "default VPC security group".into(),
        rules,
        tags: Tags::new(),
    };
    tx.put(group.clone());
    group
}

/// Lets the default group of a VPC that has just got an IPv6 block reach every IPv6 destination, unless somebody
/// changed its outbound rules, as EC2 does.
///
/// # Errors
/// The VPC or its default group is unknown.
pub fn ipv6_block_associated(tx: &mut Transaction, vpc: VpcId) -> Result<(), Error> {
    let id = tx.find::<Vpc>(vpc)?.default_security_group;
    let group = tx.find::<SecurityGroup>(id)?;
    let mut outbound = group
        .rules_of(Direction::Egress)
        .map(|(_, r)| (r.traffic, r.peer));
    let untouched =
        outbound.next() == Some((Traffic::All, all_of(Prefix::ALL_V4))) && outbound.next().is_none();
    drop(outbound);
    if untouched {
        let rule = tx.fresh();
        tx.update::<SecurityGroup>(id, |group| {
            group.rules.insert(rule, everything_out(Prefix::ALL_V6));
        })?;
    }
    Ok(())
}

fn all_of(block: Prefix) -> Peer {
    Peer::Cidr { block }
}

fn everything_out(block: Prefix) -> SecurityGroupRule {
    SecurityGroupRule {
        direction: Direction::Egress,
        traffic: Traffic::All,
        peer: all_of(block),
        description: None,
        tags: Tags::new(),
    }
}

/// A group by id, or by name in the caller's default VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRef {
    /// By id.
    Id(SecurityGroupId),
    /// By name, in the default VPC.
    Name(String),
}

impl From<SecurityGroupId> for GroupRef {
    fn from(id: SecurityGroupId) -> GroupRef {
        GroupRef::Id(id)
    }
}

impl GroupRef {
    /// The group.
    ///
    /// # Errors
    /// `InvalidGroup.NotFound`.
    pub fn find(&self, region: &Region, account: AccountId) -> Result<Arc<SecurityGroup>, Error> {
        match self {
            GroupRef::Id(id) => region.find::<SecurityGroup>(account, *id).cloned(),
            GroupRef::Name(name) => {
                let vpc = default_vpc(region, account)?;
                by_name(region, account, vpc.id, name).ok_or_else(|| {
                    Error::new(
                        "InvalidGroup.NotFound",
                        format!(
                            "The security group '{}' does not exist in default VPC '{}'",
                            name.chars().take(MAX_TEXT).collect::<String>(),
                            vpc.id
                        ),
                    )
                })
            }
        }
    }
}

/// The caller's default VPC.
pub(crate) fn default_vpc(region: &Region, account: AccountId) -> Result<Arc<Vpc>, Error> {
    region
        .list::<Vpc>(account)
        .find(|vpc| vpc.is_default)
        .cloned()
        .ok_or_else(|| {
            Error::new(
                "VPCIdNotSpecified",
                "No default VPC for this user. GroupName is only supported for the default VPC.",
            )
        })
}

/// A group of a VPC by name.
pub fn by_name(region: &Region, account: AccountId, vpc: VpcId, name: &str) -> Option<Arc<SecurityGroup>> {
    region
        .dependants(Key::Vpc(vpc))
        .filter_map(|key| match key {
            Key::SecurityGroup(id) => region.find::<SecurityGroup>(account, id).ok(),
            _ => None,
        })
        .find(|group| group.name == name)
        .cloned()
}

/// The error for a rule that is not there.
pub fn rule_not_found(id: SecurityGroupRuleId) -> Error {
    Error::new(
        "InvalidSecurityGroupRuleId.NotFound",
        format!("The security group rule ID '{id}' does not exist"),
    )
}

/// Whether a text may be a name (`Names` in EC2's sentences) or a description.
fn text_allowed(text: &str) -> bool {
    text.chars().count() <= MAX_TEXT
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-:/()#,@[]+=&;{}!$* ".contains(c))
}

/// CreateSecurityGroup.
#[derive(Clone, Debug)]
pub struct CreateSecurityGroup {
    /// Its name, unique within the VPC; not `default`, not beginning with `sg-`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its VPC; the default one when none is named.
    pub vpc: Option<VpcId>,
    /// Tags.
    pub tags: Tags,
}

impl Command for CreateSecurityGroup {
    type Reply = SecurityGroup;

    fn apply(self, tx: &mut Transaction) -> Result<SecurityGroup, Error> {
        let CreateSecurityGroup {
            name,
            description,
            vpc,
            tags,
        } = self;
        tag::allowed(&tags)?;
        if name.trim().is_empty() {
            return Err(Error::missing("groupName"));
        }
        if description.is_empty() {
            return Err(Error::missing("groupDescription"));
        }
        let quoted: String = name.chars().take(MAX_TEXT).collect();
        if name.to_ascii_lowercase().starts_with("sg-") {
            return Err(Error::invalid_value(format!(
                "Value ({quoted}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
            )));
        }
        if !text_allowed(&name) {
            return Err(Error::invalid_value(format!(
                "Value ({quoted}) for parameter GroupName is invalid. Valid names are strings less than 256 characters \
                 from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
            )));
        }
        if !text_allowed(&description) {
            return Err(Error::invalid_value(
                "Invalid security group description. Valid descriptions are strings less than 256 characters from the \
                 following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
            ));
        }
        let vpc = match vpc {
            Some(id) => tx.find::<Vpc>(id)?,
            None => default_vpc(tx.region(), tx.account())?,
        };
        if name == DEFAULT_NAME {
            return Err(Error::invalid_value(
                "Cannot use reserved security group name: default",
            ));
        }
        if by_name(tx.region(), tx.account(), vpc.id, &name).is_some() {
            return Err(Error::new(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{}'", vpc.id),
            ));
        }
        if tx.region().list::<SecurityGroup>(tx.account()).count() >= quota::SECURITY_GROUPS_PER_REGION {
            return Err(Error::new(
                "SecurityGroupLimitExceeded",
                format!(
                    "The maximum number of security groups ({}) has been reached.",
                    quota::SECURITY_GROUPS_PER_REGION
                ),
            ));
        }
        // semantics 37: nothing in, everything out, in every family that the VPC has.
        let mut rules = BTreeMap::from([(tx.fresh(), everything_out(Prefix::ALL_V4))]);
        if vpc.has_family(Family::V6) {
            rules.insert(tx.fresh(), everything_out(Prefix::ALL_V6));
        }
        let group = SecurityGroup {
            id: tx.fresh_id::<SecurityGroup>(),
            owner: tx.account(),
            vpc: vpc.id,
            name,
            description,
            rules,
            tags,
        };
        tx.put(group.clone());
        Ok(group)
    }
}

/// DeleteSecurityGroup.
#[derive(Clone, Debug)]
pub struct DeleteSecurityGroup {
    /// Which.
    pub group: GroupRef,
}

impl Command for DeleteSecurityGroup {
    type Reply = SecurityGroupId;

    fn apply(self, tx: &mut Transaction) -> Result<SecurityGroupId, Error> {
        let group = self.group.find(tx.region(), tx.account())?;
        if group.name == DEFAULT_NAME {
            return Err(Error::new(
                "CannotDelete",
                format!(
                    "the specified group: \"{}\" name: \"{}\" cannot be deleted by a user",
                    group.id, group.name
                ),
            ));
        }
        if tx
            .region()
            .dependants(Key::SecurityGroup(group.id))
            .next()
            .is_some()
        {
            return Err(Error::dependency(format!(
                "resource {} has a dependent object",
                group.id
            )));
        }
        tx.delete(Key::SecurityGroup(group.id));
        Ok(group.id)
    }
}

/// AuthorizeSecurityGroupIngress and -Egress: all of the rules or none.
#[derive(Clone, Debug)]
pub struct AuthorizeSecurityGroup {
    /// Which.
    pub group: GroupRef,
    /// Which way.
    pub direction: Direction,
    /// The rules.
    pub rules: Vec<RuleSpec>,
    /// Tags of each new rule.
    pub tags: Tags,
}

impl Command for AuthorizeSecurityGroup {
    /// The group's id and the new rules, in the order they were asked for.
    type Reply = (SecurityGroupId, Vec<(SecurityGroupRuleId, SecurityGroupRule)>);

    fn apply(self, tx: &mut Transaction) -> Result<Self::Reply, Error> {
        let group = self.group.find(tx.region(), tx.account())?;
        tag::allowed(&self.tags)?;
        if self.rules.is_empty() {
            return Err(Error::missing("ipPermissions"));
        }
        let mut made: Vec<(SecurityGroupRuleId, SecurityGroupRule)> = Vec::new();
        let mut changed = (*group).clone();
        for spec in self.rules {
            description_allowed(spec.description.as_deref())?;
            peer_allowed(tx, &group, spec.peer)?;
            if made.iter().any(|(_, rule)| spec.is(self.direction, rule)) {
                return Err(Error::invalid_value(
                    "The same permission must not appear multiple times",
                ));
            }
            if group.rules.values().any(|rule| spec.is(self.direction, rule)) {
                return Err(duplicate(&spec));
            }
            let rule = SecurityGroupRule {
                direction: self.direction,
                traffic: spec.traffic,
                peer: spec.peer,
                description: spec.description,
                tags: self.tags.clone(),
            };
            let id = tx.fresh();
            changed.rules.insert(id, rule.clone());
            made.push((id, rule));
            // Here, so that a request of many thousand rules is refused at the 61st.
            within_quota(&changed, self.direction)?;
        }
        tx.put(changed);
        Ok((group.id, made))
    }
}

fn duplicate(spec: &RuleSpec) -> Error {
    Error::new(
        "InvalidPermission.Duplicate",
        format!("the specified rule \"{}\" already exists", spec.sentence()),
    )
}

fn peer_allowed(tx: &Transaction, group: &SecurityGroup, peer: Peer) -> Result<(), Error> {
    match peer {
        Peer::Cidr { .. } => Ok(()),
        Peer::PrefixList { id } => Err(no_prefix_lists(&id.to_string())),
        Peer::Group {
            peering: Some(id), ..
        } => Err(Error::new(
            "InvalidVpcPeeringConnectionID.NotFound",
            format!("The vpcPeeringConnection ID '{id}' does not exist: peering is not supported yet"),
        )),
        Peer::Group { id, .. } => {
            let other = tx.find::<SecurityGroup>(id)?;
            // semantics 39: the same VPC, for want of peerings.
            if other.vpc == group.vpc {
                return Ok(());
            }
            Err(Error::new(
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks.",
            ))
        }
    }
}

/// semantics 52: a direction and family; a rule that names a group counts in both families.
fn within_quota(group: &SecurityGroup, direction: Direction) -> Result<(), Error> {
    for family in [Family::V4, Family::V6] {
        let counts = |rule: &SecurityGroupRule| match rule.peer {
            Peer::Cidr { block } => block.family() == family,
            Peer::Group { .. } | Peer::PrefixList { .. } => true,
        };
        if group.rules_of(direction).filter(|(_, r)| counts(r)).count() > quota::SECURITY_GROUP_RULES {
            return Err(Error::new(
                "RulesPerSecurityGroupLimitExceeded",
                format!(
                    "The maximum number of rules per security group has been reached: {} for each direction and \
                     address family.",
                    quota::SECURITY_GROUP_RULES
                ),
            ));
        }
    }
    Ok(())
}

/// RevokeSecurityGroupIngress and -Egress. Connections that a revoked rule allowed stay tracked (semantics 43).
#[derive(Clone, Debug)]
pub struct RevokeSecurityGroup {
    /// Which.
    pub group: GroupRef,
    /// Which way.
    pub direction: Direction,
    /// Rules by what they say, descriptions aside.
    pub rules: Vec<RuleSpec>,
    /// Rules by id.
    pub ids: Vec<SecurityGroupRuleId>,
}

/// What a revocation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revoked {
    /// The rules that are gone.
    pub rules: Vec<(SecurityGroupRuleId, SecurityGroupRule)>,
    /// What no rule said.
    pub unknown: Vec<RuleSpec>,
}

impl Command for RevokeSecurityGroup {
    type Reply = (SecurityGroupId, Revoked);

    fn apply(self, tx: &mut Transaction) -> Result<Self::Reply, Error> {
        let mut group = (*self.group.find(tx.region(), tx.account())?).clone();
        if self.rules.is_empty() && self.ids.is_empty() {
            return Err(Error::missing("ipPermissions"));
        }
        if !self.rules.is_empty() && !self.ids.is_empty() {
            return Err(Error::invalid_combination(
                "The parameters securityGroupRuleIds and ipPermissions may not be specified together",
            ));
        }
        let mut revoked = Revoked::default();
        for id in self.ids {
            match group.rules.remove(&id) {
                Some(rule) if rule.direction == self.direction => revoked.rules.push((id, rule)),
                _ => return Err(rule_not_found(id)),
            }
        }
        for spec in self.rules {
            let found = group
                .rules
                .iter()
                .find(|(_, rule)| spec.is(self.direction, rule))
                .map(|(id, _)| *id);
            match found.and_then(|id| group.rules.remove_entry(&id)) {
                Some(rule) => revoked.rules.push(rule),
                None => revoked.unknown.push(spec),
            }
        }
        // In the default VPC the reply lists what there was not; elsewhere it is an error, and nothing is revoked.
        let in_default_vpc = tx
            .region()
            .get::<Vpc>(group.vpc)
            .is_some_and(|vpc| vpc.is_default);
        if !in_default_vpc && !revoked.unknown.is_empty() {
            return Err(Error::new(
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.",
            ));
        }
        let id = group.id;
        tx.put(group);
        Ok((id, revoked))
    }
}

/// ModifySecurityGroupRules: rules keep their id, tags, direction and the kind of their peer.
#[derive(Clone, Debug)]
pub struct ModifySecurityGroupRules {
    /// Which.
    pub group: SecurityGroupId,
    /// The rules as they shall be.
    pub rules: Vec<(SecurityGroupRuleId, RuleSpec)>,
}

impl Command for ModifySecurityGroupRules {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let before = tx.find::<SecurityGroup>(self.group)?;
        let mut group = (*before).clone();
        if self.rules.is_empty() {
            return Err(Error::missing("SecurityGroupRule"));
        }
        for (id, spec) in self.rules {
            description_allowed(spec.description.as_deref())?;
            peer_allowed(tx, &before, spec.peer)?;
            let rule = group.rules.get_mut(&id).ok_or_else(|| rule_not_found(id))?;
            let same_kind = match (rule.peer, spec.peer) {
                (Peer::Cidr { block: old }, Peer::Cidr { block: new }) => old.family() == new.family(),
                (Peer::Group { .. }, Peer::Group { .. })
                | (Peer::PrefixList { .. }, Peer::PrefixList { .. }) => true,
                _ => false,
            };
            if !same_kind {
                return Err(Error::invalid_value(format!(
                    "You may not change the type of the rule {id}: an IPv4 block, an IPv6 block and a group stay what \
                     they are"
                )));
            }
            let direction = rule.direction;
            rule.traffic = spec.traffic;
            rule.peer = spec.peer;
            rule.description.clone_from(&spec.description);
            if group
                .rules
                .values()
                .filter(|rule| spec.is(direction, rule))
                .count()
                > 1
            {
                return Err(duplicate(&spec));
            }
        }
        tx.put(group);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
