//! Internet gateways.

use std::sync::Arc;

use atoll_model::InternetGateway;
use atoll_region::internet_gateway::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DetachInternetGateway,
};
use atoll_region::{Command, Transaction};
use atoll_shapes::ec2::{
    self, AttachInternetGatewayRequest, AttachInternetGatewayResult, CreateInternetGatewayRequest,
    CreateInternetGatewayResult, DeleteInternetGatewayRequest, DeleteInternetGatewayResult,
    DescribeInternetGatewaysRequest, DescribeInternetGatewaysResult, DetachInternetGatewayRequest,
    DetachInternetGatewayResult, InternetGatewayAttachment,
};

use super::listing::Listing;
use crate::wire::{Filters, id, tag_list, tags_of};
use crate::{ApiError, Call, dispatch::Table};

/// What EC2 calls an internet gateway's attachment.
const ATTACHED: &str = "available";

pub(super) fn operations(table: &mut Table) {
    table.add(create_internet_gateway, &["TagSpecification"]);
    table.add(delete_internet_gateway, &["InternetGatewayId"]);
    table.add(
        describe_internet_gateways,
        &["InternetGatewayId", "Filter", "MaxResults", "NextToken"],
    );
    table.add(attach_internet_gateway, &["InternetGatewayId", "VpcId"]);
    table.add(detach_internet_gateway, &["InternetGatewayId", "VpcId"]);
}

async fn create_internet_gateway(
    call: Call,
    request: CreateInternetGatewayRequest,
) -> Result<CreateInternetGatewayResult, ApiError> {
    let tags = tags_of(&request.tag_specifications, "internet-gateway")?;
    let gateway = call
        .submit(move |tx: &mut Transaction| {
            let id = CreateInternetGateway { tags }.apply(tx)?;
            tx.find::<InternetGateway>(id)
        })
        .await?;
    Ok(CreateInternetGatewayResult {
        internet_gateway: Some(shape(&gateway)),
    })
}

async fn delete_internet_gateway(
    call: Call,
    request: DeleteInternetGatewayRequest,
) -> Result<DeleteInternetGatewayResult, ApiError> {
    let gateway = id(&request.internet_gateway_id)?;
    call.submit(DeleteInternetGateway { gateway }).await?;
    Ok(DeleteInternetGatewayResult::default())
}

async fn describe_internet_gateways(
    call: Call,
    request: DescribeInternetGatewaysRequest,
) -> Result<DescribeInternetGatewaysResult, ApiError> {
    let keep = Filters::tagged(|gateway: &Arc<InternetGateway>| &gateway.tags)
        .maybe("attachment.state", |gateway| gateway.vpc.map(|_| ATTACHED))
        .maybe("attachment.vpc-id", |gateway| gateway.vpc)
        .one("internet-gateway-id", |gateway| gateway.id)
        .one("owner-id", |gateway| gateway.owner)
        .parse(&request.filters)?;
    let region = call.region()?;
    let listing = Listing {
        action: "DescribeInternetGateways",
        ids: &request.internet_gateway_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=1000,
    };
    let page = listing.of::<InternetGateway>(&region, call.account, &keep)?;
    Ok(DescribeInternetGatewaysResult {
        internet_gateways: page.items.iter().map(|gateway| shape(gateway)).collect(),
        next_token: page.next_token,
    })
}

fn shape(gateway: &InternetGateway) -> ec2::InternetGateway {
    ec2::InternetGateway {
        internet_gateway_id: Some(gateway.id.to_string()),
        owner_id: Some(gateway.owner.to_string()),
        attachments: gateway
            .vpc
            .iter()
            .map(|vpc| InternetGatewayAttachment {
                state: Some(ATTACHED.to_owned()),
                vpc_id: Some(vpc.to_string()),
            })
            .collect(),
        tags: tag_list(&gateway.tags),
    }
}

async fn attach_internet_gateway(
    call: Call,
    request: AttachInternetGatewayRequest,
) -> Result<AttachInternetGatewayResult, ApiError> {
    let attach = AttachInternetGateway {
        gateway: id(&request.internet_gateway_id)?,
        vpc: id(&request.vpc_id)?,
    };
    call.submit(attach).await?;
    Ok(AttachInternetGatewayResult::default())
}

async fn detach_internet_gateway(
    call: Call,
    request: DetachInternetGatewayRequest,
) -> Result<DetachInternetGatewayResult, ApiError> {
    let detach = DetachInternetGateway {
        gateway: id(&request.internet_gateway_id)?,
        vpc: id(&request.vpc_id)?,
    };
    call.submit(detach).await?;
    Ok(DetachInternetGatewayResult::default())
}
