//! Network interfaces: making, deleting, listing. Attaching them and changing their attributes is in
//! [`super::network_interface_attribute`], changing their addresses in [`super::network_interface_address`].

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use atoll_model::network_interface::{ConnectionTracking, PrivateAddress};
use atoll_model::{
    EniId, Instance, NetworkInterface, RegionName, SecurityGroup, SecurityGroupId, Subnet, SubnetId, Vpc,
    VpcId,
};
use atoll_region::Region;
use atoll_region::network_interface::{self, NewInterface, status};
use atoll_shapes::ec2::{
    self, ConnectionTrackingConfiguration, ConnectionTrackingSpecificationRequest,
    CreateNetworkInterfaceRequest, CreateNetworkInterfaceResult, DeleteNetworkInterfaceRequest,
    DeleteNetworkInterfaceResult, DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult,
    GroupIdentifier, InstanceIpv6Address, NetworkInterfaceAssociation, NetworkInterfaceAttachment,
    NetworkInterfaceIpv6Address, NetworkInterfacePrivateIpAddress, PrivateIpAddressSpecification,
};

use crate::wire::{Filters, id, ids, page, tag_list, tags_of, time, value};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        create_network_interface,
        &[
            "SubnetId",
            "Description",
            "PrivateIpAddress",
            "PrivateIpAddresses",
            "SecondaryPrivateIpAddressCount",
            "Ipv6Addresses",
            "Ipv6AddressCount",
            "SecurityGroupId",
            "InterfaceType",
            "ConnectionTrackingSpecification",
            "TagSpecification",
            "ClientToken",
        ],
    );
    table.add(delete_network_interface, &["NetworkInterfaceId"]);
    table.add(
        describe_network_interfaces,
        &["NetworkInterfaceId", "Filter", "MaxResults", "NextToken"],
    );
}

/// An IPv4 address in a parameter.
pub(super) fn v4(parameter: &str, text: &str) -> Result<Ipv4Addr, ApiError> {
    value(parameter, text, "This is not a valid IPv4 address.")
}

/// An IPv6 address in a parameter.
pub(super) fn v6(parameter: &str, text: &str) -> Result<Ipv6Addr, ApiError> {
    value(parameter, text, "This is not a valid IPv6 address.")
}

/// A count in a parameter: not negative.
pub(super) fn count(parameter: &str, number: Option<i32>) -> Result<Option<u32>, ApiError> {
    number
        .map(|n| {
            u32::try_from(n).map_err(|_| {
                ApiError::invalid_parameter(parameter, &n.to_string(), "It may not be negative.")
            })
        })
        .transpose()
}

/// The primary private address, if it is given, and the secondary ones: the one parameter and the list together.
pub(super) fn private_addresses(
    single: Option<&str>,
    list: &[PrivateIpAddressSpecification],
) -> Result<(Option<Ipv4Addr>, Vec<Ipv4Addr>), ApiError> {
    let mut primary = single.map(|text| v4("PrivateIpAddress", text)).transpose()?;
    let mut secondary = Vec::new();
    for item in list {
        let text = item.private_ip_address.as_deref();
        let addr = v4(
            "PrivateIpAddress",
            text.ok_or_else(|| ApiError::missing("PrivateIpAddresses.PrivateIpAddress"))?,
        )?;
        match (item.primary.unwrap_or(false), primary) {
            (false, _) => secondary.push(addr),
            (true, None) => primary = Some(addr),
            (true, Some(same)) if same == addr => {}
            (true, Some(_)) => {
                return Err(ApiError::invalid_combination(
                    "Only one primary private IP address can be specified.",
                ));
            }
        }
    }
    Ok((primary, secondary))
}

/// Certain IPv6 addresses. The first one is the primary one; another cannot be made it.
pub(super) fn ipv6_addresses(list: &[InstanceIpv6Address]) -> Result<Vec<Ipv6Addr>, ApiError> {
    if list.iter().any(|item| item.is_primary_ipv6 == Some(true)) {
        return Err(ApiError::unsupported(
            "The parameter Ipv6Addresses.IsPrimaryIpv6 is not in effect here; leave it out",
        ));
    }
    list.iter()
        .map(|item| {
            let text = item.ipv6_address.as_deref();
            v6(
                "Ipv6Address",
                text.ok_or_else(|| ApiError::missing("Ipv6Addresses.Ipv6Address"))?,
            )
        })
        .collect()
}

/// Idle timeouts; the region checks their ranges.
pub(super) fn tracking(
    asked: Option<ConnectionTrackingSpecificationRequest>,
) -> Result<ConnectionTracking, ApiError> {
    let asked = asked.unwrap_or_default();
    Ok(ConnectionTracking {
        tcp_established: count("TcpEstablishedTimeout", asked.tcp_established_timeout)?,
        udp_stream: count("UdpStreamTimeout", asked.udp_stream_timeout)?,
        udp_timeout: count("UdpTimeout", asked.udp_timeout)?,
    })
}

/// Refuses interfaces of another type than the plain one.
pub(super) fn plain_type(asked: Option<&str>) -> Result<(), ApiError> {
    match asked.filter(|kind| *kind != "interface") {
        None => Ok(()),
        Some(kind) => Err(ApiError::unsupported(format!(
            "Interfaces of the type '{}' are not supported; there is the type 'interface'",
            crate::error::shortened(kind)
        ))),
    }
}

async fn create_network_interface(
    call: Call,
    request: CreateNetworkInterfaceRequest,
) -> Result<CreateNetworkInterfaceResult, ApiError> {
    plain_type(request.interface_type.as_deref())?;
    let (primary, secondary) = private_addresses(
        request.private_ip_address.as_deref(),
        &request.private_ip_addresses,
    )?;
    let secondary_count = count(
        "SecondaryPrivateIpAddressCount",
        request.secondary_private_ip_address_count,
    )?;
    let new = NewInterface {
        description: request.description.unwrap_or_default(),
        primary,
        secondary,
        secondary_count: secondary_count.unwrap_or(0),
        ipv6: ipv6_addresses(&request.ipv6_addresses)?,
        ipv6_count: count("Ipv6AddressCount", request.ipv6_address_count)?,
        groups: ids::<SecurityGroupId>(&request.groups)?,
        connection_tracking: tracking(request.connection_tracking_specification)?,
        tags: tags_of(&request.tag_specifications, "network-interface")?,
        ..NewInterface::new(id::<SubnetId>(&request.subnet_id)?)
    };
    let made = call
        .submit(network_interface::CreateNetworkInterface {
            new,
            client_token: request.client_token.clone(),
        })
        .await?;
    let region = call.region()?;
    let mut shape = shape(&region, &made);
    // EC2 answers the state of making; a list a moment later says `available`.
    shape.status = Some("pending".into());
    Ok(CreateNetworkInterfaceResult {
        network_interface: Some(shape),
        client_token: request.client_token,
    })
}

async fn delete_network_interface(
    call: Call,
    request: DeleteNetworkInterfaceRequest,
) -> Result<DeleteNetworkInterfaceResult, ApiError> {
    let id = id::<EniId>(&request.network_interface_id)?;
    call.submit(network_interface::DeleteNetworkInterface { id })
        .await?;
    Ok(DeleteNetworkInterfaceResult::default())
}

async fn describe_network_interfaces(
    call: Call,
    request: DescribeNetworkInterfacesRequest,
) -> Result<DescribeNetworkInterfacesResult, ApiError> {
    let region = call.region()?;
    let of = &region;
    let elastic = |address: &PrivateAddress| address.public.and_then(|public| public.elastic);
    let keep = Filters::tagged(|eni: &Arc<NetworkInterface>| &eni.tags)
        .many("addresses.association.owner-id", |eni| {
            let owner = |a: &PrivateAddress| a.public.map(|_| ip_owner(eni, a));
            eni.private_addresses.iter().filter_map(owner).collect::<Vec<_>>()
        })
        .many("addresses.association.public-ip", public_ips)
        .many("addresses.primary", |eni| {
            (0..eni.private_addresses.len())
                .map(|i| i == 0)
                .collect::<Vec<_>>()
        })
        .many("addresses.private-ip-address", |eni| {
            eni.private_addresses.iter().map(|a| a.ip).collect::<Vec<_>>()
        })
        .many("association.allocation-id", move |eni| {
            eni.private_addresses
                .iter()
                .filter_map(elastic)
                .map(|e| e.0)
                .collect::<Vec<_>>()
        })
        .many("association.association-id", move |eni| {
            eni.private_addresses
                .iter()
                .filter_map(elastic)
                .map(|e| e.1)
                .collect::<Vec<_>>()
        })
        .many("association.ip-owner-id", |eni| {
            let owner = |a: &PrivateAddress| a.public.map(|_| ip_owner(eni, a));
            eni.private_addresses.iter().filter_map(owner).collect::<Vec<_>>()
        })
        .many("association.public-dns-name", |eni| {
            let name = |ip| public_dns_name(of, eni.vpc, ip);
            public_ips(eni).into_iter().filter_map(name).collect::<Vec<_>>()
        })
        .many("association.public-ip", public_ips)
        .maybe("attachment.attach-time", |eni| {
            eni.attachment.as_ref().map(|a| a.attached.to_iso8601())
        })
        .maybe("attachment.attachment-id", |eni| {
            eni.attachment.as_ref().map(|a| a.id)
        })
        .maybe("attachment.delete-on-termination", |eni| {
            eni.attachment.as_ref().map(|a| a.delete_on_termination)
        })
        .maybe("attachment.device-index", |eni| {
            eni.attachment.as_ref().map(|a| a.device_index)
        })
        .maybe("attachment.instance-id", |eni| {
            eni.attachment.as_ref().map(|a| a.instance)
        })
        .maybe("attachment.instance-owner-id", |eni| {
            eni.attachment.as_ref().map(|_| eni.owner)
        })
        .maybe("attachment.status", |eni| {
            eni.attachment.as_ref().map(|a| a.state)
        })
        .one("availability-zone", |eni| eni.zone)
        .one("availability-zone-id", |eni| eni.zone.zone_id())
        .one("description", |eni| eni.description.clone())
        .many("group-id", |eni| eni.groups.clone())
        .many("group-name", |eni| {
            group_identifiers(of, &eni.groups)
                .into_iter()
                .filter_map(|group| group.group_name)
                .collect::<Vec<_>>()
        })
        .one("interface-type", |eni| eni.interface_type)
        .many("ipv6-addresses.ipv6-address", |eni| eni.ipv6_addresses.clone())
        .one("mac-address", |eni| eni.mac)
        .one("network-interface-id", |eni| eni.id)
        .one("owner-id", |eni| eni.owner)
        .maybe("private-dns-name", |eni| {
            eni.primary_ip()
                .map(|ip| Instance::private_dns_name(ip, of.name()))
        })
        .maybe("private-ip-address", |eni| eni.primary_ip())
        .maybe("requester-id", |_| None::<&str>)
        .one("requester-managed", |eni| eni.requester_managed)
        .one("source-dest-check", |eni| eni.source_dest_check)
        .one("status", |eni| status(eni))
        .one("subnet-id", |eni| eni.subnet)
        .one("vpc-id", |eni| eni.vpc)
        .parse(&request.filters)?;
    let asked = ids::<EniId>(&request.network_interface_ids)?;
    let found: Vec<Arc<NetworkInterface>> = if asked.is_empty() {
        region.list::<NetworkInterface>(call.account).cloned().collect()
    } else {
        let mut found = asked
            .into_iter()
            .map(|id| region.find::<NetworkInterface>(call.account, id).cloned())
            .collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|eni| eni.id);
        found.dedup_by_key(|eni| eni.id);
        found
    };
    let page = page(
        "DescribeNetworkInterfaces",
        found
            .into_iter()
            .filter(|eni| keep.matches(eni))
            .map(|eni| (eni.id, eni)),
        request.max_results,
        request.next_token.as_deref(),
        5..=1000,
    )?;
    Ok(DescribeNetworkInterfacesResult {
        network_interfaces: page.items.iter().map(|eni| shape(&region, eni)).collect(),
        next_token: page.next_token,
    })
}

fn public_ips(eni: &Arc<NetworkInterface>) -> Vec<Ipv4Addr> {
    eni.private_addresses
        .iter()
        .filter_map(|a| a.public)
        .map(|p| p.ip)
        .collect()
}

/// Whose a public address is: the caller's if it is an Elastic IP, else the provider's.
pub(super) fn ip_owner(eni: &NetworkInterface, address: &PrivateAddress) -> String {
    match address.public.and_then(|public| public.elastic) {
        Some(_) => eni.owner.to_string(),
        None => "amazon".into(),
    }
}

/// The public name of a public address, where the VPC gives such names (semantics 99).
pub(super) fn public_dns_name(region: &Region, vpc: VpcId, ip: Ipv4Addr) -> Option<String> {
    let vpc = region.get::<Vpc>(vpc)?;
    if !vpc.enable_dns_support || !vpc.enable_dns_hostnames {
        return None;
    }
    let dashed = ip.to_string().replace('.', "-");
    Some(if region.name() == RegionName::DEFAULT {
        format!("ec2-{dashed}.compute-1.amazonaws.com")
    } else {
        format!("ec2-{dashed}.{}.compute.amazonaws.com", region.name())
    })
}

/// Groups with their names.
pub(super) fn group_identifiers(region: &Region, groups: &[SecurityGroupId]) -> Vec<GroupIdentifier> {
    groups
        .iter()
        .map(|id| GroupIdentifier {
            group_id: Some(id.to_string()),
            group_name: region.get::<SecurityGroup>(*id).map(|group| group.name.clone()),
        })
        .collect()
}

/// An attachment as the interface's own listings show it.
pub(super) fn attachment_shape(eni: &NetworkInterface) -> Option<NetworkInterfaceAttachment> {
    eni.attachment
        .as_ref()
        .map(|attachment| NetworkInterfaceAttachment {
            attach_time: Some(time(attachment.attached)),
            attachment_id: Some(attachment.id.to_string()),
            delete_on_termination: Some(attachment.delete_on_termination),
            device_index: Some(attachment.device_index.into()),
            network_card_index: Some(0),
            instance_id: Some(attachment.instance.to_string()),
            instance_owner_id: Some(eni.owner.to_string()),
            status: Some(attachment.state.to_string()),
            ..Default::default()
        })
}

fn association(
    region: &Region,
    eni: &NetworkInterface,
    address: &PrivateAddress,
) -> Option<NetworkInterfaceAssociation> {
    let public = address.public?;
    Some(NetworkInterfaceAssociation {
        allocation_id: public.elastic.map(|(allocation, _)| allocation.to_string()),
        association_id: public.elastic.map(|(_, association)| association.to_string()),
        ip_owner_id: Some(ip_owner(eni, address)),
        public_dns_name: public_dns_name(region, eni.vpc, public.ip),
        public_ip: Some(public.ip.to_string()),
        ..Default::default()
    })
}

pub(super) fn tracking_shape(tracking: ConnectionTracking) -> Option<ConnectionTrackingConfiguration> {
    if tracking == ConnectionTracking::default() {
        return None;
    }
    let seconds = |value: Option<u32>| value.and_then(|v| i32::try_from(v).ok());
    Some(ConnectionTrackingConfiguration {
        tcp_established_timeout: seconds(tracking.tcp_established),
        udp_stream_timeout: seconds(tracking.udp_stream),
        udp_timeout: seconds(tracking.udp_timeout),
    })
}

fn shape(region: &Region, eni: &NetworkInterface) -> ec2::NetworkInterface {
    let dns_name = |ip| Instance::private_dns_name(ip, region.name());
    ec2::NetworkInterface {
        network_interface_id: Some(eni.id.to_string()),
        subnet_id: Some(eni.subnet.to_string()),
        vpc_id: Some(eni.vpc.to_string()),
        availability_zone: Some(eni.zone.to_string()),
        description: Some(eni.description.clone()),
        owner_id: Some(eni.owner.to_string()),
        requester_managed: Some(eni.requester_managed),
        status: Some(status(eni).into()),
        mac_address: Some(eni.mac.to_string()),
        interface_type: Some(eni.interface_type.to_string()),
        private_ip_address: eni.primary_ip().map(|ip| ip.to_string()),
        private_dns_name: eni.primary_ip().map(dns_name),
        source_dest_check: Some(eni.source_dest_check),
        groups: group_identifiers(region, &eni.groups),
        attachment: attachment_shape(eni),
        association: eni
            .private_addresses
            .first()
            .and_then(|first| association(region, eni, first)),
        private_ip_addresses: eni
            .private_addresses
            .iter()
            .enumerate()
            .map(|(place, address)| NetworkInterfacePrivateIpAddress {
                private_ip_address: Some(address.ip.to_string()),
                private_dns_name: Some(dns_name(address.ip)),
                primary: Some(place == 0),
                association: association(region, eni, address),
            })
            .collect(),
        ipv6_address: eni.ipv6_addresses.first().map(|ip| ip.to_string()),
        ipv6_addresses: eni
            .ipv6_addresses
            .iter()
            .map(|ip| NetworkInterfaceIpv6Address {
                ipv6_address: Some(ip.to_string()),
                is_primary_ipv6: Some(false),
                ..Default::default()
            })
            .collect(),
        ipv6_native: region
            .get::<Subnet>(eni.subnet)
            .map(|subnet| subnet.cidr.is_none()),
        connection_tracking_configuration: tracking_shape(eni.connection_tracking),
        tag_set: tag_list(&eni.tags),
        ..Default::default()
    }
}
