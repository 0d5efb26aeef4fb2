//! `AWS::EC2::InternetGateway` and `AWS::EC2::VPCGatewayAttachment`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

/// An internet gateway. `Ref` is its id.
pub const INTERNET_GATEWAY: ResourceType = ResourceType {
    name: "AWS::EC2::InternetGateway",
    properties: &[TAGS],
    attributes: &["InternetGatewayId"],
    placeholder: false,
};

/// The attachment of an internet gateway to a VPC. `Ref` is `IGW|` and the VPC's id.
pub const VPC_GATEWAY_ATTACHMENT: ResourceType = ResourceType {
    name: "AWS::EC2::VPCGatewayAttachment",
    properties: &[
        Property::new("InternetGatewayId", Kind::String).required(),
        Property::new("VpcId", Kind::String).required(),
        Property::new("VpnGatewayId", Kind::String).refused("there are no virtual private gateways here"),
    ],
    attributes: &["AttachmentType"],
    placeholder: false,
};
