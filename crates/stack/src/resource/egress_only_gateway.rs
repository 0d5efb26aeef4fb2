//! `AWS::EC2::EgressOnlyInternetGateway`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

/// An egress-only internet gateway. `Ref` is its id.
pub const EGRESS_ONLY_GATEWAY: ResourceType = ResourceType {
    name: "AWS::EC2::EgressOnlyInternetGateway",
    properties: &[TAGS, Property::new("VpcId", Kind::String).required()],
    attributes: &["Id"],
    placeholder: false,
};
