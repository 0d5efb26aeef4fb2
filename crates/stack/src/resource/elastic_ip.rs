//! `AWS::EC2::EIP` and `AWS::EC2::EIPAssociation`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

/// An Elastic IP. `Ref` is the public address.
pub const EIP: ResourceType = ResourceType {
    name: "AWS::EC2::EIP",
    properties: &[
        Property::new("Address", Kind::String),
        Property::new("Domain", Kind::String).only(&["vpc"]),
        Property::new("InstanceId", Kind::String),
        Property::new("IpamPoolId", Kind::String).refused("address pools of IPAM do not exist here"),
        Property::new("NetworkBorderGroup", Kind::String).not_in_effect(),
        Property::new("PublicIpv4Pool", Kind::String).only(&["amazon"]),
        TAGS,
        Property::new("TransferAddress", Kind::String)
            .refused("addresses are not transferred between accounts here"),
    ],
    attributes: &["AllocationId", "PublicIp"],
    placeholder: false,
};

/// The association of an Elastic IP. `Ref` is its id.
pub const EIP_ASSOCIATION: ResourceType = ResourceType {
    name: "AWS::EC2::EIPAssociation",
    properties: &[
        Property::new("AllocationId", Kind::String),
        Property::new("EIP", Kind::String),
        Property::new("InstanceId", Kind::String),
        Property::new("NetworkInterfaceId", Kind::String),
        Property::new("PrivateIpAddress", Kind::String),
    ],
    attributes: &["Id"],
    placeholder: false,
};
