//! `AWS::EC2::Subnet` and `AWS::EC2::SubnetCidrBlock`.

use atoll_model::subnet::{HostnameType, Subnet};
use atoll_model::{NetworkAcl, SubnetCidrAssociationId, ZoneName};
use atoll_region::subnet::{
    AssociateSubnetCidrBlock, DeleteSubnet, DisassociateSubnetCidrBlock, ModifySubnetAttribute, NewSubnet,
    SubnetAttribute,
};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Given, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

const IPAM: &str = "address pools of IPAM do not exist here; give the block itself";

/// A subnet. `Ref` is its id.
pub const SUBNET: ResourceType = ResourceType {
    name: "AWS::EC2::Subnet",
    properties: &[
        Property::new("AssignIpv6AddressOnCreation", Kind::Boolean),
        Property::new("AvailabilityZone", Kind::String),
        Property::new("AvailabilityZoneId", Kind::String),
        Property::new("CidrBlock", Kind::String),
        Property::new("EnableDns64", Kind::Boolean),
        Property::new("EnableLniAtDeviceIndex", Kind::Integer).refused("there are no Outposts here"),
        Property::new("Ipv4IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv4NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("Ipv6CidrBlock", Kind::String),
        Property::new("Ipv6IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv6Native", Kind::Boolean),
        Property::new("Ipv6NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("MapPublicIpOnLaunch", Kind::Boolean),
        Property::new("OutpostArn", Kind::String).refused("there are no Outposts here"),
        Property::new(
            "PrivateDnsNameOptionsOnLaunch",
            Kind::Object(&[
                Property::new("EnableResourceNameDnsAAAARecord", Kind::Boolean),
                Property::new("EnableResourceNameDnsARecord", Kind::Boolean),
                Property::new("HostnameType", Kind::String),
            ]),
        ),
        TAGS,
        Property::new("VpcId", Kind::String).required(),
    ],
    attributes: &[
        "AvailabilityZone",
        "AvailabilityZoneId",
        "CidrBlock",
        "Ipv6CidrBlocks",
        "NetworkAclAssociationId",
        "SubnetId",
        "VpcId",
    ],
    placeholder: false,
    life: &SubnetLife,
};

/// An IPv6 block of a subnet. `Ref` is the association's id.
pub const SUBNET_CIDR_BLOCK: ResourceType = ResourceType {
    name: "AWS::EC2::SubnetCidrBlock",
    properties: &[
        Property::new("Ipv6CidrBlock", Kind::String).required(),
        Property::new("Ipv6IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv6NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("SubnetId", Kind::String).required(),
    ],
    attributes: &["Id", "IpSource", "Ipv6AddressAttribute"],
    placeholder: false,
    life: &CidrBlockLife,
};

struct SubnetLife;

impl SubnetLife {
    /// The zone, by name or by id.
    fn zone(make: &Make<'_>) -> Result<Option<ZoneName>, Failure> {
        match make.given.text("AvailabilityZoneId") {
            None => make.given.parsed("AvailabilityZone"),
            Some(id) => {
                let zones = make.tx.region().name().zones();
                let zone = zones.into_iter().find(|zone| zone.zone_id() == id);
                zone.map(Some).ok_or_else(|| {
                    Failure::of(
                        "AvailabilityZoneId",
                        format!("There is no zone {id} in this region"),
                    )
                })
            }
        }
    }

    fn attributes(given: Given<'_>) -> Result<Vec<SubnetAttribute>, Failure> {
        let names = given.object("PrivateDnsNameOptionsOnLaunch");
        let name_of = |field: &str| names.and_then(|names| names.boolean(field));
        let hostname: Option<HostnameType> = names.map_or(Ok(None), |names| names.parsed("HostnameType"))?;
        let attributes = [
            given
                .boolean("MapPublicIpOnLaunch")
                .map(SubnetAttribute::MapPublicIpOnLaunch),
            given
                .boolean("AssignIpv6AddressOnCreation")
                .map(SubnetAttribute::AssignIpv6AddressOnCreation),
            given.boolean("EnableDns64").map(SubnetAttribute::EnableDns64),
            hostname.map(SubnetAttribute::PrivateDnsHostnameTypeOnLaunch),
            name_of("EnableResourceNameDnsARecord")
                .map(SubnetAttribute::EnableResourceNameDnsARecordOnLaunch),
            name_of("EnableResourceNameDnsAAAARecord")
                .map(SubnetAttribute::EnableResourceNameDnsAaaaRecordOnLaunch),
        ];
        Ok(attributes.into_iter().flatten().collect())
    }
}

impl Life for SubnetLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let new = NewSubnet {
            vpc: make.given.required("VpcId")?,
            zone: Self::zone(make)?,
            cidr: make.given.block("CidrBlock")?,
            ipv6_cidr: make.given.block("Ipv6CidrBlock")?,
            ipv6_native: make.given.boolean("Ipv6Native").unwrap_or(false),
            tags: make.tags()?,
        };
        let subnet = new.apply(make.tx)?;
        for attribute in Self::attributes(make.given)? {
            ModifySubnetAttribute { subnet, attribute }.apply(make.tx)?;
        }
        Ok(Created::tagged(subnet))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let subnet = seen.row::<Subnet>()?;
        Some(match name {
            "SubnetId" => seen.physical.into(),
            "VpcId" => subnet.vpc.to_string().into(),
            "AvailabilityZone" => subnet.zone.to_string().into(),
            "AvailabilityZoneId" => subnet.zone.zone_id().into(),
            "CidrBlock" => subnet
                .cidr
                .map(|block| block.to_string())
                .unwrap_or_default()
                .into(),
            "Ipv6CidrBlocks" => subnet.ipv6_cidr().iter().map(ToString::to_string).collect(),
            "NetworkAclAssociationId" => {
                let acl: std::sync::Arc<NetworkAcl> =
                    atoll_region::network_acl::of_subnet(seen.region, subnet.id)?;
                let (id, _) = acl.associations.iter().find(|(_, id)| **id == subnet.id)?;
                id.to_string().into()
            }
            _ => return None,
        })
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteSubnet { subnet: doomed.id()? }.apply(tx)
    }
}

struct CidrBlockLife;

impl Life for CidrBlockLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let subnet = make.given.required("SubnetId")?;
        let ipv6_cidr = make
            .given
            .block("Ipv6CidrBlock")?
            .ok_or_else(|| Failure::of("Ipv6CidrBlock", "cannot be empty"))?;
        let association = AssociateSubnetCidrBlock { subnet, ipv6_cidr }.apply(make.tx)?;
        Ok(Created::untagged(association.id))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        super::vpc::association_attribute(seen, name)
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let association: SubnetCidrAssociationId = doomed.id()?;
        DisassociateSubnetCidrBlock { association }.apply(tx).map(|_| ())
    }
}
