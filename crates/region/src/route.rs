//! Routes: what may lead where (semantics 1-13), what edge tables allow (semantics 14-19), and whether a route is
//! in effect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_model::network_interface::{AttachmentState, InterfaceType};
use atoll_model::route_table::{RouteOrigin, RouteTarget};
use atoll_model::{
    EgressOnlyGatewayId, EgressOnlyInternetGateway, EniId, Instance, InstanceId, InstanceState,
    InternetGateway, InternetGatewayId, Key, NatGateway, NatGatewayId, NatGatewayState, NetworkInterface,
    Route, RouteTable, RouteTableId, Subnet, Vpc, VpcId, quota,
};
use atoll_net::{Family, Prefix};

use crate::error::Error;
use crate::route_table::{self, LOCAL_ROUTE};
use crate::state::Region;
use crate::transaction::{Command, Transaction};

/// Whether a route is in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// Packets follow it.
    Active,
    /// Its target is not there: what it matches is dropped.
    Blackhole,
}

impl RouteState {
    /// As EC2 shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteState::Active => "active",
            RouteState::Blackhole => "blackhole",
        }
    }
}

/// Whether a route of a table of that VPC is in effect.
pub fn route_state(region: &Region, vpc: VpcId, route: &Route) -> RouteState {
    let active = match route.target {
        RouteTarget::Local => true,
        RouteTarget::InternetGateway(id) => region
            .get::<InternetGateway>(id)
            .is_some_and(|gateway| gateway.vpc == Some(vpc)),
        RouteTarget::EgressOnlyGateway(id) => region.get::<EgressOnlyInternetGateway>(id).is_some(),
        RouteTarget::NatGateway(id) => region
            .get::<NatGateway>(id)
            .is_some_and(|gateway| gateway.state == NatGatewayState::Available),
        RouteTarget::NetworkInterface(id) => region.get::<NetworkInterface>(id).is_some_and(|eni| {
            eni.attachment.as_ref().is_some_and(|attachment| {
                attachment.state == AttachmentState::Attached
                    && region
                        .get::<Instance>(attachment.instance)
                        .is_some_and(|instance| instance.state == InstanceState::Running)
            })
        }),
    };
    if active {
        RouteState::Active
    } else {
        RouteState::Blackhole
    }
}

/// Ranges of the services at every instance's side, to which no route leads (semantics 8).
fn reserved() -> [Prefix; 2] {
    [
        Prefix::containing(IpAddr::V4(Ipv4Addr::new(169, 254, 168, 0)), 22),
        Prefix::containing(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0)), 32),
    ]
}

/// Where a person may lead a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTarget {
    /// Back to the VPC itself: only a local route that was led elsewhere (semantics 6).
    Local,
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// An egress-only internet gateway.
    EgressOnlyGateway(EgressOnlyGatewayId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// A network interface.
    NetworkInterface(EniId),
    /// The only interface of an instance.
    Instance(InstanceId),
}

/// The block of the VPC which a destination is equal to or inside of.
fn local_block(vpc: &Vpc, destination: Prefix) -> Option<Prefix> {
    vpc.blocks().find(|block| block.covers(destination))
}

fn is_whole_subnet(region: &Region, vpc: VpcId, destination: Prefix) -> bool {
    region
        .dependants_of::<Subnet>(Key::Vpc(vpc))
        .any(|subnet| subnet.blocks().any(|block| block == destination))
}

/// Whether an edge table may hold the route (semantics 14, 15).
fn check_edge_route(
    region: &Region,
    vpc: &Vpc,
    destination: Prefix,
    target: RouteTarget,
) -> Result<(), Error> {
    if !matches!(target, RouteTarget::Local | RouteTarget::NetworkInterface(_)) {
        return Err(Error::invalid_value(
            "The target of a route in a route table that is associated with a gateway must be local or a network \
             interface.",
        ));
    }
    if !vpc.blocks().any(|block| block == destination) && !is_whole_subnet(region, vpc.id, destination) {
        return Err(Error::invalid_value(format!(
            "The destination CIDR block {destination} of a route in a route table that is associated with a gateway must \
             be equal to a CIDR block of the VPC or of one of its subnets."
        )));
    }
    Ok(())
}

/// Whether every route of a table may stand in an edge table.
pub(crate) fn check_edge_table(region: &Region, table: &RouteTable) -> Result<(), Error> {
    let Some(vpc) = region.get::<Vpc>(table.vpc) else {
        return Err(Error::internal("a route table has no VPC"));
    };
    table
        .routes
        .iter()
        .try_for_each(|(destination, route)| check_edge_route(region, vpc, *destination, route.target))
}

/// The target as stored: it exists, lies in the table's VPC and suits the destination's family.
fn resolve(
    tx: &Transaction,
    table: &RouteTable,
    destination: Prefix,
    target: NewTarget,
) -> Result<RouteTarget, Error> {
    let different = |what: &str, id: &dyn std::fmt::Display| {
        Error::invalid_value(format!(
            "route table {} and {what} {id} belong to different networks",
            table.id
        ))
    };
    match target {
        NewTarget::Local => {
            if tx
                .find::<Vpc>(table.vpc)?
                .blocks()
                .all(|block| block != destination)
            {
                return Err(Error::invalid_value(format!(
                    "The route {destination} cannot have the target local: it is not a CIDR block of the VPC."
                )));
            }
            Ok(RouteTarget::Local)
        }
        NewTarget::InternetGateway(id) => {
            let Ok(gateway) = tx.find::<InternetGateway>(id) else {
                // What CreateRoute says, unlike DescribeInternetGateways.
                return Err(Error::new(
                    "InvalidGatewayID.NotFound",
                    format!("The gateway ID '{id}' does not exist"),
                ));
            };
            if gateway.vpc != Some(table.vpc) {
                return Err(different("network gateway", &id));
            }
            Ok(RouteTarget::InternetGateway(id))
        }
        NewTarget::EgressOnlyGateway(id) => {
            let gateway = tx.find::<EgressOnlyInternetGateway>(id)?;
            if gateway.vpc != table.vpc {
                return Err(different("egress-only internet gateway", &id));
            }
            // semantics 75
            if destination.family() == Family::V4 {
                return Err(Error::invalid_value(format!(
                    "The destination CIDR block {destination} is IPv4; an egress-only internet gateway forwards IPv6 only."
                )));
            }
            Ok(RouteTarget::EgressOnlyGateway(id))
        }
        NewTarget::NatGateway(id) => {
            let gateway = tx.find::<NatGateway>(id).ok().filter(|gateway| {
                matches!(
                    gateway.state,
                    NatGatewayState::Pending | NatGatewayState::Available
                )
            });
            let Some(gateway) = gateway else {
                return Err(Error::new(
                    "InvalidNatGatewayID.NotFound",
                    format!("The natGateway ID '{id}' does not exist"),
                ));
            };
            if gateway.vpc != table.vpc {
                return Err(different("NAT gateway", &id));
            }
            if destination.family() == Family::V6 {
                return Err(Error::new(
                    "UnsupportedOperation",
                    format!(
                        "The destination CIDR block {destination} is IPv6; NAT64 (64:ff9b::/96) is not supported yet, so a \
                         route to a NAT gateway must be IPv4."
                    ),
                ));
            }
            Ok(RouteTarget::NatGateway(id))
        }
        NewTarget::NetworkInterface(id) => {
            let eni = tx.find::<NetworkInterface>(id)?;
            if eni.vpc != table.vpc {
                return Err(different("interface", &id));
            }
            if eni.interface_type == InterfaceType::NatGateway {
                return Err(Error::invalid_value(format!(
                    "The network interface {id} belongs to a NAT gateway; name the NAT gateway as the target instead."
                )));
            }
            Ok(RouteTarget::NetworkInterface(id))
        }
        NewTarget::Instance(id) => {
            let instance = tx.find::<Instance>(id)?;
            let enis = tx.region().enis_of(id);
            let [eni] = enis.as_slice() else {
                let message = if enis.is_empty() {
                    format!("There is no interface attached to instance '{id}'.")
                } else {
                    format!(
                        "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the \
                         operation instead."
                    )
                };
                return Err(Error::new("InvalidInstanceID", message));
            };
            if instance.vpc != table.vpc {
                return Err(different("instance", &id));
            }
            Ok(RouteTarget::NetworkInterface(eni.id))
        }
    }
}

/// What a target must be, beside existing, for the destination in this table.
fn check_place(
    region: &Region,
    table: &RouteTable,
    destination: Prefix,
    target: RouteTarget,
) -> Result<(), Error> {
    let Some(vpc) = region.get::<Vpc>(table.vpc) else {
        return Err(Error::internal("a route table has no VPC"));
    };
    // semantics 8
    if let Some(range) = reserved().iter().find(|r| r.covers(destination)) {
        return Err(Error::invalid_value(format!(
            "The destination CIDR block {destination} lies in {range}, which is reserved for use by AWS services."
        )));
    }
    if let Some(block) = local_block(vpc, destination)
        && target != RouteTarget::Local
    {
        let kind = matches!(
            target,
            RouteTarget::NetworkInterface(_) | RouteTarget::NatGateway(_)
        );
        // semantics 6, 7
        if !kind {
            return Err(Error::invalid_value(format!(
                "The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR blocks. \
                 This route can target only an interface or an instance."
            )));
        }
        if block != destination && !is_whole_subnet(region, vpc.id, destination) {
            return Err(Error::invalid_value(format!(
                "The destination CIDR block {destination} is more specific than the CIDR block {block} of the VPC, but \
                 is not the whole CIDR block of a subnet."
            )));
        }
    }
    if route_table::is_edge(table) {
        check_edge_route(region, vpc, destination, target)?;
    }
    Ok(())
}

/// CreateRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRoute {
    /// The table.
    pub table: RouteTableId,
    /// The destination.
    pub destination: Prefix,
    /// Where it leads.
    pub target: NewTarget,
}

impl Command for CreateRoute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let table = tx.find::<RouteTable>(self.table)?;
        if table.routes.contains_key(&self.destination) {
            return Err(Error::new(
                "RouteAlreadyExists",
                format!("The route identified by {} already exists.", self.destination),
            ));
        }
        let family = self.destination.family();
        let count = table
            .routes
            .iter()
            .filter(|(d, r)| d.family() == family && r.origin != RouteOrigin::CreateRouteTable)
            .count();
        if count >= quota::ROUTES_PER_TABLE {
            return Err(Error::new(
                "RouteLimitExceeded",
                "The maximum number of routes has been reached.",
            ));
        }
        let target = resolve(tx, &table, self.destination, self.target)?;
        check_place(tx.region(), &table, self.destination, target)?;
        tx.update::<RouteTable>(table.id, |table| {
            let origin = RouteOrigin::CreateRoute;
            table.routes.insert(self.destination, Route { target, origin });
        })
    }
}

/// ReplaceRoute: also of a local route, whose target may be an interface or a NAT gateway and `local` again
/// (semantics 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRoute {
    /// The table.
    pub table: RouteTableId,
    /// The destination of a route in it.
    pub destination: Prefix,
    /// Where it leads from now on.
    pub target: NewTarget,
}

impl Command for ReplaceRoute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let table = tx.find::<RouteTable>(self.table)?;
        let Some(old) = table.routes.get(&self.destination) else {
            return Err(Error::invalid_value(format!(
                "There is no route defined for '{}' in the route table. Use CreateRoute instead.",
                self.destination
            )));
        };
        let target = resolve(tx, &table, self.destination, self.target)?;
        check_place(tx.region(), &table, self.destination, target)?;
        let route = match target {
            RouteTarget::Local => LOCAL_ROUTE,
            target => Route {
                target,
                // A local route that was led elsewhere stays the VPC's own: it cannot be deleted.
                origin: old.origin,
            },
        };
        tx.update::<RouteTable>(table.id, |table| {
            table.routes.insert(self.destination, route);
        })
    }
}

/// DeleteRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRoute {
    /// The table.
    pub table: RouteTableId,
    /// The destination of a route in it.
    pub destination: Prefix,
}

impl Command for DeleteRoute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let table = tx.find::<RouteTable>(self.table)?;
        let Some(route) = table.routes.get(&self.destination) else {
            let parameter = match self.destination.family() {
                Family::V4 => "destination-cidr-block",
                Family::V6 => "destination-ipv6-cidr-block",
            };
            return Err(Error::new(
                "InvalidRoute.NotFound",
                format!(
                    "no route with {parameter} {} in route table {}",
                    self.destination, table.id
                ),
            ));
        };
        if route.origin == RouteOrigin::CreateRouteTable {
            return Err(Error::invalid_value(format!(
                "cannot remove local route {} in route table {}",
                self.destination, table.id
            )));
        }
        tx.update::<RouteTable>(table.id, |table| {
            table.routes.remove(&self.destination);
        })
    }
}
