//! `AWS::EC2::NetworkAcl`, `AWS::EC2::NetworkAclEntry`, `AWS::EC2::SubnetNetworkAclAssociation`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

/// A network ACL. `Ref` is its id.
pub const NETWORK_ACL: ResourceType = ResourceType {
    name: "AWS::EC2::NetworkAcl",
    properties: &[TAGS, Property::new("VpcId", Kind::String).required()],
    attributes: &["Id"],
    placeholder: false,
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
};
