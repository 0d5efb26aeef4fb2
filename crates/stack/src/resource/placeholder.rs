//! Types that are accepted and not in effect, each with a warning: they get an id, so that what refers to
//! them can be made.

use crate::schema::{Kind, Property, ResourceType, TAGS};

/// `AWS::EC2::DHCPOptions`.
pub const DHCP_OPTIONS: ResourceType = ResourceType {
    name: "AWS::EC2::DHCPOptions",
    properties: &[
        Property::new("DomainName", Kind::String),
        Property::new("DomainNameServers", Kind::Strings),
        Property::new("Ipv6AddressPreferredLeaseTime", Kind::Integer),
        Property::new("NetbiosNameServers", Kind::Strings),
        Property::new("NetbiosNodeType", Kind::Integer),
        Property::new("NtpServers", Kind::Strings),
        TAGS,
    ],
    attributes: &["DhcpOptionsId"],
    placeholder: true,
};

/// `AWS::EC2::VPCDHCPOptionsAssociation`.
pub const DHCP_OPTIONS_ASSOCIATION: ResourceType = ResourceType {
    name: "AWS::EC2::VPCDHCPOptionsAssociation",
    properties: &[
        Property::new("DhcpOptionsId", Kind::String).required(),
        Property::new("VpcId", Kind::String).required(),
    ],
    attributes: &[],
    placeholder: true,
};

/// `AWS::EC2::VPCEndpoint`.
pub const VPC_ENDPOINT: ResourceType = ResourceType {
    name: "AWS::EC2::VPCEndpoint",
    properties: &[
        Property::new("DnsOptions", Kind::Json),
        Property::new("IpAddressType", Kind::String),
        Property::new("PolicyDocument", Kind::Json),
        Property::new("PrivateDnsEnabled", Kind::Boolean),
        Property::new("ResourceConfigurationArn", Kind::String),
        Property::new("RouteTableIds", Kind::Strings),
        Property::new("SecurityGroupIds", Kind::Strings),
        Property::new("ServiceName", Kind::String),
        Property::new("ServiceNetworkArn", Kind::String),
        Property::new("ServiceRegion", Kind::String),
        Property::new("SubnetIds", Kind::Strings),
        TAGS,
        Property::new("VpcEndpointType", Kind::String),
        Property::new("VpcId", Kind::String).required(),
    ],
    attributes: &["CreationTimestamp", "DnsEntries", "Id", "NetworkInterfaceIds"],
    placeholder: true,
};

/// `AWS::EC2::FlowLog`.
pub const FLOW_LOG: ResourceType = ResourceType {
    name: "AWS::EC2::FlowLog",
    properties: &[
        Property::new("DeliverCrossAccountRole", Kind::String),
        Property::new("DeliverLogsPermissionArn", Kind::String),
        Property::new("DestinationOptions", Kind::Json),
        Property::new("LogDestination", Kind::String),
        Property::new("LogDestinationType", Kind::String),
        Property::new("LogFormat", Kind::String),
        Property::new("LogGroupName", Kind::String),
        Property::new("MaxAggregationInterval", Kind::Integer),
        Property::new("ResourceId", Kind::String).required(),
        Property::new("ResourceType", Kind::String).required(),
        Property::new("TagFieldSpecifications", Kind::Json),
        TAGS,
        Property::new("TrafficType", Kind::String),
    ],
    attributes: &["Id"],
    placeholder: true,
};

/// `AWS::EC2::KeyPair`. `Ref` is its name.
pub const KEY_PAIR: ResourceType = ResourceType {
    name: "AWS::EC2::KeyPair",
    properties: &[
        Property::new("KeyFormat", Kind::String),
        Property::new("KeyName", Kind::String).required(),
        Property::new("KeyType", Kind::String),
        Property::new("PublicKeyMaterial", Kind::String),
        TAGS,
    ],
    attributes: &["KeyFingerprint", "KeyPairId"],
    placeholder: true,
};

/// `AWS::SSM::Parameter`. `Ref` is its name.
pub const SSM_PARAMETER: ResourceType = ResourceType {
    name: "AWS::SSM::Parameter",
    properties: &[
        Property::new("AllowedPattern", Kind::String),
        Property::new("DataType", Kind::String),
        Property::new("Description", Kind::String),
        Property::new("Name", Kind::String),
        Property::new("Policies", Kind::String),
        Property::new("Tags", Kind::Json),
        Property::new("Tier", Kind::String),
        Property::new("Type", Kind::String).required(),
        Property::new("Value", Kind::String).required(),
    ],
    attributes: &["Type", "Value"],
    placeholder: true,
};

/// `AWS::CDK::Metadata`.
pub const CDK_METADATA: ResourceType = ResourceType {
    name: "AWS::CDK::Metadata",
    properties: &[Property::new("Analytics", Kind::String)],
    attributes: &[],
    placeholder: true,
};

/// `AWS::Lambda::Function`, only as the handler of [`super::restrict_default_group`].
pub const LAMBDA_FUNCTION: ResourceType = ResourceType {
    name: "AWS::Lambda::Function",
    properties: ANYTHING,
    attributes: ANY_ATTRIBUTE,
    placeholder: true,
};

/// Families outside a VPC: any type, any properties, any attribute.
const FAMILIES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::IAM::",
        properties: ANYTHING,
        attributes: ANY_ATTRIBUTE,
        placeholder: true,
    },
    ResourceType {
        name: "AWS::Logs::",
        properties: ANYTHING,
        attributes: ANY_ATTRIBUTE,
        placeholder: true,
    },
    ResourceType {
        name: "AWS::CloudWatch::",
        properties: ANYTHING,
        attributes: ANY_ATTRIBUTE,
        placeholder: true,
    },
];

/// Stands for any property, since those of these families mean nothing to a VPC.
pub(crate) const ANYTHING: &[Property] = &[Property::new("*", Kind::Json)];
/// Stands for any attribute.
pub(crate) const ANY_ATTRIBUTE: &[&str] = &["*"];

/// The family that a type belongs to.
pub(crate) fn of_family(type_name: &str) -> Option<&'static ResourceType> {
    FAMILIES.iter().find(|family| {
        type_name
            .strip_prefix(family.name)
            .is_some_and(|rest| !rest.is_empty())
    })
}
