//! `AWS::EC2::RouteTable`, `AWS::EC2::Route`, `AWS::EC2::SubnetRouteTableAssociation`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

/// A route table. `Ref` is its id.
pub const ROUTE_TABLE: ResourceType = ResourceType {
    name: "AWS::EC2::RouteTable",
    properties: &[TAGS, Property::new("VpcId", Kind::String).required()],
    attributes: &["RouteTableId"],
    placeholder: false,
};

/// A route. `Ref` is the table's id, a bar, and the destination.
pub const ROUTE: ResourceType = ResourceType {
    name: "AWS::EC2::Route",
    properties: &[
        Property::new("CarrierGatewayId", Kind::String).refused("there are no carrier gateways here"),
        Property::new("CoreNetworkArn", Kind::String).refused("there are no core networks here"),
        Property::new("DestinationCidrBlock", Kind::String),
        Property::new("DestinationIpv6CidrBlock", Kind::String),
        Property::new("DestinationPrefixListId", Kind::String).refused("there are no prefix lists here"),
        Property::new("EgressOnlyInternetGatewayId", Kind::String),
        Property::new("GatewayId", Kind::String),
        Property::new("InstanceId", Kind::String),
        Property::new("LocalGatewayId", Kind::String).refused("there are no local gateways here"),
        Property::new("NatGatewayId", Kind::String),
        Property::new("NetworkInterfaceId", Kind::String),
        Property::new("OdbNetworkArn", Kind::String).refused("there are no database networks here"),
        Property::new("RouteTableId", Kind::String).required(),
        Property::new("TransitGatewayId", Kind::String).refused("there are no transit gateways here"),
        Property::new("VpcEndpointId", Kind::String).refused("there are no endpoints here"),
        Property::new("VpcPeeringConnectionId", Kind::String)
            .refused("there are no peering connections here"),
    ],
    attributes: &["CidrBlock"],
    placeholder: false,
};

/// The association of a route table with a subnet. `Ref` is its id.
pub const ASSOCIATION: ResourceType = ResourceType {
    name: "AWS::EC2::SubnetRouteTableAssociation",
    properties: &[
        Property::new("RouteTableId", Kind::String).required(),
        Property::new("SubnetId", Kind::String).required(),
    ],
    attributes: &["Id"],
    placeholder: false,
};
