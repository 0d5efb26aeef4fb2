//! `AWS::EC2::NetworkInterface` and `AWS::EC2::NetworkInterfaceAttachment`.

use std::net::{Ipv4Addr, Ipv6Addr};

use atoll_model::network_interface::{AttachmentState, ConnectionTracking};
use atoll_model::{AttachmentId, EniId, NetworkInterface};
use atoll_region::network_interface::attachment::{AttachNetworkInterface, DetachNetworkInterface};
use atoll_region::network_interface::attribute::{Change, ModifyNetworkInterfaceAttribute};
use atoll_region::network_interface::{CreateNetworkInterface, DeleteNetworkInterface, NewInterface};
use atoll_region::{Command, Error, Index, Region, Transaction};

use crate::life::{Created, Doomed, Failure, Given, Life, Make, Progress, Seen, address};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

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
    life: &InterfaceLife,
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
    life: &AttachmentLife,
};

/// The primary address that is asked for, and the secondary ones.
pub(crate) fn private_addresses(given: Given<'_>) -> Result<(Option<Ipv4Addr>, Vec<Ipv4Addr>), Failure> {
    let mut primary = given.parsed::<Ipv4Addr>("PrivateIpAddress")?;
    let mut secondary = Vec::new();
    for item in given.objects("PrivateIpAddresses") {
        let ip: Ipv4Addr = item.required("PrivateIpAddress")?;
        if !item.boolean("Primary").unwrap_or(false) {
            secondary.push(ip);
        } else if primary.is_none_or(|known| known == ip) {
            primary = Some(ip);
        } else {
            return Err(Failure::of(
                "PrivateIpAddresses",
                "Only one private IP address can be primary",
            ));
        }
    }
    Ok((primary, secondary))
}

/// The IPv6 addresses that are asked for by name.
pub(crate) fn ipv6_addresses(given: Given<'_>) -> Result<Vec<Ipv6Addr>, Failure> {
    given
        .objects("Ipv6Addresses")
        .into_iter()
        .map(|item| item.required("Ipv6Address"))
        .collect()
}

struct InterfaceLife;

impl Life for InterfaceLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let (primary, secondary) = private_addresses(given)?;
        let mut connection_tracking = ConnectionTracking::default();
        if let Some(timeouts) = given.object("ConnectionTrackingSpecification") {
            connection_tracking.tcp_established = timeouts.integer("TcpEstablishedTimeout")?;
            connection_tracking.udp_stream = timeouts.integer("UdpStreamTimeout")?;
            connection_tracking.udp_timeout = timeouts.integer("UdpTimeout")?;
        }
        let new = NewInterface {
            description: given.text("Description").unwrap_or_default(),
            primary,
            secondary,
            secondary_count: given.integer("SecondaryPrivateIpAddressCount")?.unwrap_or(0),
            ipv6: ipv6_addresses(given)?,
            ipv6_count: given.integer("Ipv6AddressCount")?,
            groups: given.list("GroupSet")?,
            connection_tracking,
            tags: make.tags()?,
            ..NewInterface::new(given.required("SubnetId")?)
        };
        let eni = CreateNetworkInterface {
            new,
            client_token: None,
        }
        .apply(make.tx)?
        .id;
        if given.boolean("SourceDestCheck") == Some(false) {
            ModifyNetworkInterfaceAttribute {
                eni,
                change: Change::SourceDestCheck(false),
            }
            .apply(make.tx)?;
        }
        Ok(Created::tagged(eni))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let eni = seen.row::<NetworkInterface>()?;
        Some(match name {
            "Id" => seen.physical.into(),
            "VpcId" => eni.vpc.to_string().into(),
            "PrimaryPrivateIpAddress" => address(eni.primary_ip()),
            "PrimaryIpv6Address" => address(eni.ipv6_addresses.first().copied()),
            "SecondaryPrivateIpAddresses" => eni
                .private_addresses
                .iter()
                .skip(1)
                .map(|address| address.ip.to_string())
                .collect(),
            _ => return None,
        })
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteNetworkInterface { id: doomed.id()? }.apply(tx)
    }
}

struct AttachmentLife;

impl AttachmentLife {
    fn state(region: &Region, physical: &str) -> Option<AttachmentState> {
        let id: AttachmentId = physical.parse().ok()?;
        region
            .indexed(Index::Attachment(id))
            .find_map(|key| match region.row(key)? {
                atoll_model::Row::NetworkInterface(eni) => {
                    eni.attachment.as_ref().map(|attachment| attachment.state)
                }
                _ => None,
            })
    }
}

impl Life for AttachmentLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let eni: EniId = given.required("NetworkInterfaceId")?;
        let instance = given.required("InstanceId")?;
        let device_index = given
            .integer("DeviceIndex")?
            .ok_or_else(|| Failure::of("DeviceIndex", "cannot be empty"))?;
        let attachment = AttachNetworkInterface {
            eni,
            instance,
            device_index,
        }
        .apply(make.tx)?;
        // CloudFormation's default is that the interface goes with the instance.
        let value = given.boolean("DeleteOnTermination").unwrap_or(true);
        let change = Change::DeleteOnTermination { attachment, value };
        ModifyNetworkInterfaceAttribute { eni, change }.apply(make.tx)?;
        Ok(Created::untagged(attachment))
    }

    fn progress(&self, seen: &Seen<'_>) -> Progress {
        match Self::state(seen.region, seen.physical) {
            Some(AttachmentState::Attached) => Progress::Complete,
            Some(AttachmentState::Attaching) => Progress::Waiting,
            Some(AttachmentState::Detaching) | None => {
                Progress::Failed(format!("{} is no longer attached", seen.physical))
            }
        }
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "AttachmentId").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DetachNetworkInterface {
            attachment: doomed.id()?,
        }
        .apply(tx)
    }

    fn is_gone(&self, region: &Region, doomed: &Doomed<'_>) -> bool {
        Self::state(region, doomed.physical).is_none()
    }
}
