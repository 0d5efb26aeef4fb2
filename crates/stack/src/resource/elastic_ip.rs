//! `AWS::EC2::EIP` and `AWS::EC2::EIPAssociation`.

use std::net::Ipv4Addr;

use atoll_model::{AllocationId, EniId, InstanceId};
use atoll_region::elastic_ip::{
    AddressRef, AllocateAddress, AssociateAddress, AssociateTarget, AssociationRef, DisassociateAddress,
    ReleaseAddress,
};
use atoll_region::tag::Taggable;
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

/// An Elastic IP. `Ref` is the public address.
pub const EIP: ResourceType = ResourceType {
    name: "AWS::EC2::EIP",
    properties: &[
        Property::new("Address", Kind::String),
        Property::new("Domain", Kind::String).only(&["vpc"]),
        Property::new("InstanceId", Kind::String),
        Property::new("IpamPoolId", Kind::String).refused("address pools of IPAM do not exist here"),
        Property::new("NetworkBorderGroup", Kind::String).not_in_effect(),
        Property::new("PublicIpv4Pool", Kind::String).only(&["amazon"]),
        TAGS,
        Property::new("TransferAddress", Kind::String)
            .refused("addresses are not transferred between accounts here"),
    ],
    attributes: &["AllocationId", "PublicIp"],
    placeholder: false,
    life: &EipLife,
};

/// The association of an Elastic IP. `Ref` is its id.
pub const EIP_ASSOCIATION: ResourceType = ResourceType {
    name: "AWS::EC2::EIPAssociation",
    properties: &[
        Property::new("AllocationId", Kind::String),
        Property::new("EIP", Kind::String),
        Property::new("InstanceId", Kind::String),
        Property::new("NetworkInterfaceId", Kind::String),
        Property::new("PrivateIpAddress", Kind::String),
    ],
    attributes: &["Id"],
    placeholder: false,
    life: &AssociationLife,
};

struct EipLife;

impl Life for EipLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let address = make.given.parsed::<Ipv4Addr>("Address")?;
        let tags = make.tags()?;
        let eip = AllocateAddress { address, tags }.apply(make.tx)?;
        if let Some(instance) = make.given.parsed::<InstanceId>("InstanceId")? {
            let target = AssociateTarget::Instance(instance);
            let address = AddressRef::Allocation(eip.id);
            AssociateAddress {
                address,
                target,
                private: None,
                allow_reassociation: false,
            }
            .apply(make.tx)?;
        }
        let taggable = Taggable::parse(&eip.id.to_string()).ok();
        Ok(Created {
            taggable,
            ..Created::untagged(eip.public).remembering(eip.id)
        })
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        match name {
            "PublicIp" => Some(seen.physical.into()),
            "AllocationId" => Some(seen.resource.detail.as_deref()?.into()),
            _ => None,
        }
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let id: AllocationId = doomed.detail()?;
        let address = AddressRef::Allocation(id);
        let eip = address.find(tx.region(), doomed.account)?;
        if let Some(association) = eip.association {
            // What the template itself associated goes with the address.
            let association = AssociationRef::Association(association.id);
            DisassociateAddress { association }.apply(tx)?;
        }
        ReleaseAddress { address }.apply(tx)
    }
}

struct AssociationLife;

impl Life for AssociationLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let address = match (
            given.parsed::<AllocationId>("AllocationId")?,
            given.parsed::<Ipv4Addr>("EIP")?,
        ) {
            (Some(allocation), None) => AddressRef::Allocation(allocation),
            (None, Some(public)) => AddressRef::Public(public),
            _ => {
                return Err(Failure::of(
                    "AllocationId",
                    "Exactly one of AllocationId and EIP must be given",
                ));
            }
        };
        let target = match (
            given.parsed::<InstanceId>("InstanceId")?,
            given.parsed::<EniId>("NetworkInterfaceId")?,
        ) {
            (Some(instance), None) => AssociateTarget::Instance(instance),
            // An interface says more than its instance.
            (_, Some(eni)) => AssociateTarget::NetworkInterface(eni),
            (None, None) => {
                return Err(Failure::of(
                    "InstanceId",
                    "InstanceId or NetworkInterfaceId must be given",
                ));
            }
        };
        let private = given.parsed("PrivateIpAddress")?;
        let association = AssociateAddress {
            address,
            target,
            private,
            allow_reassociation: false,
        }
        .apply(make.tx)?;
        Ok(Created::untagged(association))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DisassociateAddress {
            association: AssociationRef::Association(doomed.id()?),
        }
        .apply(tx)
    }
}
