//! NAT gateways.

use std::sync::Arc;

use atoll_model::nat_gateway::{Connectivity, NatGatewayAddress};
use atoll_model::{NatGateway, NatGatewayState, Subnet};
use atoll_region::nat_gateway::{CreateNatGateway, DeleteNatGateway};
use atoll_region::{Command, Region, Transaction};
use atoll_shapes::ec2::{
    self, CreateNatGatewayRequest, CreateNatGatewayResult, DeleteNatGatewayRequest, DeleteNatGatewayResult,
    DescribeNatGatewaysRequest, DescribeNatGatewaysResult,
};

use super::listing::Listing;
use crate::wire::{Filters, id, ids, optional_id, tag_list, tags_of, time, value};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        create_nat_gateway,
        &[
            "SubnetId",
            "AllocationId",
            "ConnectivityType",
            "AvailabilityMode",
            "PrivateIpAddress",
            "SecondaryAllocationId",
            "SecondaryPrivateIpAddress",
            "SecondaryPrivateIpAddressCount",
            "ClientToken",
            "TagSpecification",
        ],
    );
    table.add(delete_nat_gateway, &["NatGatewayId"]);
    table.add(
        describe_nat_gateways,
        &["NatGatewayId", "Filter", "MaxResults", "NextToken"],
    );
}

const ZONAL: &str = "zonal";

async fn create_nat_gateway(
    call: Call,
    request: CreateNatGatewayRequest,
) -> Result<CreateNatGatewayResult, ApiError> {
    if let Some(mode) = request.availability_mode.as_deref().filter(|mode| *mode != ZONAL) {
        let mode: String = mode.chars().take(64).collect();
        return Err(ApiError::unsupported(format!(
            "The value {mode} of AvailabilityMode is not in effect here; a NAT gateway is {ZONAL}"
        )));
    }
    let subnet = request
        .subnet_id
        .as_deref()
        .ok_or_else(|| ApiError::missing("SubnetId"))?;
    let address = |parameter, text: &str| value(parameter, text, "Expecting an IPv4 address.");
    let new = CreateNatGateway {
        subnet: id(subnet)?,
        connectivity: match request.connectivity_type.as_deref() {
            None => Connectivity::Public,
            Some(text) => value("ConnectivityType", text, "Expecting public or private.")?,
        },
        allocation: optional_id(request.allocation_id.as_deref())?,
        private_ip: request
            .private_ip_address
            .as_deref()
            .map(|text| address("PrivateIpAddress", text))
            .transpose()?,
        secondary_allocations: ids(&request.secondary_allocation_ids)?,
        secondary_private_ips: request
            .secondary_private_ip_addresses
            .iter()
            .map(|text| address("SecondaryPrivateIpAddress", text))
            .collect::<Result<_, _>>()?,
        secondary_private_ip_count: request
            .secondary_private_ip_address_count
            .map(|count| {
                usize::try_from(count).map_err(|_| {
                    ApiError::invalid_parameter(
                        "SecondaryPrivateIpAddressCount",
                        &count.to_string(),
                        "Expecting a number from 1 to 7.",
                    )
                })
            })
            .transpose()?,
        client_token: request.client_token.clone(),
        tags: tags_of(&request.tag_specifications, "natgateway")?,
    };
    let gateway = call
        .submit(move |tx: &mut Transaction| {
            let id = new.apply(tx)?;
            Ok(shape(tx.region(), &*tx.find::<NatGateway>(id)?))
        })
        .await?;
    Ok(CreateNatGatewayResult {
        nat_gateway: Some(gateway),
        client_token: request.client_token,
    })
}

async fn delete_nat_gateway(
    call: Call,
    request: DeleteNatGatewayRequest,
) -> Result<DeleteNatGatewayResult, ApiError> {
    let gateway = id(&request.nat_gateway_id)?;
    call.submit(DeleteNatGateway { gateway }).await?;
    Ok(DeleteNatGatewayResult {
        nat_gateway_id: Some(request.nat_gateway_id),
    })
}

async fn describe_nat_gateways(
    call: Call,
    request: DescribeNatGatewaysRequest,
) -> Result<DescribeNatGatewaysResult, ApiError> {
    let keep = Filters::tagged(|gateway: &Arc<NatGateway>| &gateway.tags)
        .one("nat-gateway-id", |gateway| gateway.id)
        .one("state", |gateway| gateway.state)
        .one("subnet-id", |gateway| gateway.subnet)
        .one("vpc-id", |gateway| gateway.vpc)
        .parse(&request.filter)?;
    let region = call.region()?;
    let listing = Listing {
        action: "DescribeNatGateways",
        ids: &request.nat_gateway_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=1000,
    };
    let page = listing.of::<NatGateway>(&region, call.account, &keep)?;
    Ok(DescribeNatGatewaysResult {
        nat_gateways: page.items.iter().map(|gateway| shape(&region, gateway)).collect(),
        next_token: page.next_token,
    })
}

fn shape(region: &Region, gateway: &NatGateway) -> ec2::NatGateway {
    let (failure_code, failure_message) = gateway.failure.clone().unzip();
    ec2::NatGateway {
        nat_gateway_id: Some(gateway.id.to_string()),
        vpc_id: Some(gateway.vpc.to_string()),
        subnet_id: Some(gateway.subnet.to_string()),
        state: Some(gateway.state.to_string()),
        connectivity_type: Some(gateway.connectivity.to_string()),
        availability_mode: Some(ZONAL.to_owned()),
        create_time: Some(time(gateway.created)),
        delete_time: gateway.deleted.map(time),
        failure_code,
        failure_message,
        nat_gateway_addresses: gateway
            .addresses
            .iter()
            .map(|a| address(region, gateway, a))
            .collect(),
        tags: tag_list(&gateway.tags),
        ..Default::default()
    }
}

fn address(region: &Region, gateway: &NatGateway, address: &NatGatewayAddress) -> ec2::NatGatewayAddress {
    let public = gateway.connectivity == Connectivity::Public;
    let status = match gateway.state {
        NatGatewayState::Pending if public => "associating",
        NatGatewayState::Pending => "assigning",
        NatGatewayState::Available => "succeeded",
        NatGatewayState::Failed => "failed",
        NatGatewayState::Deleting | NatGatewayState::Deleted if public => "disassociating",
        NatGatewayState::Deleting | NatGatewayState::Deleted => "unassigning",
    };
    // The subnet of a deleted gateway may be gone.
    let zone = region.get::<Subnet>(gateway.subnet).map(|subnet| subnet.zone);
    ec2::NatGatewayAddress {
        allocation_id: address.allocation.map(|id| id.to_string()),
        association_id: address.association.map(|id| id.to_string()),
        network_interface_id: gateway.eni.map(|id| id.to_string()),
        private_ip: Some(address.private.to_string()),
        public_ip: address.public.map(|ip| ip.to_string()),
        is_primary: Some(address.primary),
        status: Some(status.to_owned()),
        availability_zone: zone.map(|zone| zone.to_string()),
        availability_zone_id: zone.map(|zone| zone.zone_id()),
        failure_message: None,
    }
}
