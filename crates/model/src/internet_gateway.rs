//! Internet gateways.

use serde::{Deserialize, Serialize};

use crate::id::{InternetGatewayId, VpcId};
use crate::{AccountId, Tags};

/// An internet gateway: stateless one-to-one translation at the edge of a VPC (semantics 66-71).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// Its id.
    pub id: InternetGatewayId,
    /// Who owns it.
    pub owner: AccountId,
    /// The VPC it is attached to; at most one gateway a VPC (semantics 74).
    pub vpc: Option<VpcId>,
    /// Tags.
    pub tags: Tags,
}
