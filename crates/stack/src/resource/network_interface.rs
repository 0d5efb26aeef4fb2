//! `AWS::EC2::NetworkInterface` and `AWS::EC2::NetworkInterfaceAttachment`.

use crate::schema::{Kind, Property, ResourceType, TAGS};

const NO_PREFIXES: &str = "prefixes are not delegated to interfaces here";

/// Private addresses, one of them primary.
pub(crate) const PRIVATE_ADDRESSES: Kind = Kind::Objects(&[
    Property::new("Primary", Kind::Boolean).required(),
    Property::new("PrivateIpAddress", Kind::String).required(),
]);

/// IPv6 addresses.
pub(crate) const IPV6_ADDRESSES: Kind =
    Kind::Objects(&[Property::new("Ipv6Address", Kind::String).required()]);

/// A network interface. `Ref` is its id.
pub const NETWORK_INTERFACE: ResourceType = ResourceType {
    name: "AWS::EC2::NetworkInterface",
    properties: &[
        Property::new(
            "ConnectionTrackingSpecification",
            Kind::Object(&[
                Property::new("TcpEstablishedTimeout", Kind::Integer),
                Property::new("UdpStreamTimeout", Kind::Integer),
                Property::new("UdpTimeout", Kind::Integer),
            ]),
        ),
        Property::new("Description", Kind::String),
        Property::new("EnablePrimaryIpv6", Kind::Boolean).only(&["false"]),
        Property::new("GroupSet", Kind::Strings),
        Property::new("InterfaceType", Kind::String).only(&["interface"]),
        Property::new("Ipv4PrefixCount", Kind::Integer).refused(NO_PREFIXES),
        Property::new("Ipv4Prefixes", Kind::Json).refused(NO_PREFIXES),
        Property::new("Ipv6AddressCount", Kind::Integer),
        Property::new("Ipv6Addresses", IPV6_ADDRESSES),
        Property::new("Ipv6PrefixCount", Kind::Integer).refused(NO_PREFIXES),
        Property::new("Ipv6Prefixes", Kind::Json).refused(NO_PREFIXES),
        Property::new("PrivateIpAddress", Kind::String),
        Property::new("PrivateIpAddresses", PRIVATE_ADDRESSES),
        Property::new("PublicIpDnsHostnameTypeSpecification", Kind::String).not_in_effect(),
        Property::new("SecondaryPrivateIpAddressCount", Kind::Integer),
        Property::new("SourceDestCheck", Kind::Boolean),
        Property::new("SubnetId", Kind::String).required(),
        TAGS,
    ],
    attributes: &[
        "Id",
        "PrimaryIpv6Address",
        "PrimaryPrivateIpAddress",
        "SecondaryPrivateIpAddresses",
        "VpcId",
    ],
    placeholder: false,
};

/// The attachment of an interface to an instance. `Ref` is its id.
pub const ATTACHMENT: ResourceType = ResourceType {
    name: "AWS::EC2::NetworkInterfaceAttachment",
    properties: &[
        Property::new("DeleteOnTermination", Kind::Boolean),
        Property::new("DeviceIndex", Kind::Integer).required(),
        Property::new("EnaQueueCount", Kind::Integer).not_in_effect(),
        Property::new("EnaSrdSpecification", Kind::Json).not_in_effect(),
        Property::new("InstanceId", Kind::String).required(),
        Property::new("NetworkInterfaceId", Kind::String).required(),
    ],
    attributes: &["AttachmentId"],
    placeholder: false,
};
