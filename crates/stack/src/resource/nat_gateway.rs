//! `AWS::EC2::NatGateway`.

use atoll_model::nat_gateway::{Connectivity, NatGateway, NatGatewayState};
use atoll_region::nat_gateway::{CreateNatGateway, DeleteNatGateway};
use atoll_region::{Command, Error, Region, Transaction};

use crate::life::{Created, Doomed, Failure, Life, Make, Progress, Seen};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::value::Value;

const REGIONAL: &str = "regional NAT gateways do not exist here; make one a zone";

/// A NAT gateway. `Ref` is its id.
pub const NAT_GATEWAY: ResourceType = ResourceType {
    name: "AWS::EC2::NatGateway",
    properties: &[
        Property::new("AllocationId", Kind::String),
        Property::new("AvailabilityMode", Kind::String).only(&["zonal"]),
        Property::new("AvailabilityZoneAddresses", Kind::Json).refused(REGIONAL),
        Property::new("ConnectivityType", Kind::String),
        Property::new("MaxDrainDurationSeconds", Kind::Integer).not_in_effect(),
        Property::new("PrivateIpAddress", Kind::String),
        Property::new("SecondaryAllocationIds", Kind::Strings),
        Property::new("SecondaryPrivateIpAddressCount", Kind::Integer),
        Property::new("SecondaryPrivateIpAddresses", Kind::Strings),
        Property::new("SubnetId", Kind::String).required(),
        TAGS,
        Property::new("VpcId", Kind::String).refused(REGIONAL),
    ],
    attributes: &["EniId", "NatGatewayId"],
    placeholder: false,
    life: &GatewayLife,
};

struct GatewayLife;

impl Life for GatewayLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let command = CreateNatGateway {
            subnet: given.required("SubnetId")?,
            connectivity: given.parsed("ConnectivityType")?.unwrap_or(Connectivity::Public),
            allocation: given.parsed("AllocationId")?,
            private_ip: given.parsed("PrivateIpAddress")?,
            secondary_allocations: given.list("SecondaryAllocationIds")?,
            secondary_private_ips: given.list("SecondaryPrivateIpAddresses")?,
            secondary_private_ip_count: given.integer("SecondaryPrivateIpAddressCount")?,
            client_token: None,
            tags: make.tags()?,
        };
        Ok(Created::tagged(command.apply(make.tx)?))
    }

    fn progress(&self, seen: &Seen<'_>) -> Progress {
        let Some(gateway) = seen.row::<NatGateway>() else {
            return Progress::Failed(format!("NatGateway {} was not found", seen.physical));
        };
        match gateway.state {
            NatGatewayState::Available => Progress::Complete,
            NatGatewayState::Pending => Progress::Waiting,
            state @ (NatGatewayState::Failed | NatGatewayState::Deleting | NatGatewayState::Deleted) => {
                let (code, message) = gateway.failure.clone().unwrap_or_default();
                Progress::Failed(format!(
                    "NatGateway {} is in state {state} and hence failed to stabilize. {code} {message}",
                    gateway.id
                ))
            }
        }
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        match name {
            "NatGatewayId" => Some(seen.physical.into()),
            "EniId" => Some(seen.row::<NatGateway>()?.eni?.to_string().into()),
            _ => None,
        }
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        DeleteNatGateway {
            gateway: doomed.id()?,
        }
        .apply(tx)
    }

    fn is_gone(&self, region: &Region, doomed: &Doomed<'_>) -> bool {
        let gateway = doomed
            .id()
            .ok()
            .and_then(|id| region.find::<NatGateway>(doomed.account, id).ok());
        // A failed one has nothing left to take down.
        gateway
            .is_none_or(|gateway| matches!(gateway.state, NatGatewayState::Deleted | NatGatewayState::Failed))
    }
}
