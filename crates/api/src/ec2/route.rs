//! Routes.

use atoll_net::{Family, Prefix};
use atoll_region::route::{CreateRoute, DeleteRoute, NewTarget, ReplaceRoute};
use atoll_shapes::ec2::{
    CreateRouteRequest, CreateRouteResult, DeleteRouteRequest, DeleteRouteResult, ReplaceRouteRequest,
    ReplaceRouteResult,
};

use crate::wire::{cidr, id};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    // What is not among these, such as TransitGatewayId or DestinationPrefixListId, is refused by its name: the
    // nouns do not exist yet.
    table.add(
        create_route,
        &[
            "RouteTableId",
            "DestinationCidrBlock",
            "DestinationIpv6CidrBlock",
            "GatewayId",
            "EgressOnlyInternetGatewayId",
            "NatGatewayId",
            "NetworkInterfaceId",
            "InstanceId",
        ],
    );
    table.add(
        replace_route,
        &[
            "RouteTableId",
            "DestinationCidrBlock",
            "DestinationIpv6CidrBlock",
            "GatewayId",
            "EgressOnlyInternetGatewayId",
            "NatGatewayId",
            "NetworkInterfaceId",
            "InstanceId",
            "LocalTarget",
        ],
    );
    table.add(
        delete_route,
        &["RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock"],
    );
}

fn destination(ipv4: Option<&str>, ipv6: Option<&str>) -> Result<Prefix, ApiError> {
    match (ipv4, ipv6) {
        (Some(block), None) => cidr("destinationCidrBlock", block, Family::V4),
        (None, Some(block)) => cidr("destinationIpv6CidrBlock", block, Family::V6),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "The parameters DestinationCidrBlock and DestinationIpv6CidrBlock may not be used together.",
        )),
        (None, None) => Err(ApiError::missing("DestinationCidrBlock")),
    }
}

/// The targets that a request names, of which there must be one.
struct Targets {
    gateway: Option<String>,
    egress_only: Option<String>,
    nat: Option<String>,
    interface: Option<String>,
    instance: Option<String>,
    local: bool,
}

impl Targets {
    fn only(self) -> Result<NewTarget, ApiError> {
        let mut given = Vec::new();
        if let Some(text) = self.gateway {
            given.push(gateway(&text)?);
        }
        if let Some(text) = self.egress_only {
            given.push(NewTarget::EgressOnlyGateway(id(&text)?));
        }
        if let Some(text) = self.nat {
            given.push(NewTarget::NatGateway(id(&text)?));
        }
        if let Some(text) = self.interface {
            given.push(NewTarget::NetworkInterface(id(&text)?));
        }
        if let Some(text) = self.instance {
            given.push(NewTarget::Instance(id(&text)?));
        }
        if self.local {
            given.push(NewTarget::Local);
        }
        let choice = "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, \
                      egressOnlyInternetGatewayId or instanceId";
        match given.as_slice() {
            [] => Err(ApiError::new("MissingParameter", choice)),
            [one] => Ok(*one),
            _ => Err(ApiError::invalid_combination(choice)),
        }
    }
}

/// What `GatewayId` names: an internet gateway, or `local`.
fn gateway(text: &str) -> Result<NewTarget, ApiError> {
    if text == "local" {
        return Ok(NewTarget::Local);
    }
    for (prefix, noun) in [("vgw-", "Virtual private gateways"), ("vpce-", "VPC endpoints")] {
        if text.starts_with(prefix) {
            return Err(ApiError::unsupported(format!(
                "{noun} are not in effect here; GatewayId must be an internet gateway's"
            )));
        }
    }
    text.parse().map(NewTarget::InternetGateway).map_err(|_| {
        let text: String = text.chars().take(64).collect();
        // EC2 says so of every other text, also of ids of other kinds.
        ApiError::new(
            "InvalidGatewayID.NotFound",
            format!("The gateway ID '{text}' does not exist"),
        )
    })
}

/// The targets in the words that creating and replacing a route share; replacing one has `LocalTarget`, too.
macro_rules! targets {
    ($request:ident, $local:expr) => {
        Targets {
            gateway: $request.gateway_id,
            egress_only: $request.egress_only_internet_gateway_id,
            nat: $request.nat_gateway_id,
            interface: $request.network_interface_id,
            instance: $request.instance_id,
            local: $local,
        }
    };
}

async fn create_route(call: Call, request: CreateRouteRequest) -> Result<CreateRouteResult, ApiError> {
    let targets = targets!(request, false);
    let create = CreateRoute {
        table: id(&request.route_table_id)?,
        destination: destination(
            request.destination_cidr_block.as_deref(),
            request.destination_ipv6_cidr_block.as_deref(),
        )?,
        target: targets.only()?,
    };
    call.submit(create).await?;
    Ok(CreateRouteResult { r#return: Some(true) })
}

async fn replace_route(call: Call, request: ReplaceRouteRequest) -> Result<ReplaceRouteResult, ApiError> {
    let targets = targets!(request, request.local_target == Some(true));
    let replace = ReplaceRoute {
        table: id(&request.route_table_id)?,
        destination: destination(
            request.destination_cidr_block.as_deref(),
            request.destination_ipv6_cidr_block.as_deref(),
        )?,
        target: targets.only()?,
    };
    call.submit(replace).await?;
    Ok(ReplaceRouteResult::default())
}

async fn delete_route(call: Call, request: DeleteRouteRequest) -> Result<DeleteRouteResult, ApiError> {
    let delete = DeleteRoute {
        table: id(&request.route_table_id)?,
        destination: destination(
            request.destination_cidr_block.as_deref(),
            request.destination_ipv6_cidr_block.as_deref(),
        )?,
    };
    call.submit(delete).await?;
    Ok(DeleteRouteResult::default())
}
