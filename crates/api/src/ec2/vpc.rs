//! VPCs.

use std::sync::Arc;

use atoll_model::vpc::Tenancy;
use atoll_model::{CidrAssociation, Vpc, VpcId};
use atoll_net::Family;
use atoll_region::vpc::{CreateDefaultVpc, CreateVpc, DeleteVpc, ModifyVpcAttribute, VpcAttribute};
use atoll_region::vpc_cidr::{AssociateVpcCidrBlock, DisassociateVpcCidrBlock, NewBlock};
use atoll_region::{Command, Transaction};
use atoll_shapes::ec2::{
    self, AssociateVpcCidrBlockRequest, AssociateVpcCidrBlockResult, CreateDefaultVpcRequest,
    CreateDefaultVpcResult, CreateVpcRequest, CreateVpcResult, DeleteVpcRequest, DeleteVpcResult,
    DescribeVpcAttributeRequest, DescribeVpcAttributeResult, DescribeVpcsRequest, DescribeVpcsResult,
    DisassociateVpcCidrBlockRequest, DisassociateVpcCidrBlockResult, ModifyVpcAttributeRequest,
    ModifyVpcAttributeResult, VpcCidrBlockAssociation, VpcCidrBlockState, VpcIpv6CidrBlockAssociation,
};

use super::listing::{Listing, flag_given, only_attribute};
use crate::wire::{Filters, cidr, flag, id, tag_list, tags_of, value};
use crate::{ApiError, Call, dispatch::Table};

/// The DHCP options of a VPC with which none were associated.
const DEFAULT_DHCP_OPTIONS: &str = "default";
const AVAILABLE: &str = "available";
/// The pool that IPv6 blocks come from, as EC2 names it.
const IPV6_POOL: &str = "Amazon";

pub(super) fn operations(table: &mut Table) {
    table.add(
        create_vpc,
        &[
            "CidrBlock",
            "AmazonProvidedIpv6CidrBlock",
            "InstanceTenancy",
            "TagSpecification",
        ],
    );
    table.add(delete_vpc, &["VpcId"]);
    table.add(describe_vpcs, &["VpcId", "Filter", "MaxResults", "NextToken"]);
    table.add(
        modify_vpc_attribute,
        &[
            "VpcId",
            "EnableDnsSupport",
            "EnableDnsHostnames",
            "EnableNetworkAddressUsageMetrics",
        ],
    );
    table.add(describe_vpc_attribute, &["VpcId", "Attribute"]);
    table.add(
        associate_vpc_cidr_block,
        &["VpcId", "CidrBlock", "AmazonProvidedIpv6CidrBlock"],
    );
    table.add(disassociate_vpc_cidr_block, &["AssociationId"]);
    table.add(create_default_vpc, &[]);
}

async fn create_vpc(call: Call, request: CreateVpcRequest) -> Result<CreateVpcResult, ApiError> {
    let block = request
        .cidr_block
        .as_deref()
        .ok_or_else(|| ApiError::missing("CidrBlock"))?;
    let tenancy = match request.instance_tenancy.as_deref() {
        None => Tenancy::Default,
        // A dedicated VPC's instances run where all do: there is one tenant's host here.
        Some(text) => value("InstanceTenancy", text, "Expecting default or dedicated.")?,
    };
    let new = CreateVpc {
        cidr: cidr("CidrBlock", block, Family::V4)?,
        amazon_provided_ipv6: request.amazon_provided_ipv6_cidr_block == Some(true),
        tenancy,
        tags: tags_of(&request.tag_specifications, "vpc")?,
    };
    let vpc = call.submit(made(new)).await?;
    Ok(CreateVpcResult {
        vpc: Some(shape(&vpc)),
    })
}

/// A command that makes a VPC, answering with its row.
fn made(command: impl Command<Reply = VpcId> + Send) -> impl Command<Reply = Arc<Vpc>> + Send {
    |tx: &mut Transaction| {
        let id = command.apply(tx)?;
        tx.find::<Vpc>(id)
    }
}

async fn create_default_vpc(
    call: Call,
    _: CreateDefaultVpcRequest,
) -> Result<CreateDefaultVpcResult, ApiError> {
    let vpc = call.submit(made(CreateDefaultVpc)).await?;
    Ok(CreateDefaultVpcResult {
        vpc: Some(shape(&vpc)),
    })
}

async fn delete_vpc(call: Call, request: DeleteVpcRequest) -> Result<DeleteVpcResult, ApiError> {
    let vpc = id(&request.vpc_id)?;
    call.submit(DeleteVpc { vpc }).await?;
    Ok(DeleteVpcResult::default())
}

async fn describe_vpcs(call: Call, request: DescribeVpcsRequest) -> Result<DescribeVpcsResult, ApiError> {
    let keep = Filters::tagged(|vpc: &Arc<Vpc>| &vpc.tags)
        .maybe("cidr", |vpc| vpc.primary_cidr())
        // Other spellings that EC2 takes too; Ansible sends the first.
        .maybe("cidr-block", |vpc| vpc.primary_cidr())
        .maybe("cidrBlock", |vpc| vpc.primary_cidr())
        .many("cidr-block-association.association-id", |vpc| {
            vpc.cidrs.iter().map(|c| c.id).collect::<Vec<_>>()
        })
        .many("cidr-block-association.cidr-block", |vpc| {
            vpc.cidrs.iter().map(|c| c.block).collect::<Vec<_>>()
        })
        .many("cidr-block-association.state", |vpc| {
            vpc.cidrs.iter().map(|c| c.state).collect::<Vec<_>>()
        })
        .one("dhcp-options-id", |vpc| dhcp_options(vpc))
        .many("ipv6-cidr-block-association.association-id", |vpc| {
            vpc.ipv6_cidrs.iter().map(|c| c.id).collect::<Vec<_>>()
        })
        .many("ipv6-cidr-block-association.ipv6-cidr-block", |vpc| {
            vpc.ipv6_cidrs.iter().map(|c| c.block).collect::<Vec<_>>()
        })
        .many("ipv6-cidr-block-association.ipv6-pool", |vpc| {
            vpc.ipv6_cidrs.iter().map(|_| IPV6_POOL).collect::<Vec<_>>()
        })
        .many("ipv6-cidr-block-association.state", |vpc| {
            vpc.ipv6_cidrs.iter().map(|c| c.state).collect::<Vec<_>>()
        })
        .one("is-default", |vpc| vpc.is_default)
        // An old name of the same filter, which clients still send.
        .one("isDefault", |vpc| vpc.is_default)
        .one("owner-id", |vpc| vpc.owner)
        .one("state", |_| AVAILABLE)
        .one("vpc-id", |vpc| vpc.id)
        .parse(&request.filters)?;
    let region = call.region()?;
    let listing = Listing {
        action: "DescribeVpcs",
        ids: &request.vpc_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=1000,
    };
    let page = listing.of::<Vpc>(&region, call.account, &keep)?;
    Ok(DescribeVpcsResult {
        vpcs: page.items.iter().map(|vpc| shape(vpc)).collect(),
        next_token: page.next_token,
    })
}

fn dhcp_options(vpc: &Vpc) -> String {
    vpc.dhcp_options
        .map_or(DEFAULT_DHCP_OPTIONS.to_owned(), |options| options.to_string())
}

fn shape(vpc: &Vpc) -> ec2::Vpc {
    let region = vpc.region.to_string();
    ec2::Vpc {
        vpc_id: Some(vpc.id.to_string()),
        owner_id: Some(vpc.owner.to_string()),
        state: Some(AVAILABLE.to_owned()),
        cidr_block: vpc.primary_cidr().map(|block| block.to_string()),
        cidr_block_association_set: vpc.cidrs.iter().map(ipv4_association).collect(),
        ipv6_cidr_block_association_set: vpc
            .ipv6_cidrs
            .iter()
            .map(|c| ipv6_association(c, &region))
            .collect(),
        dhcp_options_id: Some(dhcp_options(vpc)),
        instance_tenancy: Some(vpc.tenancy.to_string()),
        is_default: Some(vpc.is_default),
        tags: tag_list(&vpc.tags),
        ..Default::default()
    }
}

fn state(association: &CidrAssociation) -> Option<VpcCidrBlockState> {
    Some(VpcCidrBlockState {
        state: Some(association.state.to_string()),
        status_message: None,
    })
}

fn ipv4_association(association: &CidrAssociation) -> VpcCidrBlockAssociation {
    VpcCidrBlockAssociation {
        association_id: Some(association.id.to_string()),
        cidr_block: Some(association.block.to_string()),
        cidr_block_state: state(association),
    }
}

fn ipv6_association(association: &CidrAssociation, region: &str) -> VpcIpv6CidrBlockAssociation {
    VpcIpv6CidrBlockAssociation {
        association_id: Some(association.id.to_string()),
        ipv6_cidr_block: Some(association.block.to_string()),
        ipv6_cidr_block_state: state(association),
        network_border_group: Some(region.to_owned()),
        ipv6_pool: Some(IPV6_POOL.to_owned()),
        ipv6_address_attribute: Some("public".to_owned()),
        ip_source: Some("amazon".to_owned()),
    }
}

async fn modify_vpc_attribute(
    call: Call,
    request: ModifyVpcAttributeRequest,
) -> Result<ModifyVpcAttributeResult, ApiError> {
    let vpc = id(&request.vpc_id)?;
    let support = flag_given("EnableDnsSupport", request.enable_dns_support.as_ref())?;
    let hostnames = flag_given("EnableDnsHostnames", request.enable_dns_hostnames.as_ref())?;
    let metrics = flag_given(
        "EnableNetworkAddressUsageMetrics",
        request.enable_network_address_usage_metrics.as_ref(),
    )?;
    let attribute = only_attribute([
        support.map(VpcAttribute::EnableDnsSupport),
        hostnames.map(VpcAttribute::EnableDnsHostnames),
        metrics.map(VpcAttribute::EnableNetworkAddressUsageMetrics),
    ])?;
    call.submit(ModifyVpcAttribute { vpc, attribute }).await?;
    Ok(ModifyVpcAttributeResult::default())
}

async fn describe_vpc_attribute(
    call: Call,
    request: DescribeVpcAttributeRequest,
) -> Result<DescribeVpcAttributeResult, ApiError> {
    let region = call.region()?;
    let vpc = region.find::<Vpc>(call.account, id(&request.vpc_id)?)?;
    let mut answer = DescribeVpcAttributeResult {
        vpc_id: Some(vpc.id.to_string()),
        ..Default::default()
    };
    match request.attribute.as_str() {
        "enableDnsSupport" => answer.enable_dns_support = flag(vpc.enable_dns_support),
        "enableDnsHostnames" => answer.enable_dns_hostnames = flag(vpc.enable_dns_hostnames),
        "enableNetworkAddressUsageMetrics" => {
            answer.enable_network_address_usage_metrics = flag(vpc.enable_network_address_usage_metrics);
        }
        unknown => {
            return Err(ApiError::invalid_parameter(
                "attribute",
                unknown,
                "Expecting enableDnsSupport, enableDnsHostnames or enableNetworkAddressUsageMetrics.",
            ));
        }
    }
    Ok(answer)
}

async fn associate_vpc_cidr_block(
    call: Call,
    request: AssociateVpcCidrBlockRequest,
) -> Result<AssociateVpcCidrBlockResult, ApiError> {
    let vpc = id(&request.vpc_id)?;
    let amazon = request.amazon_provided_ipv6_cidr_block == Some(true);
    let block = match (request.cidr_block.as_deref(), amazon) {
        (Some(block), false) => NewBlock::Ipv4(cidr("CidrBlock", block, Family::V4)?),
        (None, true) => NewBlock::AmazonProvidedIpv6,
        (Some(_), true) => {
            return Err(ApiError::invalid_combination(
                "The parameters CidrBlock and AmazonProvidedIpv6CidrBlock may not be used together; associate one block a call.",
            ));
        }
        (None, false) => return Err(ApiError::missing("CidrBlock")),
    };
    let added = call.submit(AssociateVpcCidrBlock { vpc, block }).await?;
    let (ipv4, ipv6) = split(&call, &added);
    Ok(AssociateVpcCidrBlockResult {
        vpc_id: Some(vpc.to_string()),
        cidr_block_association: ipv4,
        ipv6_cidr_block_association: ipv6,
    })
}

async fn disassociate_vpc_cidr_block(
    call: Call,
    request: DisassociateVpcCidrBlockRequest,
) -> Result<DisassociateVpcCidrBlockResult, ApiError> {
    let association = id(&request.association_id)?;
    let (vpc, gone) = call.submit(DisassociateVpcCidrBlock { association }).await?;
    let (ipv4, ipv6) = split(&call, &gone);
    Ok(DisassociateVpcCidrBlockResult {
        vpc_id: Some(vpc.to_string()),
        cidr_block_association: ipv4,
        ipv6_cidr_block_association: ipv6,
    })
}

/// An association in the shape of its family.
fn split(
    call: &Call,
    association: &CidrAssociation,
) -> (
    Option<VpcCidrBlockAssociation>,
    Option<VpcIpv6CidrBlockAssociation>,
) {
    match association.block.family() {
        Family::V4 => (Some(ipv4_association(association)), None),
        Family::V6 => (
            None,
            Some(ipv6_association(association, call.region_name.as_str())),
        ),
    }
}
