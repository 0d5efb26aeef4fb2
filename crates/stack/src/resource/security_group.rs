//! `AWS::EC2::SecurityGroup`, `AWS::EC2::SecurityGroupIngress`, `AWS::EC2::SecurityGroupEgress`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

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
};
