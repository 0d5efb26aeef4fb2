//! Egress-only internet gateways.

use std::sync::Arc;

use atoll_model::EgressOnlyInternetGateway;
use atoll_region::egress_only_gateway::{CreateEgressOnlyInternetGateway, DeleteEgressOnlyInternetGateway};
use atoll_region::{Command, Transaction};
use atoll_shapes::ec2::{
    self, CreateEgressOnlyInternetGatewayRequest, CreateEgressOnlyInternetGatewayResult,
    DeleteEgressOnlyInternetGatewayRequest, DeleteEgressOnlyInternetGatewayResult,
    DescribeEgressOnlyInternetGatewaysRequest, DescribeEgressOnlyInternetGatewaysResult,
    InternetGatewayAttachment,
};

use super::listing::Listing;
use crate::wire::{Filters, id, tag_list, tags_of};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        create_egress_only_internet_gateway,
        &["VpcId", "ClientToken", "TagSpecification"],
    );
    table.add(
        delete_egress_only_internet_gateway,
        &["EgressOnlyInternetGatewayId"],
    );
    table.add(
        describe_egress_only_internet_gateways,
        &["EgressOnlyInternetGatewayId", "Filter", "MaxResults", "NextToken"],
    );
}

async fn create_egress_only_internet_gateway(
    call: Call,
    request: CreateEgressOnlyInternetGatewayRequest,
) -> Result<CreateEgressOnlyInternetGatewayResult, ApiError> {
    let new = CreateEgressOnlyInternetGateway {
        vpc: id(&request.vpc_id)?,
        client_token: request.client_token.clone(),
        tags: tags_of(&request.tag_specifications, "egress-only-internet-gateway")?,
    };
    let gateway = call
        .submit(move |tx: &mut Transaction| {
            let id = new.apply(tx)?;
            tx.find::<EgressOnlyInternetGateway>(id)
        })
        .await?;
    Ok(CreateEgressOnlyInternetGatewayResult {
        egress_only_internet_gateway: Some(shape(&gateway)),
        client_token: request.client_token,
    })
}

async fn delete_egress_only_internet_gateway(
    call: Call,
    request: DeleteEgressOnlyInternetGatewayRequest,
) -> Result<DeleteEgressOnlyInternetGatewayResult, ApiError> {
    let gateway = id(&request.egress_only_internet_gateway_id)?;
    call.submit(DeleteEgressOnlyInternetGateway { gateway }).await?;
    Ok(DeleteEgressOnlyInternetGatewayResult {
        return_code: Some(true),
    })
}

async fn describe_egress_only_internet_gateways(
    call: Call,
    request: DescribeEgressOnlyInternetGatewaysRequest,
) -> Result<DescribeEgressOnlyInternetGatewaysResult, ApiError> {
    // EC2 knows no filters but tags here.
    let keep =
        Filters::tagged(|gateway: &Arc<EgressOnlyInternetGateway>| &gateway.tags).parse(&request.filters)?;
    let region = call.region()?;
    let listing = Listing {
        action: "DescribeEgressOnlyInternetGateways",
        ids: &request.egress_only_internet_gateway_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=255,
    };
    let page = listing.of::<EgressOnlyInternetGateway>(&region, call.account, &keep)?;
    Ok(DescribeEgressOnlyInternetGatewaysResult {
        egress_only_internet_gateways: page.items.iter().map(|gateway| shape(gateway)).collect(),
        next_token: page.next_token,
    })
}

fn shape(gateway: &EgressOnlyInternetGateway) -> ec2::EgressOnlyInternetGateway {
    ec2::EgressOnlyInternetGateway {
        egress_only_internet_gateway_id: Some(gateway.id.to_string()),
        attachments: vec![InternetGatewayAttachment {
            state: Some("attached".to_owned()),
            vpc_id: Some(gateway.vpc.to_string()),
        }],
        tags: tag_list(&gateway.tags),
    }
}
