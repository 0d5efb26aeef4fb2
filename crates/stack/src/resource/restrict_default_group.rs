//! `Custom::VpcRestrictDefaultSG`, which the CDK puts beside a VPC: takes the default rules off the VPC's
//! default security group. On AWS a Lambda function does it; here the stack does it itself.

use crate::schema::{Kind, Property, ResourceType};

/// The custom resource. `Ref` is a name without further meaning.
pub const RESTRICT_DEFAULT_GROUP: ResourceType = ResourceType {
    name: "Custom::VpcRestrictDefaultSG",
    properties: &[
        Property::new("Account", Kind::String),
        Property::new("DefaultSecurityGroupId", Kind::String).required(),
        Property::new("ServiceToken", Kind::String).required(),
        Property::new("ServiceTimeout", Kind::Integer).not_in_effect(),
    ],
    attributes: &[],
    placeholder: false,
};
