//! RunInstances.

use std::sync::Arc;

use atoll_model::instance::ShutdownBehavior;
use atoll_model::instance_type;
use atoll_model::{EniId, ImageId, SecurityGroupId, SubnetId, Tags, ZoneName};
use atoll_region::instance::launch::{LaunchInterface, LaunchInterfaceKind, LaunchNew, RunInstances};
use atoll_region::security_group::GroupRef;
use atoll_shapes::ec2::{InstanceNetworkInterfaceSpecification, Placement, Reservation, RunInstancesRequest};

use super::instance_metadata;
use super::instance_shape::{Item, reservations};
use super::network_interface::{count, ipv6_addresses, plain_type, private_addresses, tracking, v4};
use super::network_interface_attribute::{device_index, one_card};
use crate::wire::{id, ids, optional_id, tags_for};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        run_instances,
        &[
            "ImageId",
            "InstanceType",
            "MinCount",
            "MaxCount",
            "SubnetId",
            "SecurityGroupId",
            "SecurityGroup",
            "PrivateIpAddress",
            "Ipv6Address",
            "Ipv6AddressCount",
            "NetworkInterface.DeviceIndex",
            "NetworkInterface.NetworkInterfaceId",
            "NetworkInterface.SubnetId",
            "NetworkInterface.SecurityGroupId",
            "NetworkInterface.Description",
            "NetworkInterface.PrivateIpAddress",
            "NetworkInterface.PrivateIpAddresses",
            "NetworkInterface.SecondaryPrivateIpAddressCount",
            "NetworkInterface.Ipv6Addresses",
            "NetworkInterface.Ipv6AddressCount",
            "NetworkInterface.AssociatePublicIpAddress",
            "NetworkInterface.DeleteOnTermination",
            "NetworkInterface.ConnectionTrackingSpecification",
            "NetworkInterface.NetworkCardIndex",
            "NetworkInterface.InterfaceType",
            "UserData",
            "DisableApiTermination",
            "DisableApiStop",
            "InstanceInitiatedShutdownBehavior",
            "Placement.AvailabilityZone",
            "Placement.AvailabilityZoneId",
            "Placement.Tenancy",
            "TagSpecification",
            "ClientToken",
            // What follows is shown again where EC2 shows it, and changes nothing: a sandbox has no disk, CPU, key or
            // role of its own. Templates and clients name these everywhere, and without them the network is the same.
            // What would be missed in the instance (see `not_in_effect`) is refused.
            "KeyName",
            "IamInstanceProfile",
            "Monitoring",
            "EbsOptimized",
            "BlockDeviceMapping",
            "CreditSpecification",
            "CpuOptions",
            "MetadataOptions",
            "MaintenanceOptions",
            "CapacityReservationSpecification.CapacityReservationPreference",
            "EnclaveOptions",
            "HibernationOptions",
            "PrivateDnsNameOptions",
        ],
    );
}

async fn run_instances(call: Call, request: RunInstancesRequest) -> Result<Reservation, ApiError> {
    let command = command(&call, request)?;
    let launched = call.submit(command).await?;
    let region = call.region()?;
    let items: Vec<Item> = launched
        .instances
        .into_iter()
        .map(|instance| Item::new(&region, Arc::new(instance)))
        .collect();
    reservations(&region, &items)
        .pop()
        .ok_or_else(|| ApiError::internal("A launch without instances"))
}

fn command(call: &Call, request: RunInstancesRequest) -> Result<RunInstances, ApiError> {
    not_in_effect(&request)?;
    let image = match request.image_id.as_deref() {
        None => return Err(ApiError::missing("ImageId")),
        // A parameter of the parameter store names a public image; every one of them is the default one here.
        Some(text) if text.starts_with("resolve:ssm:") => atoll_model::image::DEFAULT.id(),
        Some(text) => id::<ImageId>(text)?,
    };
    let number = |name: &str, value: i32| Ok::<u32, ApiError>(count(name, Some(value))?.unwrap_or(0));
    let mut tags = tags_for(
        &request.tag_specifications,
        // Tags of volumes are taken and go nowhere: there are none.
        &["instance", "network-interface", "volume"],
    )?
    .into_iter();
    let mut next_tags = || tags.next().unwrap_or_else(Tags::new);
    let by_id = ids::<SecurityGroupId>(&request.security_group_ids)?;
    let by_name = request.security_groups.into_iter().map(GroupRef::Name);
    let interfaces = request.network_interfaces.into_iter().map(interface);
    let behavior = request.instance_initiated_shutdown_behavior.as_deref();
    let private_ip = request.private_ip_address.as_deref();
    Ok(RunInstances {
        instance_type: request.instance_type,
        min_count: number("MinCount", request.min_count)?,
        max_count: number("MaxCount", request.max_count)?,
        interfaces: interfaces.collect::<Result<_, _>>()?,
        subnet: optional_id::<SubnetId>(request.subnet_id.as_deref())?,
        groups: by_id.into_iter().map(GroupRef::Id).chain(by_name).collect(),
        private_ip: private_ip.map(|text| v4("PrivateIpAddress", text)).transpose()?,
        ipv6: ipv6_addresses(&request.ipv6_addresses)?,
        ipv6_count: count("Ipv6AddressCount", request.ipv6_address_count)?,
        zone: zone(call, request.placement.as_ref())?,
        user_data: request
            .user_data
            .as_deref()
            .map(user_data)
            .transpose()?
            .filter(|data| !data.is_empty()),
        key_name: request.key_name,
        iam_instance_profile: request
            .iam_instance_profile
            .and_then(|profile| profile.arn.or(profile.name))
            .filter(|profile| !profile.is_empty()),
        metadata: request
            .metadata_options
            .as_ref()
            .map(instance_metadata::asked)
            .transpose()?
            .unwrap_or_default(),
        ebs_optimized: request.ebs_optimized.unwrap_or(false),
        monitoring: request.monitoring.is_some_and(|monitoring| monitoring.enabled),
        disable_api_termination: request.disable_api_termination.unwrap_or(false),
        disable_api_stop: request.disable_api_stop.unwrap_or(false),
        shutdown_behavior: behavior.map_or(Ok(ShutdownBehavior::Stop), shutdown_behavior)?,
        tags: next_tags(),
        interface_tags: next_tags(),
        client_token: request.client_token,
        ..RunInstances::new(image)
    })
}

/// User data from its base 64.
pub(super) fn user_data(text: &str) -> Result<Vec<u8>, ApiError> {
    atoll_shapes::base64::decode(text)
        .ok_or_else(|| ApiError::invalid_value("Invalid BASE64 encoding of user data"))
}

pub(super) fn shutdown_behavior(text: &str) -> Result<ShutdownBehavior, ApiError> {
    crate::wire::value(
        "InstanceInitiatedShutdownBehavior",
        text,
        "Known are stop and terminate.",
    )
}

/// What would change an instance if it were in effect is refused; its usual setting passes.
fn not_in_effect(request: &RunInstancesRequest) -> Result<(), ApiError> {
    let refuse = |what: &str| {
        Err(ApiError::unsupported(format!(
            "{what} is not in effect here; leave it out"
        )))
    };
    if request
        .hibernation_options
        .as_ref()
        .is_some_and(|o| o.configured == Some(true))
    {
        return refuse("HibernationOptions.Configured");
    }
    if request
        .enclave_options
        .as_ref()
        .is_some_and(|o| o.enabled == Some(true))
    {
        return refuse("EnclaveOptions.Enabled");
    }
    if let Some(options) = &request.private_dns_name_options
        && options
            .hostname_type
            .as_deref()
            .is_some_and(|kind| kind != "ip-name")
    {
        return refuse("PrivateDnsNameOptions.HostnameType with another value than ip-name");
    }
    for mapping in &request.block_device_mappings {
        let name = crate::error::shortened(mapping.device_name.as_deref().unwrap_or_default());
        let is_root = matches!(&*name, "/dev/xvda" | "/dev/sda1" | "/dev/sda" | "xvda" | "sda1");
        let from_snapshot = mapping.ebs.as_ref().is_some_and(|ebs| ebs.snapshot_id.is_some());
        if mapping.no_device.is_none() && (!is_root || from_snapshot || mapping.virtual_name.is_some()) {
            return refuse(&format!(
                "BlockDeviceMapping {name}, a volume beside the root or one from a snapshot,"
            ));
        }
    }
    if let Some(options) = &request.cpu_options {
        let name = request.instance_type.as_deref().unwrap_or(instance_type::DEFAULT);
        // An unknown type is refused by itself.
        let differs = instance_type::find(name).is_some_and(|kind| {
            let other =
                |asked: Option<i32>, is: u32| asked.is_some_and(|asked| i64::from(asked) != i64::from(is));
            other(options.core_count, kind.cores())
                || other(options.threads_per_core, kind.threads_per_core())
        });
        if differs {
            return refuse(&format!(
                "CpuOptions with other numbers than those of the type {name}"
            ));
        }
        for (name, asked) in [
            ("AmdSevSnp", &options.amd_sev_snp),
            ("NestedVirtualization", &options.nested_virtualization),
        ] {
            if asked.as_deref().is_some_and(|asked| asked != "disabled") {
                return refuse(&format!("CpuOptions.{name}"));
            }
        }
    }
    match request.placement.as_ref().and_then(|p| p.tenancy.as_deref()) {
        // A host of one's own is what an instance has here anyway.
        None | Some("" | "default" | "dedicated") => Ok(()),
        Some("host") => refuse("Placement.Tenancy with the value host"),
        Some(other) => Err(ApiError::invalid_parameter(
            "Tenancy",
            other,
            "Known are default, dedicated and host.",
        )),
    }
}

fn zone(call: &Call, placement: Option<&Placement>) -> Result<Option<ZoneName>, ApiError> {
    let invalid = |text: &str| {
        let zones = call.region_name.zones();
        let known: Vec<String> = zones.iter().map(ZoneName::to_string).collect();
        ApiError::invalid_value(format!(
            "Invalid availability zone: [{}]. This region has {}.",
            crate::error::shortened(text),
            known.join(", ")
        ))
    };
    let Some(placement) = placement else {
        return Ok(None);
    };
    let find = |text: &str, spelt: &dyn Fn(&ZoneName) -> String| {
        let zones = call.region_name.zones();
        zones
            .into_iter()
            .find(|zone| spelt(zone) == text)
            .ok_or_else(|| invalid(text))
    };
    // Terraform sends every name of a placement, empty when it has none.
    let given = |name: &'_ Option<String>| name.clone().filter(|name| !name.is_empty());
    let (by_name, by_id) = (
        given(&placement.availability_zone),
        given(&placement.availability_zone_id),
    );
    let (by_name, by_id) = (by_name.as_deref(), by_id.as_deref());
    match (by_name, by_id) {
        (Some(text), None) => find(text, &|zone| zone.to_string()).map(Some),
        (None, Some(text)) => find(text, &|zone| zone.zone_id()).map(Some),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "The parameters AvailabilityZone and AvailabilityZoneId may not be specified together",
        )),
    }
}

fn interface(asked: InstanceNetworkInterfaceSpecification) -> Result<LaunchInterface, ApiError> {
    one_card(asked.network_card_index)?;
    plain_type(asked.interface_type.as_deref())?;
    let index = asked
        .device_index
        .ok_or_else(|| ApiError::missing("NetworkInterface.DeviceIndex"))?;
    let interface = match &asked.network_interface_id {
        None => LaunchInterfaceKind::New(new_interface(&asked)?),
        Some(eni) => {
            for (given, what) in [
                (asked.subnet_id.is_some(), "subnet ID"),
                (!asked.groups.is_empty(), "security groups"),
                (asked.description.is_some(), "description"),
                (
                    asked.private_ip_address.is_some() || !asked.private_ip_addresses.is_empty(),
                    "private IP address",
                ),
                (
                    asked.secondary_private_ip_address_count.is_some(),
                    "number of secondary private IP addresses",
                ),
                (
                    !asked.ipv6_addresses.is_empty() || asked.ipv6_address_count.is_some(),
                    "IPv6 addresses",
                ),
                (asked.associate_public_ip_address.is_some(), "public IP address"),
                (
                    asked.connection_tracking_specification.is_some(),
                    "connection tracking specification",
                ),
            ] {
                if given {
                    return Err(ApiError::invalid_combination(format!(
                        "A network interface may not specify both a network interface ID and {what}"
                    )));
                }
            }
            LaunchInterfaceKind::Existing(id::<EniId>(eni)?)
        }
    };
    Ok(LaunchInterface {
        device_index: device_index(index)?,
        delete_on_termination: asked.delete_on_termination,
        interface,
    })
}

fn new_interface(asked: &InstanceNetworkInterfaceSpecification) -> Result<LaunchNew, ApiError> {
    let single = asked.private_ip_address.as_deref();
    let (primary, secondary) = private_addresses(single, &asked.private_ip_addresses)?;
    let secondary_count = count(
        "SecondaryPrivateIpAddressCount",
        asked.secondary_private_ip_address_count,
    )?;
    Ok(LaunchNew {
        subnet: optional_id::<SubnetId>(asked.subnet_id.as_deref())?,
        groups: ids::<SecurityGroupId>(&asked.groups)?,
        description: asked.description.clone().unwrap_or_default(),
        primary,
        secondary,
        secondary_count: secondary_count.unwrap_or(0),
        ipv6: ipv6_addresses(&asked.ipv6_addresses)?,
        ipv6_count: count("Ipv6AddressCount", asked.ipv6_address_count)?,
        associate_public: asked.associate_public_ip_address,
        connection_tracking: tracking(asked.connection_tracking_specification.clone())?,
    })
}
