//! `AWS::EC2::Subnet` and `AWS::EC2::SubnetCidrBlock`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

const IPAM: &str = "address pools of IPAM do not exist here; give the block itself";

/// A subnet. `Ref` is its id.
pub const SUBNET: ResourceType = ResourceType {
    name: "AWS::EC2::Subnet",
    properties: &[
        Property::new("AssignIpv6AddressOnCreation", Kind::Boolean),
        Property::new("AvailabilityZone", Kind::String),
        Property::new("AvailabilityZoneId", Kind::String),
        Property::new("CidrBlock", Kind::String),
        Property::new("EnableDns64", Kind::Boolean),
        Property::new("EnableLniAtDeviceIndex", Kind::Integer).refused("there are no Outposts here"),
        Property::new("Ipv4IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv4NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("Ipv6CidrBlock", Kind::String),
        Property::new("Ipv6IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv6Native", Kind::Boolean),
        Property::new("Ipv6NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("MapPublicIpOnLaunch", Kind::Boolean),
        Property::new("OutpostArn", Kind::String).refused("there are no Outposts here"),
        Property::new(
            "PrivateDnsNameOptionsOnLaunch",
            Kind::Object(&[
                Property::new("EnableResourceNameDnsAAAARecord", Kind::Boolean),
                Property::new("EnableResourceNameDnsARecord", Kind::Boolean),
                Property::new("HostnameType", Kind::String),
            ]),
        ),
        TAGS,
        Property::new("VpcId", Kind::String).required(),
    ],
    attributes: &[
        "AvailabilityZone",
        "AvailabilityZoneId",
        "CidrBlock",
        "Ipv6CidrBlocks",
        "NetworkAclAssociationId",
        "SubnetId",
        "VpcId",
    ],
    placeholder: false,
};

/// An IPv6 block of a subnet. `Ref` is the association's id.
pub const SUBNET_CIDR_BLOCK: ResourceType = ResourceType {
    name: "AWS::EC2::SubnetCidrBlock",
    properties: &[
        Property::new("Ipv6CidrBlock", Kind::String).required(),
        Property::new("Ipv6IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv6NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("SubnetId", Kind::String).required(),
    ],
    attributes: &["Id", "IpSource", "Ipv6AddressAttribute"],
    placeholder: false,
};
