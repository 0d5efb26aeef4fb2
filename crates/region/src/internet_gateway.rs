//! Internet gateways: made, attached to one VPC at a time, detached, deleted.

use atoll_model::route_table::AssociationTarget;
use atoll_model::{
    InternetGateway, InternetGatewayId, Key, NetworkInterface, RouteTable, Tags, Vpc, VpcId, quota,
};

use crate::error::Error;
use crate::state::Region;
use crate::tag;
use crate::transaction::{Command, Transaction};

/// The gateway attached to a VPC; at most one (semantics 74).
pub fn of_vpc(region: &Region, vpc: VpcId) -> Option<std::sync::Arc<InternetGateway>> {
    region.dependants_of::<InternetGateway>(Key::Vpc(vpc)).next()
}

/// CreateInternetGateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateInternetGateway {
    /// Tags.
    pub tags: Tags,
}

impl Command for CreateInternetGateway {
    type Reply = InternetGatewayId;

    fn apply(self, tx: &mut Transaction) -> Result<InternetGatewayId, Error> {
        tag::allowed(&self.tags)?;
        let count = tx.region().list::<InternetGateway>(tx.account()).count();
        if count >= quota::INTERNET_GATEWAYS_PER_REGION {
            return Err(Error::new(
                "InternetGatewayLimitExceeded",
                "The maximum number of internet gateways has been reached.",
            ));
        }
        let id = tx.fresh_id::<InternetGateway>();
        tx.put(InternetGateway {
            id,
            owner: tx.account(),
            vpc: None,
            tags: self.tags,
        });
        Ok(id)
    }
}

/// DeleteInternetGateway: a detached one. Routes to it stay, as blackholes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteInternetGateway {
    /// The gateway.
    pub gateway: InternetGatewayId,
}

impl Command for DeleteInternetGateway {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let gateway = tx.find::<InternetGateway>(self.gateway)?;
        if gateway.vpc.is_some() {
            return Err(Error::dependency(format!(
                "The internetGateway '{}' has dependencies and cannot be deleted.",
                gateway.id
            )));
        }
        tx.delete(Key::InternetGateway(gateway.id));
        Ok(())
    }
}

/// AttachInternetGateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachInternetGateway {
    /// The gateway.
    pub gateway: InternetGatewayId,
    /// The VPC.
    pub vpc: VpcId,
}

impl Command for AttachInternetGateway {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let gateway = tx.find::<InternetGateway>(self.gateway)?;
        let vpc = tx.find::<Vpc>(self.vpc)?.id;
        if let Some(other) = gateway.vpc {
            return Err(Error::new(
                "Resource.AlreadyAssociated",
                format!("resource {} is already attached to network {other}", gateway.id),
            ));
        }
        // semantics 74: one a VPC.
        if of_vpc(tx.region(), vpc).is_some() {
            return Err(Error::invalid_value(format!(
                "Network {vpc} already has an internet gateway attached"
            )));
        }
        tx.update::<InternetGateway>(gateway.id, |gateway| gateway.vpc = Some(vpc))
    }
}

/// DetachInternetGateway: not while a public address stands for an interface of the VPC, or an edge table is
/// associated with the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachInternetGateway {
    /// The gateway.
    pub gateway: InternetGatewayId,
    /// The VPC it is attached to.
    pub vpc: VpcId,
}

impl Command for DetachInternetGateway {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let gateway = tx.find::<InternetGateway>(self.gateway)?;
        let vpc = tx.find::<Vpc>(self.vpc)?.id;
        if gateway.vpc != Some(vpc) {
            return Err(Error::new(
                "Gateway.NotAttached",
                format!("resource {} is not attached to network {vpc}", gateway.id),
            ));
        }
        let mapped = tx
            .region()
            .dependants_of::<NetworkInterface>(Key::Vpc(vpc))
            .any(|eni| eni.private_addresses.iter().any(|a| a.public.is_some()));
        if mapped {
            return Err(Error::dependency(format!(
                "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before \
                 detaching the gateway."
            )));
        }
        let edge = AssociationTarget::InternetGateway(gateway.id);
        let table = tx
            .region()
            .dependants_of::<RouteTable>(Key::InternetGateway(gateway.id))
            .find(|table| table.associations.values().any(|target| *target == edge));
        if let Some(table) = table {
            return Err(Error::dependency(format!(
                "The internetGateway '{}' is associated with the route table '{}'. Please disassociate it before \
                 detaching the gateway.",
                gateway.id, table.id
            )));
        }
        tx.update::<InternetGateway>(gateway.id, |gateway| gateway.vpc = None)
    }
}
