//! Tags: at creation and afterwards, on every row and on the rules of security groups.

use atoll_model::tag::{MAX_TAGS, TagError, check, is_reserved};
use atoll_model::{
    AllocationId, EgressOnlyGatewayId, EniId, HostId, InstanceId, InternetGatewayId, Key, NatGatewayId,
    NetworkAclId, RouteTableId, Row, SecurityGroup, SecurityGroupId, SecurityGroupRuleId, SubnetId, Tags,
    VpcId,
};

use crate::error::Error;
use crate::index::Index;
use crate::state::{Noun, Region};
use crate::transaction::{Command, Transaction};

/// Most resources one call may name; less than AWS's 1000, because all change in one delta.
pub const MAX_RESOURCES: usize = atoll_model::Delta::MAX_ROWS;

/// Whether a resource may carry these tags. Keys of AWS's own (`aws:…`) pass and do not count, for services set them;
/// the wire refuses a person's.
///
/// # Errors
/// `TagLimitExceeded` over 50 tags, `InvalidParameterValue` for a key or value that cannot be.
pub fn allowed(tags: &Tags) -> Result<(), Error> {
    let mut own = 0;
    for (key, value) in tags {
        match check(key, value) {
            Ok(()) => own += 1,
            Err(TagError::Reserved) => {}
            Err(error) => return Err(Error::invalid_value(error.to_string())),
        }
    }
    if own > MAX_TAGS {
        return Err(Error::new(
            "TagLimitExceeded",
            format!("The maximum number of Tags for a resource has been reached: it may have {MAX_TAGS}"),
        ));
    }
    Ok(())
}

/// Something that carries tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taggable {
    /// A row.
    Row(Key),
    /// A rule of a security group.
    Rule(SecurityGroupRuleId),
}

impl Taggable {
    /// From an id of any kind that carries tags.
    ///
    /// # Errors
    /// `InvalidID` for any other text.
    pub fn parse(text: &str) -> Result<Taggable, Error> {
        macro_rules! first_of {
            ($($id:ty => $make:expr),+ $(,)?) => {
                $(if let Ok(id) = text.parse::<$id>() { return Ok($make(id)); })+
            };
        }
        first_of!(
            VpcId => |id| Taggable::Row(Key::Vpc(id)),
            SubnetId => |id| Taggable::Row(Key::Subnet(id)),
            RouteTableId => |id| Taggable::Row(Key::RouteTable(id)),
            InternetGatewayId => |id| Taggable::Row(Key::InternetGateway(id)),
            EgressOnlyGatewayId => |id| Taggable::Row(Key::EgressOnlyGateway(id)),
            NatGatewayId => |id| Taggable::Row(Key::NatGateway(id)),
            AllocationId => |id| Taggable::Row(Key::ElasticIp(id)),
            NetworkAclId => |id| Taggable::Row(Key::NetworkAcl(id)),
            SecurityGroupId => |id| Taggable::Row(Key::SecurityGroup(id)),
            EniId => |id| Taggable::Row(Key::NetworkInterface(id)),
            InstanceId => |id| Taggable::Row(Key::Instance(id)),
            HostId => |id| Taggable::Row(Key::Host(id)),
            SecurityGroupRuleId => Taggable::Rule,
        );
        Err(Error::new(
            "InvalidID",
            format!(
                "The ID '{}' is not valid",
                text.chars().take(64).collect::<String>()
            ),
        ))
    }

    /// What DescribeTags calls its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Taggable::Rule(_) => "security-group-rule",
            Taggable::Row(key) => match key {
                Key::Vpc(_) => "vpc",
                Key::Subnet(_) => "subnet",
                Key::RouteTable(_) => "route-table",
                Key::InternetGateway(_) => "internet-gateway",
                Key::EgressOnlyGateway(_) => "egress-only-internet-gateway",
                Key::NatGateway(_) => "natgateway",
                Key::ElasticIp(_) => "elastic-ip",
                Key::NetworkAcl(_) => "network-acl",
                Key::SecurityGroup(_) => "security-group",
                Key::NetworkInterface(_) => "network-interface",
                Key::Instance(_) => "instance",
                Key::Host(_) => "dedicated-host",
                Key::Stack(_) => "stack",
                Key::StackTemplate(_) => "stack-template",
                Key::StackEvent(_) => "stack-event",
            },
        }
    }

    /// Its id.
    pub fn text(self) -> String {
        match self {
            Taggable::Row(key) => key.text(),
            Taggable::Rule(id) => id.to_string(),
        }
    }
}

/// Every tag of the account's, with what it is on.
pub fn every(region: &Region, account: atoll_model::AccountId) -> Vec<(Taggable, String, String)> {
    let mut found = Vec::new();
    let mut add = |on: Taggable, tags: &Tags| {
        found.extend(tags.iter().map(|(k, v)| (on, k.clone(), v.clone())));
    };
    for row in region.rows() {
        let key = row.key();
        // A stack's tags are CloudFormation's: EC2 does not list them.
        if region.owner_of(key) != Some(account) || matches!(row, Row::Stack(_)) {
            continue;
        }
        add(Taggable::Row(key), tags_of(&row));
        if let Row::SecurityGroup(group) = &row {
            for (id, rule) in &group.rules {
                add(Taggable::Rule(*id), &rule.tags);
            }
        }
    }
    found
}

/// The tags of a row, whatever its noun.
pub fn tags_of(row: &Row) -> &Tags {
    match row {
        Row::Vpc(r) => &r.tags,
        Row::Subnet(r) => &r.tags,
        Row::RouteTable(r) => &r.tags,
        Row::InternetGateway(r) => &r.tags,
        Row::EgressOnlyGateway(r) => &r.tags,
        Row::NatGateway(r) => &r.tags,
        Row::ElasticIp(r) => &r.tags,
        Row::NetworkAcl(r) => &r.tags,
        Row::SecurityGroup(r) => &r.tags,
        Row::NetworkInterface(r) => &r.tags,
        Row::Instance(r) => &r.tags,
        Row::Host(r) => &r.tags,
        Row::Stack(r) => &r.tags,
        Row::StackTemplate(r) => &r.tags,
        Row::StackEvent(r) => &r.tags,
    }
}

/// Changes the tags of something the caller owns.
///
/// # Errors
/// The noun's own error for an unknown id, and what `change` returns.
pub fn change(
    tx: &mut Transaction,
    on: Taggable,
    change: impl FnOnce(&mut Tags) -> Result<(), Error>,
) -> Result<(), Error> {
    fn of<N: Noun>(
        tx: &mut Transaction,
        id: N::Id,
        change: impl FnOnce(&mut Tags) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut row = (*tx.find::<N>(id)?).clone();
        change(row.tags_mut())?;
        tx.put(row);
        Ok(())
    }
    match on {
        Taggable::Row(key) => match key {
            Key::Vpc(id) => of::<atoll_model::Vpc>(tx, id, change),
            Key::Subnet(id) => of::<atoll_model::Subnet>(tx, id, change),
            Key::RouteTable(id) => of::<atoll_model::RouteTable>(tx, id, change),
            Key::InternetGateway(id) => of::<atoll_model::InternetGateway>(tx, id, change),
            Key::EgressOnlyGateway(id) => of::<atoll_model::EgressOnlyInternetGateway>(tx, id, change),
            Key::NatGateway(id) => of::<atoll_model::NatGateway>(tx, id, change),
            Key::ElasticIp(id) => of::<atoll_model::ElasticIp>(tx, id, change),
            Key::NetworkAcl(id) => of::<atoll_model::NetworkAcl>(tx, id, change),
            Key::SecurityGroup(id) => of::<SecurityGroup>(tx, id, change),
            Key::NetworkInterface(id) => of::<atoll_model::NetworkInterface>(tx, id, change),
            Key::Instance(id) => of::<atoll_model::Instance>(tx, id, change),
            Key::Host(id) => of::<atoll_model::Host>(tx, id, change),
            Key::Stack(id) => of::<atoll_model::Stack>(tx, id, change),
            Key::StackTemplate(id) => of::<atoll_model::StackTemplate>(tx, id, change),
            Key::StackEvent(id) => of::<atoll_model::StackEvent>(tx, id, change),
        },
        Taggable::Rule(id) => {
            let group = group_of(tx, id)?;
            let mut group = (*group).clone();
            if let Some(rule) = group.rules.get_mut(&id) {
                change(&mut rule.tags)?;
            }
            tx.put(group);
            Ok(())
        }
    }
}

fn group_of(tx: &Transaction, rule: SecurityGroupRuleId) -> Result<std::sync::Arc<SecurityGroup>, Error> {
    tx.region()
        .indexed(Index::Rule(rule))
        .find_map(|key| match key {
            Key::SecurityGroup(id) => tx.find::<SecurityGroup>(id).ok(),
            _ => None,
        })
        .ok_or_else(|| crate::security_group::rule_not_found(rule))
}

fn at_most(resources: &[Taggable]) -> Result<(), Error> {
    if resources.is_empty() {
        return Err(Error::missing("resourceIdSet"));
    }
    if resources.len() > MAX_RESOURCES {
        return Err(Error::new(
            "TooManyResources",
            format!(
                "{} resources were named; at most {MAX_RESOURCES} can be tagged in one call",
                resources.len()
            ),
        ));
    }
    Ok(())
}

/// CreateTags: sets tags on resources; one of the same key is replaced. Keys of AWS's own pass, for services set them;
/// the wire refuses a person's.
#[derive(Clone, Debug, Default)]
pub struct CreateTags {
    /// What to tag, at most [`MAX_RESOURCES`].
    pub resources: Vec<Taggable>,
    /// The tags.
    pub tags: Tags,
}

impl Command for CreateTags {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        at_most(&self.resources)?;
        if self.tags.is_empty() {
            return Err(Error::missing("tagSet"));
        }
        for resource in self.resources {
            change(tx, resource, |tags| {
                tags.extend(self.tags.clone());
                allowed(tags)
            })?;
        }
        Ok(())
    }
}

/// DeleteTags: takes tags off resources; those that are not there are no error.
#[derive(Clone, Debug, Default)]
pub struct DeleteTags {
    /// From what to take, at most [`MAX_RESOURCES`].
    pub resources: Vec<Taggable>,
    /// Keys; with a value, only where the tag has that value. None at all: every tag of a person's.
    pub tags: Vec<(String, Option<String>)>,
}

impl Command for DeleteTags {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        at_most(&self.resources)?;
        for (key, value) in &self.tags {
            check(key, value.as_deref().unwrap_or("")).map_err(|e| Error::invalid_value(e.to_string()))?;
        }
        for resource in self.resources {
            change(tx, resource, |tags| {
                if self.tags.is_empty() {
                    tags.retain(|key, _| is_reserved(key));
                }
                for (key, value) in &self.tags {
                    if value.as_ref().is_none_or(|v| tags.get(key) == Some(v)) {
                        tags.remove(key);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
