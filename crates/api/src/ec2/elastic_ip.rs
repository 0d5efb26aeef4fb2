//! Elastic IPs.

use std::net::Ipv4Addr;
use std::sync::Arc;

use atoll_model::{AddressAssociationId, AllocationId, ElasticIp, NetworkInterface};
use atoll_region::Region;
use atoll_region::elastic_ip::{self, AddressRef, AssociateTarget, AssociationRef};
use atoll_shapes::ec2::{
    self, AllocateAddressRequest, AllocateAddressResult, AssociateAddressRequest, AssociateAddressResult,
    DescribeAddressesRequest, DescribeAddressesResult, DisassociateAddressRequest, DisassociateAddressResult,
    ReleaseAddressRequest, ReleaseAddressResult,
};

use super::network_interface::v4;
use crate::wire::{Filters, id, ids, tag_list, tags_of};
use crate::{ApiError, Call, dispatch::Table};

/// The one pool there is, in EC2's word for its own.
const POOL: &str = "amazon";

pub(super) fn operations(table: &mut Table) {
    table.add(
        allocate_address,
        &[
            "Domain",
            "Address",
            "PublicIpv4Pool",
            "NetworkBorderGroup",
            "TagSpecification",
        ],
    );
    table.add(
        associate_address,
        &[
            "AllocationId",
            "PublicIp",
            "InstanceId",
            "NetworkInterfaceId",
            "PrivateIpAddress",
            "AllowReassociation",
        ],
    );
    table.add(disassociate_address, &["AssociationId", "PublicIp"]);
    table.add(
        release_address,
        &["AllocationId", "PublicIp", "NetworkBorderGroup"],
    );
    table.add(describe_addresses, &["AllocationId", "PublicIp", "Filter"]);
}

/// An Elastic IP by exactly one of its names.
fn address_ref(allocation: Option<&str>, public: Option<&str>) -> Result<AddressRef, ApiError> {
    match (allocation, public) {
        (Some(allocation), None) => Ok(AddressRef::Allocation(id(allocation)?)),
        (None, Some(public)) => Ok(AddressRef::Public(v4("PublicIp", public)?)),
        (None, None) => Err(ApiError::missing("AllocationId")),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "You may specify public IP or allocation id, but not both in the same call",
        )),
    }
}

/// The border group is the region itself: there are no local zones.
fn border_group(call: &Call, asked: Option<&str>) -> Result<(), ApiError> {
    match asked.filter(|group| *group != call.region_name.as_str()) {
        None => Ok(()),
        Some(other) => {
            let why = format!("The network border group here is {}.", call.region_name);
            Err(ApiError::invalid_parameter("NetworkBorderGroup", other, &why))
        }
    }
}

async fn allocate_address(
    call: Call,
    request: AllocateAddressRequest,
) -> Result<AllocateAddressResult, ApiError> {
    border_group(&call, request.network_border_group.as_deref())?;
    if let Some(domain) = request.domain.as_deref().filter(|domain| *domain != "vpc") {
        return Err(ApiError::invalid_parameter(
            "Domain",
            domain,
            "Addresses are for use in a vpc.",
        ));
    }
    if let Some(pool) = request.public_ipv4_pool.as_deref().filter(|pool| *pool != POOL) {
        return Err(ApiError::new(
            "InvalidPublicIpv4PoolID.NotFound",
            format!(
                "The public IPv4 pool '{}' does not exist; there is the pool '{POOL}'",
                crate::error::shortened(pool)
            ),
        ));
    }
    let made = call
        .submit(elastic_ip::AllocateAddress {
            address: request
                .address
                .as_deref()
                .map(|text| v4("Address", text))
                .transpose()?,
            tags: tags_of(&request.tag_specifications, "elastic-ip")?,
        })
        .await?;
    Ok(AllocateAddressResult {
        allocation_id: Some(made.id.to_string()),
        public_ip: Some(made.public.to_string()),
        public_ipv4_pool: Some(POOL.into()),
        network_border_group: Some(call.region_name.to_string()),
        domain: Some("vpc".into()),
        ..Default::default()
    })
}

async fn associate_address(
    call: Call,
    request: AssociateAddressRequest,
) -> Result<AssociateAddressResult, ApiError> {
    let target = match (&request.instance_id, &request.network_interface_id) {
        (Some(instance), None) => AssociateTarget::Instance(id(instance)?),
        (None, Some(eni)) => AssociateTarget::NetworkInterface(id(eni)?),
        (None, None) => return Err(ApiError::missing("InstanceId or NetworkInterfaceId")),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination(
                "You may specify an instance ID or a network interface ID, but not both in the same call",
            ));
        }
    };
    let private = request.private_ip_address.as_deref();
    let association = call
        .submit(elastic_ip::AssociateAddress {
            address: address_ref(request.allocation_id.as_deref(), request.public_ip.as_deref())?,
            target,
            private: private.map(|text| v4("PrivateIpAddress", text)).transpose()?,
            // In a VPC reassociation is automatic unless it is ruled out.
            allow_reassociation: request.allow_reassociation.unwrap_or(true),
        })
        .await?;
    Ok(AssociateAddressResult {
        association_id: Some(association.to_string()),
    })
}

async fn disassociate_address(
    call: Call,
    request: DisassociateAddressRequest,
) -> Result<DisassociateAddressResult, ApiError> {
    let association = match (&request.association_id, &request.public_ip) {
        (Some(association), None) => AssociationRef::Association(id::<AddressAssociationId>(association)?),
        (None, Some(public)) => AssociationRef::Public(v4("PublicIp", public)?),
        (None, None) => return Err(ApiError::missing("AssociationId")),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination(
                "You may specify public IP or association id, but not both in the same call",
            ));
        }
    };
    call.submit(elastic_ip::DisassociateAddress { association })
        .await?;
    Ok(DisassociateAddressResult::default())
}

async fn release_address(
    call: Call,
    request: ReleaseAddressRequest,
) -> Result<ReleaseAddressResult, ApiError> {
    border_group(&call, request.network_border_group.as_deref())?;
    let address = address_ref(request.allocation_id.as_deref(), request.public_ip.as_deref())?;
    call.submit(elastic_ip::ReleaseAddress { address }).await?;
    Ok(ReleaseAddressResult::default())
}

async fn describe_addresses(
    call: Call,
    request: DescribeAddressesRequest,
) -> Result<DescribeAddressesResult, ApiError> {
    let region = call.region()?;
    let of = &region;
    let border = call.region_name;
    let keep = Filters::tagged(|address: &Arc<ElasticIp>| &address.tags)
        .one("allocation-id", |address| address.id)
        .maybe("association-id", |address| address.association.map(|a| a.id))
        .one("domain", |_| "vpc")
        .maybe("instance-id", |address| {
            holder(of, address)?
                .attachment
                .as_ref()
                .map(|attachment| attachment.instance)
        })
        .one("network-border-group", move |_| border)
        .maybe("network-interface-id", |address| {
            address.association.map(|a| a.eni)
        })
        .maybe("network-interface-owner-id", |address| {
            address.association.map(|_| address.owner)
        })
        .maybe("private-ip-address", |address| {
            address.association.map(|a| a.private)
        })
        .one("public-ip", |address| address.public)
        .parse(&request.filters)?;
    let mut found: Vec<Arc<ElasticIp>> = Vec::new();
    for allocation in ids::<AllocationId>(&request.allocation_ids)? {
        found.push(AddressRef::Allocation(allocation).find(&region, call.account)?);
    }
    for text in &request.public_ips {
        let public: Ipv4Addr = v4("PublicIp", text)?;
        found.push(AddressRef::Public(public).find(&region, call.account)?);
    }
    if request.allocation_ids.is_empty() && request.public_ips.is_empty() {
        found = region.list::<ElasticIp>(call.account).cloned().collect();
    }
    found.sort_by_key(|address| address.id);
    found.dedup_by_key(|address| address.id);
    Ok(DescribeAddressesResult {
        addresses: found
            .iter()
            .filter(|address| keep.matches(address))
            .map(|address| shape(&region, address))
            .collect(),
    })
}

fn holder<'a>(region: &'a Region, address: &ElasticIp) -> Option<&'a Arc<NetworkInterface>> {
    region.get::<NetworkInterface>(address.association?.eni)
}

fn shape(region: &Region, address: &ElasticIp) -> ec2::Address {
    let association = address.association;
    let holder = holder(region, address);
    let instance = holder.and_then(|eni| eni.attachment.as_ref());
    ec2::Address {
        allocation_id: Some(address.id.to_string()),
        public_ip: Some(address.public.to_string()),
        domain: Some("vpc".into()),
        public_ipv4_pool: Some(POOL.into()),
        network_border_group: Some(region.name().to_string()),
        association_id: association.map(|a| a.id.to_string()),
        network_interface_id: association.map(|a| a.eni.to_string()),
        network_interface_owner_id: association.map(|_| address.owner.to_string()),
        private_ip_address: association.map(|a| a.private.to_string()),
        instance_id: instance.map(|attachment| attachment.instance.to_string()),
        tags: tag_list(&address.tags),
        ..Default::default()
    }
}
