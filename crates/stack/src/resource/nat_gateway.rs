//! `AWS::EC2::NatGateway`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

const REGIONAL: &str = "regional NAT gateways do not exist here; make one a zone";

/// A NAT gateway. `Ref` is its id.
pub const NAT_GATEWAY: ResourceType = ResourceType {
    name: "AWS::EC2::NatGateway",
    properties: &[
        Property::new("AllocationId", Kind::String),
        Property::new("AvailabilityMode", Kind::String).only(&["zonal"]),
        Property::new("AvailabilityZoneAddresses", Kind::Json).refused(REGIONAL),
        Property::new("ConnectivityType", Kind::String),
        Property::new("MaxDrainDurationSeconds", Kind::Integer).not_in_effect(),
        Property::new("PrivateIpAddress", Kind::String),
        Property::new("SecondaryAllocationIds", Kind::Strings),
        Property::new("SecondaryPrivateIpAddressCount", Kind::Integer),
        Property::new("SecondaryPrivateIpAddresses", Kind::Strings),
        Property::new("SubnetId", Kind::String).required(),
        TAGS,
        Property::new("VpcId", Kind::String).refused(REGIONAL),
    ],
    attributes: &["EniId", "NatGatewayId"],
    placeholder: false,
};
