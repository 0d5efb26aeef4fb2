//! `AWS::EC2::RouteTable`, `AWS::EC2::Route`, `AWS::EC2::SubnetRouteTableAssociation`.

use atoll_model::{EgressOnlyGatewayId, EniId, InstanceId, InternetGatewayId, NatGatewayId, RouteTableId};
use atoll_net::Prefix;
use atoll_region::route::{CreateRoute, DeleteRoute, NewTarget};
use atoll_region::route_table::{
    AssociateRouteTable, CreateRouteTable, DeleteRouteTable, DisassociateRouteTable, NewAssociation,
};
use atoll_region::{Command, Error, Transaction};

use crate::life::{Created, Doomed, Failure, Given, Life, Make, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

/// A route table. `Ref` is its id.
pub const ROUTE_TABLE: ResourceType = ResourceType {
    name: "AWS::EC2::RouteTable",
    properties: &[TAGS, Property::new("VpcId", Kind::String).required()],
    attributes: &["RouteTableId"],
    placeholder: false,
    life: &TableLife,
};

/// A route. `Ref` is the table's id, a bar, and the destination.
pub const ROUTE: ResourceType = ResourceType {
    name: "AWS::EC2::Route",
    properties: &[
        Property::new("CarrierGatewayId", Kind::String).refused("there are no carrier gateways here"),
        Property::new("CoreNetworkArn", Kind::String).refused("there are no core networks here"),
        Property::new("DestinationCidrBlock", Kind::String),
        Property::new("DestinationIpv6CidrBlock", Kind::String),
        Property::new("DestinationPrefixListId", Kind::String).refused("there are no prefix lists here"),
        Property::new("EgressOnlyInternetGatewayId", Kind::String),
        Property::new("GatewayId", Kind::String),
        Property::new("InstanceId", Kind::String),
        Property::new("LocalGatewayId", Kind::String).refused("there are no local gateways here"),
        Property::new("NatGatewayId", Kind::String),
        Property::new("NetworkInterfaceId", Kind::String),
        Property::new("OdbNetworkArn", Kind::String).refused("there are no database networks here"),
        Property::new("RouteTableId", Kind::String).required(),
        Property::new("TransitGatewayId", Kind::String).refused("there are no transit gateways here"),
        Property::new("VpcEndpointId", Kind::String).refused("there are no endpoints here"),
        Property::new("VpcPeeringConnectionId", Kind::String)
            .refused("there are no peering connections here"),
    ],
    attributes: &["CidrBlock"],
    placeholder: false,
    life: &RouteLife,
};

/// The association of a route table with a subnet. `Ref` is its id.
pub const ASSOCIATION: ResourceType = ResourceType {
    name: "AWS::EC2::SubnetRouteTableAssociation",
    properties: &[
        Property::new("RouteTableId", Kind::String).required(),
        Property::new("SubnetId", Kind::String).required(),
    ],
    attributes: &["Id"],
    placeholder: false,
    life: &AssociationLife,
};

struct TableLife;

impl Life for TableLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let vpc = make.given.required("VpcId")?;
        let tags = make.tags()?;
        Ok(Created::tagged(
            CreateRouteTable {
                vpc,
                client_token: None,
                tags,
            }
            .apply(make.tx)?,
        ))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "RouteTableId").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteRouteTable { table: doomed.id()? }.apply(tx)
    }
}

struct RouteLife;

impl RouteLife {
    /// The one target that is given.
    fn target(given: Given<'_>) -> Result<NewTarget, Failure> {
        let gateway = match given.text("GatewayId").as_deref() {
            None => None,
            Some("local") => Some(NewTarget::Local),
            Some(_) => given
                .parsed::<InternetGatewayId>("GatewayId")?
                .map(NewTarget::InternetGateway),
        };
        let egress_only = given.parsed::<EgressOnlyGatewayId>("EgressOnlyInternetGatewayId")?;
        let targets = [
            gateway,
            egress_only.map(NewTarget::EgressOnlyGateway),
            given
                .parsed::<NatGatewayId>("NatGatewayId")?
                .map(NewTarget::NatGateway),
            given
                .parsed::<EniId>("NetworkInterfaceId")?
                .map(NewTarget::NetworkInterface),
            given.parsed::<InstanceId>("InstanceId")?.map(NewTarget::Instance),
        ];
        let mut targets = targets.into_iter().flatten();
        match (targets.next(), targets.next()) {
            (Some(target), None) => Ok(target),
            _ => Err(Failure {
                property: None,
                message: "Exactly one of GatewayId, EgressOnlyInternetGatewayId, NatGatewayId, NetworkInterfaceId and InstanceId must be given".to_owned(),
            }),
        }
    }
}

impl Life for RouteLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let table: RouteTableId = make.given.required("RouteTableId")?;
        let destination = match (
            make.given.block("DestinationCidrBlock")?,
            make.given.block("DestinationIpv6CidrBlock")?,
        ) {
            (Some(block), None) | (None, Some(block)) => block,
            _ => {
                let message =
                    "Exactly one of DestinationCidrBlock and DestinationIpv6CidrBlock must be given";
                return Err(Failure::of("DestinationCidrBlock", message));
            }
        };
        let target = Self::target(make.given)?;
        CreateRoute {
            table,
            destination,
            target,
        }
        .apply(make.tx)?;
        Ok(Created::untagged(format!("{table}|{destination}")))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let (_, destination) = seen.physical.split_once('|')?;
        (name == "CidrBlock").then(|| destination.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        let parts = doomed.physical.split_once('|');
        let parsed = parts.and_then(|(table, block)| {
            Some((table.parse::<RouteTableId>().ok()?, block.parse::<Prefix>().ok()?))
        });
        let (table, destination) =
            parsed.ok_or_else(|| Error::internal(format!("{} names no route", doomed.physical)))?;
        DeleteRoute { table, destination }.apply(tx)
    }
}

struct AssociationLife;

impl Life for AssociationLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let table = make.given.required("RouteTableId")?;
        let target = NewAssociation::Subnet(make.given.required("SubnetId")?);
        Ok(Created::untagged(
            AssociateRouteTable { table, target }.apply(make.tx)?,
        ))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        (name == "Id").then(|| seen.physical.into())
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DisassociateRouteTable {
            association: doomed.id()?,
        }
        .apply(tx)
    }
}
