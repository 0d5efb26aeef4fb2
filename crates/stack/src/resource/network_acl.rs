//! `AWS::EC2::NetworkAcl`, `AWS::EC2::NetworkAclEntry`, `AWS::EC2::SubnetNetworkAclAssociation`.

use atoll_model::{AclEntry, Direction, NetworkAclAssociationId, NetworkAclId, RuleAction, SubnetId, Vpc};
use atoll_net::PortRange;
use atoll_region::network_acl::{
    CreateNetworkAcl, CreateNetworkAclEntry, DeleteNetworkAcl, DeleteNetworkAclEntry,
    ReplaceNetworkAclAssociation, of_subnet,
};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Given, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

/// A network ACL. `Ref` is its id.
pub const NETWORK_ACL: ResourceType = ResourceType {
    name: "AWS::EC2::NetworkAcl",
    properties: &[TAGS, Property::new("VpcId", Kind::String).required()],
    attributes: &["Id"],
    placeholder: false,
    life: &AclLife,
};

/// A rule of a network ACL. `Ref` is a name made of the ACL, the direction and the number.
pub const ENTRY: ResourceType = ResourceType {
    name: "AWS::EC2::NetworkAclEntry",
    properties: &[
        Property::new("CidrBlock", Kind::String),
        Property::new("Egress", Kind::Boolean),
        Property::new(
            "Icmp",
            Kind::Object(&[
                Property::new("Code", Kind::Integer),
                Property::new("Type", Kind::Integer),
            ]),
        ),
        Property::new("Ipv6CidrBlock", Kind::String),
        Property::new("NetworkAclId", Kind::String).required(),
        Property::new(
            "PortRange",
            Kind::Object(&[
                Property::new("From", Kind::Integer),
                Property::new("To", Kind::Integer),
            ]),
        ),
        Property::new("Protocol", Kind::Integer).required(),
        Property::new("RuleAction", Kind::String).required(),
        Property::new("RuleNumber", Kind::Integer).required(),
    ],
    attributes: &["Id"],
    placeholder: false,
    life: &EntryLife,
};

/// The association of a network ACL with a subnet. `Ref` is its id.
pub const ASSOCIATION: ResourceType = ResourceType {
    name: "AWS::EC2::SubnetNetworkAclAssociation",
    properties: &[
        Property::new("NetworkAclId", Kind::String).required(),
        Property::new("SubnetId", Kind::String).required(),
    ],
    attributes: &["AssociationId"],
    placeholder: false,
    life: &AssociationLife,
};

struct AclLife;

impl Life for AclLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let vpc = make.given.required("VpcId")?;
        let tags = make.tags()?;
        Ok(Created::tagged(
            CreateNetworkAcl {
                vpc,
                client_token: None,
                tags,
            }
            .apply(make.tx)?,
        ))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteNetworkAcl { acl: doomed.id()? }.apply(tx)
    }
}

struct EntryLife;

impl EntryLife {
    fn entry(given: Given<'_>) -> Result<AclEntry, Failure> {
        let cidr = match (given.block("CidrBlock")?, given.block("Ipv6CidrBlock")?) {
            (Some(block), None) | (None, Some(block)) => block,
            _ => {
                return Err(Failure::of(
                    "CidrBlock",
                    "Exactly one of CidrBlock and Ipv6CidrBlock must be given",
                ));
            }
        };
        let action: RuleAction = given
            .text("RuleAction")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .parse()
            .map_err(|text: String| {
                Failure::of(
                    "RuleAction",
                    format!("'{text}': only allow and deny are possible"),
                )
            })?;
        let protocol = given.text("Protocol").unwrap_or_default();
        let pair = |name: &str, first: &str, second: &str| match given.object(name) {
            None => Ok((None, None)),
            Some(pair) => Ok::<_, Failure>((pair.integer(first)?, pair.integer(second)?)),
        };
        let (from, to) = match protocol.as_str() {
            "1" | "58" => pair("Icmp", "Type", "Code")?,
            "6" | "17" => {
                let (from, to) = pair("PortRange", "From", "To")?;
                // -1 to -1 and nothing at all are every port, as in EC2's console.
                match (from, to) {
                    (Some(-1), Some(-1)) => (
                        Some(i32::from(PortRange::ALL.from)),
                        Some(i32::from(PortRange::ALL.to)),
                    ),
                    (None, None) => return Err(Failure::of("PortRange", "cannot be empty for TCP and UDP")),
                    pair => pair,
                }
            }
            _ => (None, None),
        };
        let traffic = atoll_region::security_group::traffic(&protocol, from, to).map_err(|e| {
            Failure::of(
                if matches!(protocol.as_str(), "1" | "58") {
                    "Icmp"
                } else {
                    "Protocol"
                },
                e.message,
            )
        })?;
        Ok(AclEntry {
            action,
            cidr,
            traffic,
        })
    }

    fn parse(physical: &str) -> Option<(NetworkAclId, Direction, u16)> {
        let mut parts = physical.split('|');
        Some((
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        ))
    }
}

impl Life for EntryLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let acl: NetworkAclId = given.required("NetworkAclId")?;
        let direction = if given.boolean("Egress").unwrap_or(false) {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let number = given
            .integer::<u16>("RuleNumber")?
            .ok_or_else(|| Failure::of("RuleNumber", "cannot be empty"))?;
        let entry = Self::entry(given)?;
        CreateNetworkAclEntry {
            acl,
            direction,
            number,
            entry,
        }
        .apply(make.tx)?;
        Ok(Created::untagged(format!("{acl}|{direction}|{number}")))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let (acl, direction, number) = Self::parse(doomed.physical)
            .ok_or_else(|| Error::internal(format!("{} names no rule", doomed.physical)))?;
        DeleteNetworkAclEntry {
            acl,
            direction,
            number,
        }
        .apply(tx)
    }
}

struct AssociationLife;

impl Life for AssociationLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let acl = make.given.required("NetworkAclId")?;
        let subnet: SubnetId = make.given.required("SubnetId")?;
        make.tx.find::<atoll_model::Subnet>(subnet)?;
        let standing = of_subnet(make.tx.region(), subnet).and_then(|standing| {
            standing
                .associations
                .iter()
                .find(|(_, id)| **id == subnet)
                .map(|(id, _)| *id)
        });
        let association =
            standing.ok_or_else(|| Failure::of("SubnetId", format!("{subnet} stands in no network ACL")))?;
        let association = ReplaceNetworkAclAssociation { association, acl }.apply(make.tx)?;
        Ok(Created::untagged(association).remembering(subnet))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "AssociationId").then(|| seen.physical.into())
    }

    /// The subnet goes back to its VPC's default ACL, unless somebody has moved it since.
    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let association: NetworkAclAssociationId = doomed.id()?;
        let standing = of_subnet(tx.region(), doomed.detail()?);
        let Some(standing) = standing.filter(|acl| acl.associations.contains_key(&association)) else {
            return Ok(());
        };
        let acl = tx.find::<Vpc>(standing.vpc)?.default_network_acl;
        ReplaceNetworkAclAssociation { association, acl }
            .apply(tx)
            .map(|_| ())
    }
}
