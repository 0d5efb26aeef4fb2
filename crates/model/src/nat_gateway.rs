//! NAT gateways.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::{AddressAssociationId, AllocationId, EniId, NatGatewayId, SubnetId, VpcId};
use crate::{AccountId, ClientToken, Tags, Timestamp};

text_enum! {
    /// Where a NAT gateway stands in its life; only `Available` forwards.
    pub enum NatGatewayState {
        /// Being made.
        Pending = "pending",
        /// Could not be made.
        Failed = "failed",
        /// Forwards.
        Available = "available",
        /// Being taken down.
        Deleting = "deleting",
        /// Gone, still listed for about an hour.
        Deleted = "deleted",
    }
}

text_enum! {
    /// Whether it translates to a public address.
    pub enum Connectivity {
        /// With an Elastic IP, by an internet gateway.
        Public = "public",
        /// With its private address only (semantics 70).
        Private = "private",
    }
}

/// An address that a NAT gateway translates to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGatewayAddress {
    /// Its private address, on the gateway's interface.
    pub private: Ipv4Addr,
    /// The Elastic IP behind it, for public connectivity.
    pub public: Option<Ipv4Addr>,
    /// The allocation of the Elastic IP.
    pub allocation: Option<AllocationId>,
    /// The association of the Elastic IP.
    pub association: Option<AddressAssociationId>,
    /// Whether it is the first one.
    pub primary: bool,
}

/// A NAT gateway (semantics 78-88).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    /// Its id.
    pub id: NatGatewayId,
    /// Who owns it.
    pub owner: AccountId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its subnet, and so its zone (semantics 86).
    pub subnet: SubnetId,
    /// Public or private.
    pub connectivity: Connectivity,
    /// Where it stands.
    pub state: NatGatewayState,
    /// Its network interface; `None` once deleted.
    pub eni: Option<EniId>,
    /// Its addresses, at most 8 (semantics 80).
    pub addresses: Vec<NatGatewayAddress>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
    /// Why it failed: AWS's code and message.
    pub failure: Option<(String, String)>,
    /// The caller's idempotency token.
    pub client_token: Option<ClientToken>,
    /// Tags.
    pub tags: Tags,
}

/// Ports that a NAT gateway maps to: 1024 to 65535 (semantics 79).
pub const PORTS: atoll_net::PortRange = atoll_net::PortRange {
    from: 1024,
    to: 65535,
};
/// Simultaneous connections an address and destination (semantics 80).
pub const CONNECTIONS_PER_DESTINATION: usize = 55_000;
/// Idle time after which a mapping is gone, in seconds (semantics 81).
pub const IDLE_SECONDS: u32 = 350;
