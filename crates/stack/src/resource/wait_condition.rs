//! `AWS::CloudFormation::WaitCondition` and its handle.

use crate::schema::{Kind, Property, ResourceType};

/// Waits until so many signals came to its handle (or, with a creation policy, to itself). `Ref` is its
/// name.
pub const WAIT_CONDITION: ResourceType = ResourceType {
    name: "AWS::CloudFormation::WaitCondition",
    properties: &[
        Property::new("Count", Kind::Integer),
        Property::new("Handle", Kind::String),
        Property::new("Timeout", Kind::Integer),
    ],
    attributes: &["Data"],
    placeholder: false,
};

/// Where signals for a wait condition go. `Ref` is what `cfn-signal` takes in the place of a URL.
pub const WAIT_CONDITION_HANDLE: ResourceType = ResourceType {
    name: "AWS::CloudFormation::WaitConditionHandle",
    properties: &[],
    attributes: &[],
    placeholder: false,
};
