//! Route tables and their associations.

use std::sync::Arc;

use atoll_model::route_table::{AssociationTarget, RouteTarget};
use atoll_model::{NetworkInterface, Route, RouteTable};
use atoll_net::{Family, Prefix};
use atoll_region::route_table::{
    AssociateRouteTable, CreateRouteTable, DeleteRouteTable, DisassociateRouteTable, NewAssociation,
    ReplaceRouteTableAssociation,
};
use atoll_region::{Command, Region, Transaction, route_state};
use atoll_shapes::ec2::{
    self, AssociateRouteTableRequest, AssociateRouteTableResult, CreateRouteTableRequest,
    CreateRouteTableResult, DeleteRouteTableRequest, DeleteRouteTableResult, DescribeRouteTablesRequest,
    DescribeRouteTablesResult, DisassociateRouteTableRequest, DisassociateRouteTableResult,
    ReplaceRouteTableAssociationRequest, ReplaceRouteTableAssociationResult, RouteTableAssociation,
    RouteTableAssociationState,
};

use super::listing::Listing;
use crate::wire::{Filters, id, tag_list, tags_of};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(create_route_table, &["VpcId", "ClientToken", "TagSpecification"]);
    table.add(delete_route_table, &["RouteTableId"]);
    table.add(
        describe_route_tables,
        &["RouteTableId", "Filter", "MaxResults", "NextToken"],
    );
    table.add(associate_route_table, &["RouteTableId", "SubnetId", "GatewayId"]);
    table.add(disassociate_route_table, &["AssociationId"]);
    table.add(
        replace_route_table_association,
        &["AssociationId", "RouteTableId"],
    );
}

async fn create_route_table(
    call: Call,
    request: CreateRouteTableRequest,
) -> Result<CreateRouteTableResult, ApiError> {
    let new = CreateRouteTable {
        vpc: id(&request.vpc_id)?,
        client_token: request.client_token.clone(),
        tags: tags_of(&request.tag_specifications, "route-table")?,
    };
    let table = call
        .submit(move |tx: &mut Transaction| {
            let id = new.apply(tx)?;
            Ok(shape(tx.region(), &*tx.find::<RouteTable>(id)?))
        })
        .await?;
    Ok(CreateRouteTableResult {
        route_table: Some(table),
        client_token: request.client_token,
    })
}

async fn delete_route_table(
    call: Call,
    request: DeleteRouteTableRequest,
) -> Result<DeleteRouteTableResult, ApiError> {
    let table = id(&request.route_table_id)?;
    call.submit(DeleteRouteTable { table }).await?;
    Ok(DeleteRouteTableResult::default())
}

async fn describe_route_tables(
    call: Call,
    request: DescribeRouteTablesRequest,
) -> Result<DescribeRouteTablesResult, ApiError> {
    let region = call.region()?;
    let routes = |table: &Arc<RouteTable>, field: fn(ec2::Route) -> Option<String>| {
        shape(&region, table)
            .routes
            .into_iter()
            .filter_map(field)
            .collect::<Vec<_>>()
    };
    let associations = |table: &Arc<RouteTable>, field: fn(RouteTableAssociation) -> Option<String>| {
        shape(&region, table)
            .associations
            .into_iter()
            .filter_map(field)
            .collect::<Vec<_>>()
    };
    let keep = Filters::tagged(|table: &Arc<RouteTable>| &table.tags)
        .many("association.gateway-id", |table| {
            associations(table, |a| a.gateway_id)
        })
        .many("association.main", |table| {
            associations(table, |a| a.main.map(|main| main.to_string()))
        })
        .many("association.route-table-association-id", |table| {
            associations(table, |a| a.route_table_association_id)
        })
        .many("association.route-table-id", |table| {
            associations(table, |a| a.route_table_id)
        })
        .many("association.subnet-id", |table| {
            associations(table, |a| a.subnet_id)
        })
        .one("owner-id", |table| table.owner)
        .many("route.destination-cidr-block", |table| {
            routes(table, |r| r.destination_cidr_block)
        })
        .many("route.destination-ipv6-cidr-block", |table| {
            routes(table, |r| r.destination_ipv6_cidr_block)
        })
        .maybe("route.destination-prefix-list-id", |_| None::<&str>)
        .many("route.egress-only-internet-gateway-id", |table| {
            routes(table, |r| r.egress_only_internet_gateway_id)
        })
        .many("route.gateway-id", |table| routes(table, |r| r.gateway_id))
        .many("route.instance-id", |table| routes(table, |r| r.instance_id))
        .many("route.nat-gateway-id", |table| {
            routes(table, |r| r.nat_gateway_id)
        })
        .many("route.origin", |table| routes(table, |r| r.origin))
        .many("route.state", |table| routes(table, |r| r.state))
        .maybe("route.transit-gateway-id", |_| None::<&str>)
        .maybe("route.vpc-peering-connection-id", |_| None::<&str>)
        .one("route-table-id", |table| table.id)
        .one("vpc-id", |table| table.vpc)
        .parse(&request.filters)?;
    let listing = Listing {
        action: "DescribeRouteTables",
        ids: &request.route_table_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=100,
    };
    let page = listing.of::<RouteTable>(&region, call.account, &keep)?;
    Ok(DescribeRouteTablesResult {
        route_tables: page.items.iter().map(|table| shape(&region, table)).collect(),
        next_token: page.next_token,
    })
}

fn shape(region: &Region, table: &RouteTable) -> ec2::RouteTable {
    ec2::RouteTable {
        route_table_id: Some(table.id.to_string()),
        vpc_id: Some(table.vpc.to_string()),
        owner_id: Some(table.owner.to_string()),
        associations: table
            .associations
            .iter()
            .map(|(id, target)| RouteTableAssociation {
                route_table_association_id: Some(id.to_string()),
                route_table_id: Some(table.id.to_string()),
                main: Some(*target == AssociationTarget::Main),
                subnet_id: match target {
                    AssociationTarget::Subnet(subnet) => Some(subnet.to_string()),
                    AssociationTarget::Main | AssociationTarget::InternetGateway(_) => None,
                },
                gateway_id: match target {
                    AssociationTarget::InternetGateway(gateway) => Some(gateway.to_string()),
                    AssociationTarget::Main | AssociationTarget::Subnet(_) => None,
                },
                association_state: associated(),
                ..Default::default()
            })
            .collect(),
        routes: table
            .routes
            .iter()
            .map(|(destination, route)| route_shape(region, table, *destination, route))
            .collect(),
        tags: tag_list(&table.tags),
        ..Default::default()
    }
}

fn associated() -> Option<RouteTableAssociationState> {
    Some(RouteTableAssociationState {
        state: Some("associated".to_owned()),
        status_message: None,
    })
}

fn route_shape(region: &Region, table: &RouteTable, destination: Prefix, route: &Route) -> ec2::Route {
    let mut shape = ec2::Route {
        origin: Some(route.origin.to_string()),
        state: Some(route_state(region, table.vpc, route).as_str().to_owned()),
        ..Default::default()
    };
    match destination.family() {
        Family::V4 => shape.destination_cidr_block = Some(destination.to_string()),
        Family::V6 => shape.destination_ipv6_cidr_block = Some(destination.to_string()),
    }
    match route.target {
        RouteTarget::Local => shape.gateway_id = Some("local".to_owned()),
        RouteTarget::InternetGateway(id) => shape.gateway_id = Some(id.to_string()),
        RouteTarget::EgressOnlyGateway(id) => shape.egress_only_internet_gateway_id = Some(id.to_string()),
        RouteTarget::NatGateway(id) => shape.nat_gateway_id = Some(id.to_string()),
        RouteTarget::NetworkInterface(id) => {
            shape.network_interface_id = Some(id.to_string());
            let eni = region.get::<NetworkInterface>(id);
            if let Some((eni, attachment)) = eni.and_then(|eni| Some((eni, eni.attachment.as_ref()?))) {
                shape.instance_id = Some(attachment.instance.to_string());
                shape.instance_owner_id = Some(eni.owner.to_string());
            }
        }
    }
    shape
}

async fn associate_route_table(
    call: Call,
    request: AssociateRouteTableRequest,
) -> Result<AssociateRouteTableResult, ApiError> {
    let table = id(&request.route_table_id)?;
    let target = match (request.subnet_id.as_deref(), request.gateway_id.as_deref()) {
        (Some(subnet), None) => NewAssociation::Subnet(id(subnet)?),
        (None, Some(gateway)) => {
            // Virtual private gateways have edge tables too; there are none yet.
            if gateway.starts_with("vgw-") {
                return Err(ApiError::unsupported(
                    "Virtual private gateways are not in effect here; GatewayId must be an internet gateway's",
                ));
            }
            NewAssociation::InternetGateway(id(gateway)?)
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination(
                "The parameters SubnetId and GatewayId may not be used together.",
            ));
        }
        (None, None) => return Err(ApiError::missing("SubnetId")),
    };
    let association = call.submit(AssociateRouteTable { table, target }).await?;
    Ok(AssociateRouteTableResult {
        association_id: Some(association.to_string()),
        association_state: associated(),
    })
}

async fn disassociate_route_table(
    call: Call,
    request: DisassociateRouteTableRequest,
) -> Result<DisassociateRouteTableResult, ApiError> {
    let association = id(&request.association_id)?;
    call.submit(DisassociateRouteTable { association }).await?;
    Ok(DisassociateRouteTableResult::default())
}

async fn replace_route_table_association(
    call: Call,
    request: ReplaceRouteTableAssociationRequest,
) -> Result<ReplaceRouteTableAssociationResult, ApiError> {
    let replace = ReplaceRouteTableAssociation {
        association: id(&request.association_id)?,
        table: id(&request.route_table_id)?,
    };
    let (new, _) = call.submit(replace).await?;
    Ok(ReplaceRouteTableAssociationResult {
        new_association_id: Some(new.to_string()),
        association_state: associated(),
    })
}
