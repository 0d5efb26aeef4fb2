//! Egress-only internet gateways: made in a VPC for life, and deleted.

use std::sync::Arc;

use atoll_model::{EgressOnlyGatewayId, EgressOnlyInternetGateway, Key, Row, Tags, Vpc, VpcId};

use crate::error::Error;
use crate::idempotency::{self, Repeated, look_up};
use crate::state::Region;
use crate::tag;
use crate::transaction::{Command, Transaction};

/// The egress-only gateway of a VPC; at most one (semantics 74).
pub fn of_vpc(region: &Region, vpc: VpcId) -> Option<Arc<EgressOnlyInternetGateway>> {
    region
        .dependants_of::<EgressOnlyInternetGateway>(Key::Vpc(vpc))
        .next()
}

/// CreateEgressOnlyInternetGateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateEgressOnlyInternetGateway {
    /// The VPC it is attached to.
    pub vpc: VpcId,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Command for CreateEgressOnlyInternetGateway {
    type Reply = EgressOnlyGatewayId;

    fn apply(self, tx: &mut Transaction) -> Result<EgressOnlyGatewayId, Error> {
        tag::allowed(&self.tags)?;
        let request = (self.vpc, &self.tags);
        let token = self.client_token.as_deref();
        let client_token = match look_up(tx, token, &request, |row| match row {
            Row::EgressOnlyGateway(gateway) => gateway.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Untokened => None,
            Repeated::New(token) => Some(token),
            Repeated::Before(keys) => return idempotency::made::<EgressOnlyInternetGateway>(tx, &keys),
        };
        let vpc = tx.find::<Vpc>(self.vpc)?.id;
        // semantics 74: one a VPC.
        if of_vpc(tx.region(), vpc).is_some() {
            return Err(Error::invalid_value(format!(
                "Network {vpc} already has an egress-only internet gateway attached"
            )));
        }
        let id = tx.fresh_id::<EgressOnlyInternetGateway>();
        tx.put(EgressOnlyInternetGateway {
            id,
            owner: tx.account(),
            vpc,
            client_token,
            tags: self.tags,
        });
        Ok(id)
    }
}

/// DeleteEgressOnlyInternetGateway. Routes to it stay, as blackholes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteEgressOnlyInternetGateway {
    /// The gateway.
    pub gateway: EgressOnlyGatewayId,
}

impl Command for DeleteEgressOnlyInternetGateway {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let gateway = tx.find::<EgressOnlyInternetGateway>(self.gateway)?;
        tx.delete(Key::EgressOnlyGateway(gateway.id));
        Ok(())
    }
}
