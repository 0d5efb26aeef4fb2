//! `AWS::EC2::EgressOnlyInternetGateway`.

use atoll_region::egress_only_gateway::{CreateEgressOnlyInternetGateway, DeleteEgressOnlyInternetGateway};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

/// An egress-only internet gateway. `Ref` is its id.
pub const EGRESS_ONLY_GATEWAY: ResourceType = ResourceType {
    name: "AWS::EC2::EgressOnlyInternetGateway",
    properties: &[TAGS, Property::new("VpcId", Kind::String).required()],
    attributes: &["Id"],
    placeholder: false,
    life: &GatewayLife,
};

struct GatewayLife;

impl Life for GatewayLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let vpc = make.given.required("VpcId")?;
        let tags = make.tags()?;
        let command = CreateEgressOnlyInternetGateway {
            vpc,
            client_token: None,
            tags,
        };
        Ok(Created::tagged(command.apply(make.tx)?))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteEgressOnlyInternetGateway {
            gateway: doomed.id()?,
        }
        .apply(tx)
    }
}
