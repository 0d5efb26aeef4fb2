//! `AWS::EC2::InternetGateway` and `AWS::EC2::VPCGatewayAttachment`.

use atoll_model::{InternetGatewayId, VpcId};
use atoll_region::internet_gateway::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DetachInternetGateway,
};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

/// An internet gateway. `Ref` is its id.
pub const INTERNET_GATEWAY: ResourceType = ResourceType {
    name: "AWS::EC2::InternetGateway",
    properties: &[TAGS],
    attributes: &["InternetGatewayId"],
    placeholder: false,
    life: &GatewayLife,
};

/// The attachment of an internet gateway to a VPC. `Ref` is `IGW|` and the VPC's id.
pub const VPC_GATEWAY_ATTACHMENT: ResourceType = ResourceType {
    name: "AWS::EC2::VPCGatewayAttachment",
    properties: &[
        Property::new("InternetGatewayId", Kind::String).required(),
        Property::new("VpcId", Kind::String).required(),
        Property::new("VpnGatewayId", Kind::String).refused("there are no virtual private gateways here"),
    ],
    attributes: &["AttachmentType"],
    placeholder: false,
    life: &AttachmentLife,
};

struct GatewayLife;

impl Life for GatewayLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let tags = make.tags()?;
        Ok(Created::tagged(CreateInternetGateway { tags }.apply(make.tx)?))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "InternetGatewayId").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteInternetGateway {
            gateway: doomed.id()?,
        }
        .apply(tx)
    }
}

struct AttachmentLife;

impl Life for AttachmentLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let gateway: InternetGatewayId = make.given.required("InternetGatewayId")?;
        let vpc: VpcId = make.given.required("VpcId")?;
        AttachInternetGateway { gateway, vpc }.apply(make.tx)?;
        Ok(Created::untagged(format!("IGW|{vpc}")).remembering(gateway))
    }

    fn attribute(&self, _: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "AttachmentType").then(|| "IGW".into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let vpc = doomed.physical.trim_start_matches("IGW|").parse();
        let vpc: VpcId = vpc.map_err(|_| Error::internal(format!("{} names no VPC", doomed.physical)))?;
        match (DetachInternetGateway {
            gateway: doomed.detail()?,
            vpc,
        }
        .apply(tx))
        {
            // Somebody detached it by hand.
            Err(e) if e.code == "Gateway.NotAttached" => Ok(()),
            outcome => outcome,
        }
    }
}
