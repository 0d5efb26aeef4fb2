//! Egress-only internet gateways.

use serde::{Deserialize, Serialize};

use crate::id::{EgressOnlyGatewayId, VpcId};
use crate::{AccountId, ClientToken, Tags};

/// An egress-only internet gateway: IPv6 out, nothing in but replies (semantics 75).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressOnlyInternetGateway {
    /// Its id.
    pub id: EgressOnlyGatewayId,
    /// Who owns it.
    pub owner: AccountId,
    /// The VPC it is attached to, from creation on.
    pub vpc: VpcId,
    /// The caller's idempotency token.
    #[serde(default)]
    pub client_token: Option<ClientToken>,
    /// Tags.
    pub tags: Tags,
}
