//! `AWS::EC2::VPC` and `AWS::EC2::VPCCidrBlock`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

const IPAM: &str = "address pools of IPAM do not exist here; give the block itself";

/// A VPC. `Ref` is its id.
pub const VPC: ResourceType = ResourceType {
    name: "AWS::EC2::VPC",
    properties: &[
        Property::new("CidrBlock", Kind::String),
        Property::new("EnableDnsHostnames", Kind::Boolean),
        Property::new("EnableDnsSupport", Kind::Boolean),
        Property::new("InstanceTenancy", Kind::String).only(&["default"]),
        Property::new("Ipv4IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv4NetmaskLength", Kind::Integer).refused(IPAM),
        TAGS,
        Property::new("VpcEncryptionControl", Kind::Json)
            .refused("encryption in transit is not controlled here"),
    ],
    attributes: &[
        "CidrBlock",
        "CidrBlockAssociations",
        "DefaultNetworkAcl",
        "DefaultSecurityGroup",
        "Ipv6CidrBlocks",
        "VpcId",
    ],
    placeholder: false,
};

/// Another block of a VPC. `Ref` is the association's id.
pub const VPC_CIDR_BLOCK: ResourceType = ResourceType {
    name: "AWS::EC2::VPCCidrBlock",
    properties: &[
        Property::new("AmazonProvidedIpv6CidrBlock", Kind::Boolean),
        Property::new("CidrBlock", Kind::String),
        Property::new("Ipv4IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv4NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("Ipv6CidrBlock", Kind::String)
            .refused("blocks of one's own (BYOIP) do not exist here; set AmazonProvidedIpv6CidrBlock"),
        Property::new("Ipv6CidrBlockNetworkBorderGroup", Kind::String).not_in_effect(),
        Property::new("Ipv6IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv6NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("Ipv6Pool", Kind::String)
            .refused("blocks of one's own (BYOIP) do not exist here; set AmazonProvidedIpv6CidrBlock"),
        Property::new("VpcId", Kind::String).required(),
    ],
    attributes: &["Id", "IpSource", "Ipv6AddressAttribute"],
    placeholder: false,
};
