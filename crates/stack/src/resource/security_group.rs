//! `AWS::EC2::SecurityGroup`, `AWS::EC2::SecurityGroupIngress`, `AWS::EC2::SecurityGroupEgress`.

use atoll_model::{Direction, Peer, SecurityGroup, SecurityGroupId, SecurityGroupRuleId, Tags};
use atoll_net::Family;
use atoll_region::security_group::{
    AuthorizeSecurityGroup, CreateSecurityGroup, DeleteSecurityGroup, GroupRef, RevokeSecurityGroup,
    RuleSpec, cidr, traffic,
};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Given, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

const NO_LISTS: &str = "there are no prefix lists here";

/// A security group. `Ref` is its id.
pub const SECURITY_GROUP: ResourceType = ResourceType {
    name: "AWS::EC2::SecurityGroup",
    properties: &[
        Property::new("GroupDescription", Kind::String).required(),
        Property::new("GroupName", Kind::String),
        Property::new(
            "SecurityGroupEgress",
            Kind::Objects(&[
                Property::new("CidrIp", Kind::String),
                Property::new("CidrIpv6", Kind::String),
                Property::new("Description", Kind::String),
                Property::new("DestinationPrefixListId", Kind::String).refused(NO_LISTS),
                Property::new("DestinationSecurityGroupId", Kind::String),
                Property::new("FromPort", Kind::Integer),
                Property::new("IpProtocol", Kind::String).required(),
                Property::new("ToPort", Kind::Integer),
            ]),
        ),
        Property::new(
            "SecurityGroupIngress",
            Kind::Objects(&[
                Property::new("CidrIp", Kind::String),
                Property::new("CidrIpv6", Kind::String),
                Property::new("Description", Kind::String),
                Property::new("FromPort", Kind::Integer),
                Property::new("IpProtocol", Kind::String).required(),
                Property::new("SourcePrefixListId", Kind::String).refused(NO_LISTS),
                Property::new("SourceSecurityGroupId", Kind::String),
                Property::new("SourceSecurityGroupName", Kind::String),
                Property::new("SourceSecurityGroupOwnerId", Kind::String),
                Property::new("ToPort", Kind::Integer),
            ]),
        ),
        TAGS,
        Property::new("VpcId", Kind::String),
    ],
    attributes: &["GroupId", "Id", "VpcId"],
    placeholder: false,
    life: &GroupLife,
};

/// A rule for what comes in. `Ref` is the rule's id.
pub const INGRESS: ResourceType = ResourceType {
    name: "AWS::EC2::SecurityGroupIngress",
    properties: &[
        Property::new("CidrIp", Kind::String),
        Property::new("CidrIpv6", Kind::String),
        Property::new("Description", Kind::String),
        Property::new("FromPort", Kind::Integer),
        Property::new("GroupId", Kind::String),
        Property::new("GroupName", Kind::String),
        Property::new("IpProtocol", Kind::String).required(),
        Property::new("SourcePrefixListId", Kind::String).refused(NO_LISTS),
        Property::new("SourceSecurityGroupId", Kind::String),
        Property::new("SourceSecurityGroupName", Kind::String),
        Property::new("SourceSecurityGroupOwnerId", Kind::String),
        Property::new("ToPort", Kind::Integer),
    ],
    attributes: &["Id"],
    placeholder: false,
    life: &IngressLife,
};

/// A rule for what goes out. `Ref` is the rule's id.
pub const EGRESS: ResourceType = ResourceType {
    name: "AWS::EC2::SecurityGroupEgress",
    properties: &[
        Property::new("CidrIp", Kind::String),
        Property::new("CidrIpv6", Kind::String),
        Property::new("Description", Kind::String),
        Property::new("DestinationPrefixListId", Kind::String).refused(NO_LISTS),
        Property::new("DestinationSecurityGroupId", Kind::String),
        Property::new("FromPort", Kind::Integer),
        Property::new("GroupId", Kind::String).required(),
        Property::new("IpProtocol", Kind::String).required(),
        Property::new("ToPort", Kind::Integer),
    ],
    attributes: &["Id"],
    placeholder: false,
    life: &EgressLife,
};

/// The far side of a rule: its properties are named after the direction.
fn peer(make: &Make<'_>, given: Given<'_>, direction: Direction) -> Result<Peer, Failure> {
    let id_name = match direction {
        Direction::Ingress => "SourceSecurityGroupId",
        Direction::Egress => "DestinationSecurityGroupId",
    };
    let mut peers = Vec::new();
    for (name, family) in [("CidrIp", Family::V4), ("CidrIpv6", Family::V6)] {
        if let Some(text) = given.text(name) {
            peers.push(cidr(&text, family).map_err(|e| Failure::of(name, e.message))?);
        }
    }
    let owner = given
        .parsed("SourceSecurityGroupOwnerId")?
        .unwrap_or(make.stack.owner);
    if let Some(id) = given.parsed::<SecurityGroupId>(id_name)? {
        peers.push(Peer::Group {
            id,
            owner,
            peering: None,
        });
    }
    if let Some(name) = given.text("SourceSecurityGroupName") {
        let group = GroupRef::Name(name).find(make.tx.region(), owner)?;
        peers.push(Peer::Group {
            id: group.id,
            owner,
            peering: None,
        });
    }
    match peers[..] {
        [peer] => Ok(peer),
        _ => Err(Failure::of(
            "CidrIp",
            format!("Exactly one of CidrIp, CidrIpv6 and {id_name} must be given"),
        )),
    }
}

fn rule(make: &Make<'_>, given: Given<'_>, direction: Direction) -> Result<RuleSpec, Failure> {
    let protocol = given.text("IpProtocol").unwrap_or_default();
    let traffic = traffic(&protocol, given.integer("FromPort")?, given.integer("ToPort")?)
        .map_err(|e| Failure::of("IpProtocol", e.message))?;
    Ok(RuleSpec {
        traffic,
        peer: peer(make, given, direction)?,
        description: given.text("Description"),
    })
}

fn rules(make: &Make<'_>, property: &str, direction: Direction) -> Result<Vec<RuleSpec>, Failure> {
    let objects = make.given.objects(property).into_iter().enumerate();
    objects
        .map(|(index, given)| {
            rule(make, given, direction).map_err(|failure| Failure {
                property: Some(match failure.property {
                    Some(inner) => format!("{property}[{index}].{inner}"),
                    None => format!("{property}[{index}]"),
                }),
                ..failure
            })
        })
        .collect()
}

struct GroupLife;

impl Life for GroupLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let name = make.given.text("GroupName").unwrap_or_else(|| make.name());
        let description = make.given.text("GroupDescription").unwrap_or_default();
        let vpc = make.given.parsed("VpcId")?;
        let tags = make.tags()?;
        let group = CreateSecurityGroup {
            name,
            description,
            vpc,
            tags,
        }
        .apply(make.tx)?;
        let ingress = rules(make, "SecurityGroupIngress", Direction::Ingress)?;
        let egress = rules(make, "SecurityGroupEgress", Direction::Egress)?;
        let given: Vec<SecurityGroupRuleId> = group.rules_of(Direction::Egress).map(|(id, _)| id).collect();
        // The rules that every group is made with go when others are given; an empty list gives none.
        let remembered = if egress.is_empty() {
            given
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        } else {
            revoke(make.tx, group.id, Direction::Egress, given)?;
            String::new()
        };
        for (direction, rules) in [(Direction::Ingress, ingress), (Direction::Egress, egress)] {
            if !rules.is_empty() {
                let group = GroupRef::Id(group.id);
                AuthorizeSecurityGroup {
                    group,
                    direction,
                    rules,
                    tags: Tags::new(),
                }
                .apply(make.tx)?;
            }
        }
        Ok(Created::tagged(group.id).remembering(remembered))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        match name {
            "GroupId" | "Id" => Some(seen.physical.into()),
            "VpcId" => Some(seen.row::<SecurityGroup>()?.vpc.to_string().into()),
            _ => None,
        }
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteSecurityGroup {
            group: GroupRef::Id(doomed.id()?),
        }
        .apply(tx)
        .map(|_| ())
    }
}

fn revoke(
    tx: &mut Transaction,
    group: SecurityGroupId,
    direction: Direction,
    ids: Vec<SecurityGroupRuleId>,
) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    RevokeSecurityGroup {
        group: GroupRef::Id(group),
        direction,
        rules: Vec::new(),
        ids,
    }
    .apply(tx)
    .map(|_| ())
}

fn add(make: &mut Make<'_>, direction: Direction) -> Result<Created, Failure> {
    let group = match (
        make.given.parsed::<SecurityGroupId>("GroupId")?,
        make.given.text("GroupName"),
    ) {
        (Some(id), _) => GroupRef::Id(id),
        (None, Some(name)) => GroupRef::Name(name),
        (None, None) => return Err(Failure::of("GroupId", "GroupId or GroupName must be given")),
    };
    let rules = vec![rule(make, make.given, direction)?];
    let command = AuthorizeSecurityGroup {
        group,
        direction,
        rules,
        tags: Tags::new(),
    };
    let (group, added) = command.apply(make.tx)?;
    let (id, _) = added
        .first()
        .ok_or_else(|| Error::internal("an authorized rule is not there"))?;
    Ok(Created::tagged(id).remembering(group))
}

fn take(tx: &mut Transaction, doomed: &Doomed<'_>, direction: Direction) -> Result<(), Error> {
    revoke(tx, doomed.detail()?, direction, vec![doomed.id()?])
}

struct IngressLife;

impl Life for IngressLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        add(make, Direction::Ingress)
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        take(tx, doomed, Direction::Ingress)
    }
}

struct EgressLife;

impl EgressLife {
    /// The outbound rules that a group of this stack was made with, if they still stand: they go with the first
    /// rule that the template adds.
    fn made_with(make: &Make<'_>, group: SecurityGroupId) -> Vec<SecurityGroupRuleId> {
        let text = group.to_string();
        let resource = make
            .stack
            .resources
            .values()
            .find(|resource| resource.physical.as_ref() == Some(&text));
        let remembered = resource
            .and_then(|resource| resource.detail.as_deref())
            .unwrap_or_default();
        let Ok(row) = make.tx.find::<SecurityGroup>(group) else {
            return Vec::new();
        };
        remembered
            .split(',')
            .filter_map(|id| id.parse().ok())
            .filter(|id| row.rules.contains_key(id))
            .collect()
    }
}

impl Life for EgressLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let group = make.given.required("GroupId")?;
        let made_with = Self::made_with(make, group);
        revoke(make.tx, group, Direction::Egress, made_with)?;
        add(make, Direction::Egress)
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        take(tx, doomed, Direction::Egress)
    }
}
