//! `AWS::EC2::VPC` and `AWS::EC2::VPCCidrBlock`.

use atoll_model::VpcCidrAssociationId;
use atoll_model::vpc::{CidrState, Tenancy, Vpc};
use atoll_region::vpc::{CreateVpc, DeleteVpc, ModifyVpcAttribute, VpcAttribute};
use atoll_region::vpc_cidr::{AssociateVpcCidrBlock, DisassociateVpcCidrBlock, NewBlock};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

const IPAM: &str = "address pools of IPAM do not exist here; give the block itself";

/// A VPC. `Ref` is its id.
pub const VPC: ResourceType = ResourceType {
    name: "AWS::EC2::VPC",
    properties: &[
        Property::new("CidrBlock", Kind::String),
        Property::new("EnableDnsHostnames", Kind::Boolean),
        Property::new("EnableDnsSupport", Kind::Boolean),
        Property::new("InstanceTenancy", Kind::String).only(&["default"]),
        Property::new("Ipv4IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv4NetmaskLength", Kind::Integer).refused(IPAM),
        TAGS,
        Property::new("VpcEncryptionControl", Kind::Json)
            .refused("encryption in transit is not controlled here"),
    ],
    attributes: &[
        "CidrBlock",
        "CidrBlockAssociations",
        "DefaultNetworkAcl",
        "DefaultSecurityGroup",
        "Ipv6CidrBlocks",
        "VpcId",
    ],
    placeholder: false,
    life: &VpcLife,
};

/// Another block of a VPC. `Ref` is the association's id.
pub const VPC_CIDR_BLOCK: ResourceType = ResourceType {
    name: "AWS::EC2::VPCCidrBlock",
    properties: &[
        Property::new("AmazonProvidedIpv6CidrBlock", Kind::Boolean),
        Property::new("CidrBlock", Kind::String),
        Property::new("Ipv4IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv4NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("Ipv6CidrBlock", Kind::String)
            .refused("blocks of one's own (BYOIP) do not exist here; set AmazonProvidedIpv6CidrBlock"),
        Property::new("Ipv6CidrBlockNetworkBorderGroup", Kind::String).not_in_effect(),
        Property::new("Ipv6IpamPoolId", Kind::String).refused(IPAM),
        Property::new("Ipv6NetmaskLength", Kind::Integer).refused(IPAM),
        Property::new("Ipv6Pool", Kind::String)
            .refused("blocks of one's own (BYOIP) do not exist here; set AmazonProvidedIpv6CidrBlock"),
        Property::new("VpcId", Kind::String).required(),
    ],
    attributes: &["Id", "IpSource", "Ipv6AddressAttribute"],
    placeholder: false,
    life: &CidrBlockLife,
};

struct VpcLife;

impl Life for VpcLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let cidr = make.given.block("CidrBlock")?.ok_or_else(|| {
            Failure::of(
                "CidrBlock",
                "Either CIDR Block or IPv4 IPAM Pool and IPv4 Netmask Length must be provided",
            )
        })?;
        let tags = make.tags()?;
        let command = CreateVpc {
            cidr,
            amazon_provided_ipv6: false,
            tenancy: Tenancy::Default,
            tags,
        };
        let vpc = command.apply(make.tx)?;
        // Names need the resolver, so the resolver comes first when both are turned on.
        let attributes = [
            make.given
                .boolean("EnableDnsSupport")
                .map(VpcAttribute::EnableDnsSupport),
            make.given
                .boolean("EnableDnsHostnames")
                .map(VpcAttribute::EnableDnsHostnames),
        ];
        for attribute in attributes.into_iter().flatten() {
            ModifyVpcAttribute { vpc, attribute }.apply(make.tx)?;
        }
        Ok(Created::tagged(vpc))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let vpc = seen.row::<Vpc>()?;
        Some(match name {
            "VpcId" => seen.physical.into(),
            "CidrBlock" => vpc.primary_cidr()?.to_string().into(),
            "CidrBlockAssociations" => vpc.cidrs.iter().map(|c| c.id.to_string()).collect(),
            "DefaultNetworkAcl" => vpc.default_network_acl.to_string().into(),
            "DefaultSecurityGroup" => vpc.default_security_group.to_string().into(),
            "Ipv6CidrBlocks" => vpc
                .ipv6_cidrs
                .iter()
                .filter(|c| c.state == CidrState::Associated)
                .map(|c| c.block.to_string())
                .collect(),
            _ => return None,
        })
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteVpc { vpc: doomed.id()? }.apply(tx)
    }
}

/// The attributes of a block's association, with a VPC or a subnet.
pub(super) fn association_attribute(seen: &Seen<'_>, name: &str) -> Option<Value> {
    match name {
        "Id" => Some(seen.physical.into()),
        "IpSource" => Some("amazon".into()),
        "Ipv6AddressAttribute" => Some("public".into()),
        _ => None,
    }
}

struct CidrBlockLife;

impl Life for CidrBlockLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let vpc = make.given.required("VpcId")?;
        let ipv6 = make.given.boolean("AmazonProvidedIpv6CidrBlock").unwrap_or(false);
        let block = match (make.given.block("CidrBlock")?, ipv6) {
            (Some(block), false) => NewBlock::Ipv4(block),
            (None, true) => NewBlock::AmazonProvidedIpv6,
            _ => {
                return Err(Failure::of(
                    "CidrBlock",
                    "Exactly one of CidrBlock and AmazonProvidedIpv6CidrBlock must be given",
                ));
            }
        };
        let association = AssociateVpcCidrBlock { vpc, block }.apply(make.tx)?;
        Ok(Created::untagged(association.id))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        association_attribute(seen, name)
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let association: VpcCidrAssociationId = doomed.id()?;
        DisassociateVpcCidrBlock { association }.apply(tx).map(|_| ())
    }
}
