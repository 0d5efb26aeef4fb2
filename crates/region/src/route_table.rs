//! Route tables: made, associated with subnets and internet gateways, the main one replaced, deleted. The routes
//! in them are in [`crate::route`].

use std::sync::Arc;

use atoll_model::route_table::{AssociationTarget, RouteOrigin, RouteTarget};
use atoll_model::{
    InternetGateway, InternetGatewayId, Key, Route, RouteTable, RouteTableAssociationId, RouteTableId, Row,
    Subnet, SubnetId, Tags, Vpc, VpcId, quota,
};

use crate::error::Error;
use crate::idempotency::{self, Repeated, look_up};
use crate::route;
use crate::state::Region;
use crate::tag;
use crate::transaction::{Command, Transaction};

/// The route of a VPC's own block (semantics 6).
pub(crate) const LOCAL_ROUTE: Route = Route {
    target: RouteTarget::Local,
    origin: RouteOrigin::CreateRouteTable,
};

/// The route tables of a VPC, in id order.
pub fn of_vpc(region: &Region, vpc: VpcId) -> impl Iterator<Item = Arc<RouteTable>> + '_ {
    region.dependants_of::<RouteTable>(Key::Vpc(vpc))
}

/// The table that a subnet uses: the one it is associated with, else the main one (semantics 9).
pub fn of_subnet(region: &Region, subnet: &Subnet) -> Option<Arc<RouteTable>> {
    explicit_of_subnet(region, subnet.id).or_else(|| {
        let main = region.get::<Vpc>(subnet.vpc)?.main_route_table;
        region.get::<RouteTable>(main).cloned()
    })
}

/// The table that a subnet is associated with by hand.
pub fn explicit_of_subnet(region: &Region, subnet: SubnetId) -> Option<Arc<RouteTable>> {
    region.dependants_of::<RouteTable>(Key::Subnet(subnet)).next()
}

/// The edge table of an internet gateway (semantics 14-19).
pub fn of_internet_gateway(region: &Region, gateway: InternetGatewayId) -> Option<Arc<RouteTable>> {
    let edge = AssociationTarget::InternetGateway(gateway);
    // Tables that only hold a route to the gateway depend on it, too.
    region
        .dependants_of::<RouteTable>(Key::InternetGateway(gateway))
        .find(|table| table.associations.values().any(|target| *target == edge))
}

/// Whether a table is associated with a gateway, so that the rules of edge tables hold for it (semantics 14, 15).
pub fn is_edge(table: &RouteTable) -> bool {
    table
        .associations
        .values()
        .any(|target| matches!(target, AssociationTarget::InternetGateway(_)))
}

/// CreateRouteTable: with the local routes of its VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRouteTable {
    /// The VPC.
    pub vpc: VpcId,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Command for CreateRouteTable {
    type Reply = RouteTableId;

    fn apply(self, tx: &mut Transaction) -> Result<RouteTableId, Error> {
        tag::allowed(&self.tags)?;
        let request = (self.vpc, &self.tags);
        let token = self.client_token.as_deref();
        let client_token = match look_up(tx, token, &request, |row| match row {
            Row::RouteTable(table) => table.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Untokened => None,
            Repeated::New(token) => Some(token),
            Repeated::Before(keys) => return idempotency::made::<RouteTable>(tx, &keys),
        };
        let vpc = tx.find::<Vpc>(self.vpc)?;
        if of_vpc(tx.region(), vpc.id).count() >= quota::ROUTE_TABLES_PER_VPC {
            return Err(Error::new(
                "RouteTableLimitExceeded",
                "The maximum number of route tables has been reached.",
            ));
        }
        let id = tx.fresh_id::<RouteTable>();
        tx.put(RouteTable {
            id,
            owner: tx.account(),
            vpc: vpc.id,
            routes: vpc.blocks().map(|block| (block, LOCAL_ROUTE)).collect(),
            associations: Default::default(),
            client_token,
            tags: self.tags,
        });
        Ok(id)
    }
}

/// DeleteRouteTable: neither the main one nor one that is associated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRouteTable {
    /// The table.
    pub table: RouteTableId,
}

impl Command for DeleteRouteTable {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let table = tx.find::<RouteTable>(self.table)?;
        if !table.associations.is_empty() {
            return Err(Error::dependency(format!(
                "The routeTable '{}' has dependencies and cannot be deleted.",
                table.id
            )));
        }
        tx.delete(Key::RouteTable(table.id));
        Ok(())
    }
}

/// What a person may associate a table with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewAssociation {
    /// A subnet.
    Subnet(SubnetId),
    /// An internet gateway: the table becomes an edge table.
    InternetGateway(InternetGatewayId),
}

/// AssociateRouteTable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateRouteTable {
    /// The table.
    pub table: RouteTableId,
    /// With what.
    pub target: NewAssociation,
}

impl Command for AssociateRouteTable {
    type Reply = RouteTableAssociationId;

    fn apply(self, tx: &mut Transaction) -> Result<RouteTableAssociationId, Error> {
        let table = tx.find::<RouteTable>(self.table)?;
        let (target, taken) = match self.target {
            NewAssociation::Subnet(id) => {
                let subnet = tx.find::<Subnet>(id)?;
                if subnet.vpc != table.vpc {
                    return Err(Error::invalid_value(format!(
                        "route table {} and subnet {id} belong to different networks",
                        table.id
                    )));
                }
                let taken = explicit_of_subnet(tx.region(), id).is_some();
                (AssociationTarget::Subnet(id), taken)
            }
            NewAssociation::InternetGateway(id) => {
                let gateway = tx.find::<InternetGateway>(id)?;
                if gateway.vpc != Some(table.vpc) {
                    return Err(Error::invalid_value(format!(
                        "route table {} and network gateway {id} belong to different networks",
                        table.id
                    )));
                }
                route::check_edge_table(tx.region(), &table)?;
                let taken = of_internet_gateway(tx.region(), id).is_some();
                (AssociationTarget::InternetGateway(id), taken)
            }
        };
        if taken {
            return Err(Error::new(
                "Resource.AlreadyAssociated",
                format!(
                    "the specified association for route table {} conflicts with an existing association",
                    table.id
                ),
            ));
        }
        let id = tx.fresh();
        tx.update::<RouteTable>(table.id, |table| {
            table.associations.insert(id, target);
        })?;
        Ok(id)
    }
}

/// The table that holds an association of the caller's, and what with.
fn find_association(
    tx: &Transaction,
    id: RouteTableAssociationId,
) -> Result<(Arc<RouteTable>, AssociationTarget), Error> {
    tx.region()
        .list::<RouteTable>(tx.account())
        .find_map(|table| Some((table.clone(), *table.associations.get(&id)?)))
        .ok_or_else(|| {
            Error::new(
                "InvalidAssociationID.NotFound",
                format!("The association ID '{id}' does not exist"),
            )
        })
}

/// DisassociateRouteTable: the subnet falls back to the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateRouteTable {
    /// The association.
    pub association: RouteTableAssociationId,
}

impl Command for DisassociateRouteTable {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let (table, target) = find_association(tx, self.association)?;
        if target == AssociationTarget::Main {
            return Err(Error::invalid_value(format!(
                "cannot disassociate the main route table association {}",
                self.association
            )));
        }
        tx.update::<RouteTable>(table.id, |table| {
            table.associations.remove(&self.association);
        })
    }
}

/// ReplaceRouteTableAssociation: also of the main table, which moves every implicit subnet (semantics 9). The
/// association gets a new id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRouteTableAssociation {
    /// The association that is replaced.
    pub association: RouteTableAssociationId,
    /// The table that takes its place.
    pub table: RouteTableId,
}

impl Command for ReplaceRouteTableAssociation {
    type Reply = (RouteTableAssociationId, AssociationTarget);

    fn apply(self, tx: &mut Transaction) -> Result<Self::Reply, Error> {
        let (old, target) = find_association(tx, self.association)?;
        let new = tx.find::<RouteTable>(self.table)?;
        if new.vpc != old.vpc {
            return Err(Error::invalid_value(format!(
                "route table {} and route table {} belong to different networks",
                new.id, old.id
            )));
        }
        if matches!(target, AssociationTarget::InternetGateway(_)) {
            route::check_edge_table(tx.region(), &new)?;
        }
        let id = tx.fresh();
        tx.update::<RouteTable>(old.id, |table| {
            table.associations.remove(&self.association);
        })?;
        tx.update::<RouteTable>(new.id, |table| {
            table.associations.insert(id, target);
        })?;
        if target == AssociationTarget::Main {
            tx.update::<Vpc>(new.vpc, |vpc| vpc.main_route_table = new.id)?;
        }
        Ok((id, target))
    }
}
