//! `Custom::VpcRestrictDefaultSG`, which the CDK puts beside a VPC: takes the default rules off the VPC's
//! default security group. On AWS a Lambda function does it; here the stack does it itself.

use atoll_model::{Direction, Peer, SecurityGroup, SecurityGroupId, Tags, Traffic};
use atoll_net::Prefix;
use atoll_region::security_group::{AuthorizeSecurityGroup, GroupRef, RevokeSecurityGroup, RuleSpec};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Life, Make};
use crate::schema::{Kind, Property, ResourceType};

/// The custom resource. `Ref` is a name without further meaning.
pub const RESTRICT_DEFAULT_GROUP: ResourceType = ResourceType {
    name: "Custom::VpcRestrictDefaultSG",
    properties: &[
        Property::new("Account", Kind::String),
        Property::new("DefaultSecurityGroupId", Kind::String).required(),
        Property::new("ServiceToken", Kind::String).required(),
        Property::new("ServiceTimeout", Kind::Integer).not_in_effect(),
    ],
    attributes: &[],
    placeholder: false,
    life: &RestrictLife,
};

/// The two rules that a default group is made with: everything in from its members, everything out to IPv4.
fn default_rules(group: &SecurityGroup) -> [(Direction, RuleSpec); 2] {
    let all = |peer| RuleSpec {
        traffic: Traffic::All,
        peer,
        description: None,
    };
    [
        (
            Direction::Ingress,
            all(Peer::Group {
                id: group.id,
                owner: group.owner,
                peering: None,
            }),
        ),
        (
            Direction::Egress,
            all(Peer::Cidr {
                block: Prefix::ALL_V4,
            }),
        ),
    ]
}

struct RestrictLife;

impl Life for RestrictLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let id: SecurityGroupId = make.given.required("DefaultSecurityGroupId")?;
        let group = make.tx.find::<SecurityGroup>(id)?;
        for (direction, rule) in default_rules(&group) {
            // One that somebody took away before is no error.
            if group.rules.values().any(|known| rule.is(direction, known)) {
                let rules = vec![rule];
                RevokeSecurityGroup {
                    group: GroupRef::Id(id),
                    direction,
                    rules,
                    ids: Vec::new(),
                }
                .apply(make.tx)?;
            }
        }
        let name = make.name();
        Ok(Created::untagged(name).remembering(id))
    }

    /// The rules are put back, as the CDK's handler does.
    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let id: SecurityGroupId = doomed.detail()?;
        let group = tx.find::<SecurityGroup>(id)?;
        for (direction, rule) in default_rules(&group) {
            if !group.rules.values().any(|known| rule.is(direction, known)) {
                let (group, rules) = (GroupRef::Id(id), vec![rule]);
                AuthorizeSecurityGroup {
                    group,
                    direction,
                    rules,
                    tags: Tags::new(),
                }
                .apply(tx)?;
            }
        }
        Ok(())
    }
}
