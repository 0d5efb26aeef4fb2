//! Subnets.

use std::sync::Arc;

use atoll_model::subnet::SubnetCidrAssociation;
use atoll_model::{RegionName, Subnet, ZoneName};
use atoll_net::Family;
use atoll_region::subnet::{
    AssociateSubnetCidrBlock, CreateSubnet, DeleteSubnet, DisassociateSubnetCidrBlock, ModifySubnetAttribute,
    SubnetAttribute, available_ips,
};
use atoll_region::{Command, Region, Transaction};
use atoll_shapes::ec2::{
    self, AssociateSubnetCidrBlockRequest, AssociateSubnetCidrBlockResult, BlockPublicAccessStates,
    CreateSubnetRequest, CreateSubnetResult, DeleteSubnetRequest, DeleteSubnetResult, DescribeSubnetsRequest,
    DescribeSubnetsResult, DisassociateSubnetCidrBlockRequest, DisassociateSubnetCidrBlockResult,
    ModifySubnetAttributeRequest, ModifySubnetAttributeResult, PrivateDnsNameOptionsOnLaunch,
    SubnetCidrBlockState, SubnetIpv6CidrBlockAssociation,
};

use super::listing::{Listing, flag_given, only_attribute};
use crate::wire::{Filters, cidr, id, tag_list, tags_of, value};
use crate::{ApiError, Call, dispatch::Table};

const AVAILABLE: &str = "available";

pub(super) fn operations(table: &mut Table) {
    table.add(
        create_subnet,
        &[
            "VpcId",
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "Ipv6CidrBlock",
            "Ipv6Native",
            "TagSpecification",
        ],
    );
    table.add(delete_subnet, &["SubnetId"]);
    table.add(
        describe_subnets,
        &["SubnetId", "Filter", "MaxResults", "NextToken"],
    );
    table.add(
        modify_subnet_attribute,
        &[
            "SubnetId",
            "MapPublicIpOnLaunch",
            "AssignIpv6AddressOnCreation",
            "EnableDns64",
            "PrivateDnsHostnameTypeOnLaunch",
            "EnableResourceNameDnsARecordOnLaunch",
            "EnableResourceNameDnsAAAARecordOnLaunch",
        ],
    );
    table.add(associate_subnet_cidr_block, &["SubnetId", "Ipv6CidrBlock"]);
    table.add(disassociate_subnet_cidr_block, &["AssociationId"]);
}

async fn create_subnet(call: Call, request: CreateSubnetRequest) -> Result<CreateSubnetResult, ApiError> {
    let zone = zone(
        call.region_name,
        request.availability_zone.as_deref(),
        request.availability_zone_id.as_deref(),
    )?;
    let new = CreateSubnet {
        vpc: id(&request.vpc_id)?,
        zone,
        cidr: request
            .cidr_block
            .map(|block| cidr("CidrBlock", &block, Family::V4))
            .transpose()?,
        ipv6_cidr: request
            .ipv6_cidr_block
            .map(|block| cidr("Ipv6CidrBlock", &block, Family::V6))
            .transpose()?,
        ipv6_native: request.ipv6_native == Some(true),
        tags: tags_of(&request.tag_specifications, "subnet")?,
    };
    let subnet = call
        .submit(move |tx: &mut Transaction| {
            let id = new.apply(tx)?;
            Ok(shape(tx.region(), &*tx.find::<Subnet>(id)?))
        })
        .await?;
    Ok(CreateSubnetResult { subnet: Some(subnet) })
}

/// The zone by its name or its id; both must name the same.
fn zone(region: RegionName, name: Option<&str>, zone_id: Option<&str>) -> Result<Option<ZoneName>, ApiError> {
    let zones = region.zones();
    let find = |parameter, text: &str, spelt: fn(&ZoneName) -> String| {
        zones
            .iter()
            .find(|zone| spelt(zone) == text)
            .copied()
            .ok_or_else(|| {
                let known: Vec<String> = zones.iter().map(spelt).collect();
                let why = format!(
                    "Subnets can currently only be created in the following availability zones: {}.",
                    known.join(", ")
                );
                ApiError::invalid_parameter(parameter, text, &why)
            })
    };
    let by_name = name
        .map(|text| find("availabilityZone", text, ZoneName::to_string))
        .transpose()?;
    let by_id = zone_id
        .map(|text| find("availabilityZoneId", text, |zone| zone.zone_id()))
        .transpose()?;
    match (by_name, by_id) {
        (Some(a), Some(b)) if a != b => Err(ApiError::invalid_combination(format!(
            "The parameters AvailabilityZone and AvailabilityZoneId name different zones, {a} and {b}."
        ))),
        (by_name, by_id) => Ok(by_name.or(by_id)),
    }
}

async fn delete_subnet(call: Call, request: DeleteSubnetRequest) -> Result<DeleteSubnetResult, ApiError> {
    let subnet = id(&request.subnet_id)?;
    call.submit(DeleteSubnet { subnet }).await?;
    Ok(DeleteSubnetResult::default())
}

async fn describe_subnets(
    call: Call,
    request: DescribeSubnetsRequest,
) -> Result<DescribeSubnetsResult, ApiError> {
    let region = call.region()?;
    let block = |subnet: &Arc<Subnet>| subnet.cidr;
    let keep = Filters::tagged(|subnet: &Arc<Subnet>| &subnet.tags)
        .one("availability-zone", |subnet| subnet.zone)
        .one("availabilityZone", |subnet| subnet.zone)
        .one("availability-zone-id", |subnet| subnet.zone.zone_id())
        .one("availabilityZoneId", |subnet| subnet.zone.zone_id())
        .one("available-ip-address-count", |subnet| {
            available_ips(&region, subnet)
        })
        .maybe("cidr", block)
        .maybe("cidr-block", block)
        .maybe("cidrBlock", block)
        .maybe("customer-owned-ipv4-pool", |_| None::<&str>)
        .one("default-for-az", |subnet| subnet.default_for_az)
        .one("defaultForAz", |subnet| subnet.default_for_az)
        .one("enable-dns64", |subnet| subnet.enable_dns64)
        .maybe("enable-lni-at-device-index", |_| None::<&str>)
        .many("ipv6-cidr-block-association.association-id", |subnet| {
            subnet.ipv6_cidrs.iter().map(|c| c.id).collect::<Vec<_>>()
        })
        .many("ipv6-cidr-block-association.ipv6-cidr-block", |subnet| {
            subnet.ipv6_cidrs.iter().map(|c| c.block).collect::<Vec<_>>()
        })
        .many("ipv6-cidr-block-association.state", |subnet| {
            subnet.ipv6_cidrs.iter().map(|c| c.state).collect::<Vec<_>>()
        })
        .one("ipv6-native", |subnet| subnet.cidr.is_none())
        .one("map-customer-owned-ip-on-launch", |_| false)
        .one("map-public-ip-on-launch", |subnet| subnet.map_public_ip_on_launch)
        .maybe("outpost-arn", |_| None::<&str>)
        .one("owner-id", |subnet| subnet.owner)
        .one("private-dns-name-options-on-launch.hostname-type", |subnet| {
            subnet.hostname_type
        })
        .one(
            "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
            |subnet| subnet.resource_name_a_record,
        )
        .one(
            "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
            |subnet| subnet.resource_name_aaaa_record,
        )
        .one("state", |_| AVAILABLE)
        .one("subnet-arn", |subnet| arn(subnet))
        .one("subnet-id", |subnet| subnet.id)
        .one("vpc-id", |subnet| subnet.vpc)
        .parse(&request.filters)?;
    let listing = Listing {
        action: "DescribeSubnets",
        ids: &request.subnet_ids,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
        bounds: 5..=1000,
    };
    let page = listing.of::<Subnet>(&region, call.account, &keep)?;
    Ok(DescribeSubnetsResult {
        subnets: page.items.iter().map(|subnet| shape(&region, subnet)).collect(),
        next_token: page.next_token,
    })
}

fn arn(subnet: &Subnet) -> String {
    let (region, owner, id) = (subnet.zone.region(), subnet.owner, subnet.id);
    format!("arn:aws:ec2:{region}:{owner}:subnet/{id}")
}

fn shape(region: &Region, subnet: &Subnet) -> ec2::Subnet {
    ec2::Subnet {
        subnet_id: Some(subnet.id.to_string()),
        subnet_arn: Some(arn(subnet)),
        owner_id: Some(subnet.owner.to_string()),
        vpc_id: Some(subnet.vpc.to_string()),
        state: Some(AVAILABLE.to_owned()),
        availability_zone: Some(subnet.zone.to_string()),
        availability_zone_id: Some(subnet.zone.zone_id()),
        cidr_block: subnet.cidr.map(|block| block.to_string()),
        ipv6_cidr_block_association_set: subnet.ipv6_cidrs.iter().map(association).collect(),
        ipv6_native: Some(subnet.cidr.is_none()),
        // A /16 has 65,531 of them at most.
        available_ip_address_count: Some(i32::try_from(available_ips(region, subnet)).unwrap_or(i32::MAX)),
        default_for_az: Some(subnet.default_for_az),
        map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
        map_customer_owned_ip_on_launch: Some(false),
        assign_ipv6_address_on_creation: Some(subnet.assign_ipv6_on_creation),
        enable_dns64: Some(subnet.enable_dns64),
        private_dns_name_options_on_launch: Some(PrivateDnsNameOptionsOnLaunch {
            hostname_type: Some(subnet.hostname_type.to_string()),
            enable_resource_name_dns_a_record: Some(subnet.resource_name_a_record),
            enable_resource_name_dns_aaaa_record: Some(subnet.resource_name_aaaa_record),
        }),
        block_public_access_states: Some(BlockPublicAccessStates {
            internet_gateway_block_mode: Some("off".to_owned()),
        }),
        tags: tag_list(&subnet.tags),
        ..Default::default()
    }
}

fn association(association: &SubnetCidrAssociation) -> SubnetIpv6CidrBlockAssociation {
    SubnetIpv6CidrBlockAssociation {
        association_id: Some(association.id.to_string()),
        ipv6_cidr_block: Some(association.block.to_string()),
        ipv6_cidr_block_state: Some(SubnetCidrBlockState {
            state: Some(association.state.to_string()),
            status_message: None,
        }),
        ipv6_address_attribute: Some("public".to_owned()),
        ip_source: Some("amazon".to_owned()),
    }
}

async fn modify_subnet_attribute(
    call: Call,
    request: ModifySubnetAttributeRequest,
) -> Result<ModifySubnetAttributeResult, ApiError> {
    let subnet = id(&request.subnet_id)?;
    let public = flag_given("MapPublicIpOnLaunch", request.map_public_ip_on_launch.as_ref())?;
    let ipv6 = flag_given(
        "AssignIpv6AddressOnCreation",
        request.assign_ipv6_address_on_creation.as_ref(),
    )?;
    let dns64 = flag_given("EnableDns64", request.enable_dns64.as_ref())?;
    let hostname_type = request
        .private_dns_hostname_type_on_launch
        .map(|text| {
            value(
                "PrivateDnsHostnameTypeOnLaunch",
                &text,
                "Expecting ip-name or resource-name.",
            )
        })
        .transpose()?;
    let a_record = flag_given(
        "EnableResourceNameDnsARecordOnLaunch",
        request.enable_resource_name_dns_a_record_on_launch.as_ref(),
    )?;
    let aaaa_record = flag_given(
        "EnableResourceNameDnsAAAARecordOnLaunch",
        request.enable_resource_name_dns_aaaa_record_on_launch.as_ref(),
    )?;
    let attribute = only_attribute([
        public.map(SubnetAttribute::MapPublicIpOnLaunch),
        ipv6.map(SubnetAttribute::AssignIpv6AddressOnCreation),
        dns64.map(SubnetAttribute::EnableDns64),
        hostname_type.map(SubnetAttribute::PrivateDnsHostnameTypeOnLaunch),
        a_record.map(SubnetAttribute::EnableResourceNameDnsARecordOnLaunch),
        aaaa_record.map(SubnetAttribute::EnableResourceNameDnsAaaaRecordOnLaunch),
    ])?;
    call.submit(ModifySubnetAttribute { subnet, attribute }).await?;
    Ok(ModifySubnetAttributeResult::default())
}

async fn associate_subnet_cidr_block(
    call: Call,
    request: AssociateSubnetCidrBlockRequest,
) -> Result<AssociateSubnetCidrBlockResult, ApiError> {
    let subnet = id(&request.subnet_id)?;
    let block = request
        .ipv6_cidr_block
        .ok_or_else(|| ApiError::missing("Ipv6CidrBlock"))?;
    let ipv6_cidr = cidr("Ipv6CidrBlock", &block, Family::V6)?;
    let added = call
        .submit(AssociateSubnetCidrBlock { subnet, ipv6_cidr })
        .await?;
    Ok(AssociateSubnetCidrBlockResult {
        subnet_id: Some(subnet.to_string()),
        ipv6_cidr_block_association: Some(association(&added)),
    })
}

async fn disassociate_subnet_cidr_block(
    call: Call,
    request: DisassociateSubnetCidrBlockRequest,
) -> Result<DisassociateSubnetCidrBlockResult, ApiError> {
    let id = id(&request.association_id)?;
    let (subnet, gone) = call
        .submit(DisassociateSubnetCidrBlock { association: id })
        .await?;
    Ok(DisassociateSubnetCidrBlockResult {
        subnet_id: Some(subnet.to_string()),
        ipv6_cidr_block_association: Some(association(&gone)),
    })
}
