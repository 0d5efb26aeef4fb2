//! Route tables: where packets that leave a subnet go.

use std::collections::BTreeMap;

use atoll_net::Prefix;
use serde::{Deserialize, Serialize};

use crate::id::{
    EgressOnlyGatewayId, EniId, InternetGatewayId, NatGatewayId, RouteTableAssociationId, RouteTableId,
    SubnetId, VpcId,
};
use crate::{AccountId, ClientToken, Tags};

/// Where a route leads.
///
/// A route to an instance is stored as the route to its primary interface, as EC2 does. Whether a route is
/// `active` or `blackhole` is not stored: it follows from the state of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum RouteTarget {
    /// The VPC itself.
    Local,
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// An egress-only internet gateway (IPv6 only).
    EgressOnlyGateway(EgressOnlyGatewayId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// A network interface.
    NetworkInterface(EniId),
}

text_enum! {
    /// How a route came to be; static before propagated (semantics 2).
    pub enum RouteOrigin {
        /// With the table: the local routes.
        CreateRouteTable = "CreateRouteTable",
        /// By hand.
        CreateRoute = "CreateRoute",
        /// By propagation from a virtual private gateway.
        EnableVgwRoutePropagation = "EnableVgwRoutePropagation",
    }
}

/// A route; its destination is its key in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub target: RouteTarget,
    /// How it came to be.
    pub origin: RouteOrigin,
}

/// What a route table is associated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum AssociationTarget {
    /// The main table of its VPC: every subnet without an association of its own (semantics 9).
    Main,
    /// A subnet.
    Subnet(SubnetId),
    /// An internet gateway: an edge table (semantics 14-19).
    InternetGateway(InternetGatewayId),
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its id.
    pub id: RouteTableId,
    /// Who owns it.
    pub owner: AccountId,
    /// The VPC it belongs to.
    pub vpc: VpcId,
    /// Routes by destination. Local routes, one a block of the VPC, are among them (semantics 6).
    pub routes: BTreeMap<Prefix, Route>,
    /// What it is associated with.
    pub associations: BTreeMap<RouteTableAssociationId, AssociationTarget>,
    /// The caller's idempotency token.
    #[serde(default)]
    pub client_token: Option<ClientToken>,
    /// Tags.
    pub tags: Tags,
}

impl RouteTable {
    /// Whether it is its VPC's main table.
    pub fn is_main(&self) -> bool {
        self.associations.values().any(|a| *a == AssociationTarget::Main)
    }

    /// The subnets associated by hand.
    pub fn subnets(&self) -> impl Iterator<Item = SubnetId> + '_ {
        self.associations.values().filter_map(|a| match a {
            AssociationTarget::Subnet(id) => Some(*id),
            AssociationTarget::Main | AssociationTarget::InternetGateway(_) => None,
        })
    }
}
