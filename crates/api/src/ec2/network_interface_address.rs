//! Secondary and IPv6 addresses of interfaces.

use atoll_model::EniId;
use atoll_region::network_interface::address;
use atoll_shapes::ec2::{
    AssignIpv6AddressesRequest, AssignIpv6AddressesResult, AssignPrivateIpAddressesRequest,
    AssignPrivateIpAddressesResult, AssignedPrivateIpAddress, UnassignIpv6AddressesRequest,
    UnassignIpv6AddressesResult, UnassignPrivateIpAddressesRequest, UnassignPrivateIpAddressesResult,
};

use super::network_interface::{count, v4, v6};
use crate::wire::id;
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        assign_private_ip_addresses,
        &[
            "NetworkInterfaceId",
            "PrivateIpAddress",
            "SecondaryPrivateIpAddressCount",
            "AllowReassignment",
        ],
    );
    table.add(
        unassign_private_ip_addresses,
        &["NetworkInterfaceId", "PrivateIpAddress"],
    );
    table.add(
        assign_ipv6_addresses,
        &["NetworkInterfaceId", "Ipv6Addresses", "Ipv6AddressCount"],
    );
    table.add(unassign_ipv6_addresses, &["NetworkInterfaceId", "Ipv6Addresses"]);
}

/// Every text of a list, read by `parse`, which is told the parameter that it stands in.
fn all<A>(
    parse: fn(&str, &str) -> Result<A, ApiError>,
    parameter: &str,
    texts: &[String],
) -> Result<Vec<A>, ApiError> {
    texts.iter().map(|text| parse(parameter, text)).collect()
}

async fn assign_private_ip_addresses(
    call: Call,
    request: AssignPrivateIpAddressesRequest,
) -> Result<AssignPrivateIpAddressesResult, ApiError> {
    let number = count(
        "SecondaryPrivateIpAddressCount",
        request.secondary_private_ip_address_count,
    )?;
    let assigned = call
        .submit(address::AssignPrivateIpAddresses {
            eni: id::<EniId>(&request.network_interface_id)?,
            addresses: all(v4, "PrivateIpAddress", &request.private_ip_addresses)?,
            count: number.unwrap_or(0),
            allow_reassignment: request.allow_reassignment.unwrap_or(false),
        })
        .await?;
    Ok(AssignPrivateIpAddressesResult {
        network_interface_id: Some(request.network_interface_id),
        assigned_private_ip_addresses: assigned
            .iter()
            .map(|ip| AssignedPrivateIpAddress {
                private_ip_address: Some(ip.to_string()),
            })
            .collect(),
        ..Default::default()
    })
}

async fn unassign_private_ip_addresses(
    call: Call,
    request: UnassignPrivateIpAddressesRequest,
) -> Result<UnassignPrivateIpAddressesResult, ApiError> {
    call.submit(address::UnassignPrivateIpAddresses {
        eni: id::<EniId>(&request.network_interface_id)?,
        addresses: all(v4, "PrivateIpAddress", &request.private_ip_addresses)?,
    })
    .await?;
    Ok(UnassignPrivateIpAddressesResult::default())
}

async fn assign_ipv6_addresses(
    call: Call,
    request: AssignIpv6AddressesRequest,
) -> Result<AssignIpv6AddressesResult, ApiError> {
    let assigned = call
        .submit(address::AssignIpv6Addresses {
            eni: id::<EniId>(&request.network_interface_id)?,
            addresses: all(v6, "Ipv6Addresses", &request.ipv6_addresses)?,
            count: count("Ipv6AddressCount", request.ipv6_address_count)?.unwrap_or(0),
        })
        .await?;
    Ok(AssignIpv6AddressesResult {
        network_interface_id: Some(request.network_interface_id),
        assigned_ipv6_addresses: assigned.iter().map(|ip| ip.to_string()).collect(),
        ..Default::default()
    })
}

async fn unassign_ipv6_addresses(
    call: Call,
    request: UnassignIpv6AddressesRequest,
) -> Result<UnassignIpv6AddressesResult, ApiError> {
    let gone = call
        .submit(address::UnassignIpv6Addresses {
            eni: id::<EniId>(&request.network_interface_id)?,
            addresses: all(v6, "Ipv6Addresses", &request.ipv6_addresses)?,
        })
        .await?;
    Ok(UnassignIpv6AddressesResult {
        network_interface_id: Some(request.network_interface_id),
        unassigned_ipv6_addresses: gone.iter().map(|ip| ip.to_string()).collect(),
        ..Default::default()
    })
}
