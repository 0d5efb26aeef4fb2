//! Types that are accepted and not in effect, each with a warning: they get an id, so that what refers to
//! them can be made.

use crate::life::{Created, Failure, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

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
    life: &PlaceholderLife,
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
    life: &PlaceholderLife,
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
    life: &PlaceholderLife,
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
    life: &PlaceholderLife,
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
    life: &PlaceholderLife,
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
    life: &PlaceholderLife,
};

/// `AWS::CDK::Metadata`.
pub const CDK_METADATA: ResourceType = ResourceType {
    name: "AWS::CDK::Metadata",
    properties: &[Property::new("Analytics", Kind::String)],
    attributes: &[],
    placeholder: true,
    life: &PlaceholderLife,
};

/// `AWS::Lambda::Function`, only as the handler of [`super::restrict_default_group`].
pub const LAMBDA_FUNCTION: ResourceType = ResourceType {
    name: "AWS::Lambda::Function",
    properties: ANYTHING,
    attributes: ANY_ATTRIBUTE,
    placeholder: true,
    life: &PlaceholderLife,
};

/// Families outside a VPC: any type, any properties, any attribute.
pub(crate) const FAMILIES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::IAM::",
        properties: ANYTHING,
        attributes: ANY_ATTRIBUTE,
        placeholder: true,
        life: &PlaceholderLife,
    },
    ResourceType {
        name: "AWS::Logs::",
        properties: ANYTHING,
        attributes: ANY_ATTRIBUTE,
        placeholder: true,
        life: &PlaceholderLife,
    },
    ResourceType {
        name: "AWS::CloudWatch::",
        properties: ANYTHING,
        attributes: ANY_ATTRIBUTE,
        placeholder: true,
        life: &PlaceholderLife,
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

/// Properties that name an object of these types; `Ref` then returns the name.
const NAMES: &[&str] = &[
    "RoleName",
    "InstanceProfileName",
    "ManagedPolicyName",
    "PolicyName",
    "UserName",
    "GroupName",
    "LogGroupName",
    "LogStreamName",
    "AlarmName",
    "DashboardName",
    "FunctionName",
    "KeyName",
    "Name",
];

/// Prefixes of ids.
const PREFIXES: &[(&str, &str)] = &[
    ("AWS::EC2::DHCPOptions", "dopt"),
    ("AWS::EC2::VPCEndpoint", "vpce"),
    ("AWS::EC2::FlowLog", "fl"),
];

struct PlaceholderLife;

impl Life for PlaceholderLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        if let Some((_, prefix)) = PREFIXES.iter().find(|(name, _)| *name == make.type_name) {
            let digits = make.tx.draw();
            return Ok(Created::untagged(format!("{prefix}-0{digits:016x}")));
        }
        let named = NAMES.iter().find_map(|name| make.given.text(name));
        let name = named.unwrap_or_else(|| make.name());
        let detail = make
            .given
            .value("Value")
            .and_then(Value::text)
            .unwrap_or_default();
        let kind = make.given.text("Type").unwrap_or_default();
        Ok(Created::untagged(name).remembering(format!("{kind}\n{detail}")))
    }

    /// An ARN, the value of a parameter; for the rest a text that says whose attribute it would be.
    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let (kind, value) = seen
            .resource
            .detail
            .as_deref()
            .and_then(|detail| detail.split_once('\n'))
            .unwrap_or_default();
        let (region, owner, physical) = (seen.stack.region, seen.stack.owner, seen.physical);
        Some(match (seen.resource.type_name.as_str(), name) {
            ("AWS::SSM::Parameter", "Value") => value.into(),
            ("AWS::SSM::Parameter", "Type") => kind.into(),
            ("AWS::EC2::VPCEndpoint", "DnsEntries" | "NetworkInterfaceIds") => Value::List(Vec::new()),
            (_, "Id" | "DhcpOptionsId") => physical.into(),
            ("AWS::Lambda::Function", "Arn") => {
                format!("arn:aws:lambda:{region}:{owner}:function:{physical}").into()
            }
            ("AWS::Logs::LogGroup", "Arn") => {
                format!("arn:aws:logs:{region}:{owner}:log-group:{physical}:*").into()
            }
            ("AWS::CloudWatch::Alarm", "Arn") => {
                format!("arn:aws:cloudwatch:{region}:{owner}:alarm:{physical}").into()
            }
            (type_name, "Arn") => {
                let noun = match type_name.rsplit("::").next().unwrap_or_default() {
                    "InstanceProfile" => "instance-profile".to_owned(),
                    "ManagedPolicy" => "policy".to_owned(),
                    other => other.to_ascii_lowercase(),
                };
                format!("arn:aws:iam::{owner}:{noun}/{physical}").into()
            }
            _ => format!("{physical}.{name}").into(),
        })
    }
}
