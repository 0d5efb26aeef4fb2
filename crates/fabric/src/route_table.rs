//! Route tables: longest prefix first (semantics 1-13), and the edge tables of gateways (semantics 14-19).

use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::{
    Direction, EniId, InternetGatewayId, Route, RouteTable, RouteTableId, RouteTarget, SubnetId, VpcId,
};
use atoll_net::Prefix;

use crate::classify::PrefixIndex;
use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::FlowView;
use crate::journey::{Destination, Halt, Journey, Leg};
use crate::stage::Stage;
use crate::subnet::SubnetPart;
use crate::trace::{Decision, Place, Recorder, RuleRef};

/// The compiled routes of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) id: RouteTableId,
    index: PrefixIndex,
    routes: Box<[(Prefix, RouteTarget)]>,
}

impl Table {
    pub(crate) fn new(row: &RouteTable) -> Table {
        let hidden = |prefix: &Prefix, route: &Route| {
            // semantics 3: what is propagated into the VPC's own blocks never beats the local route
            route.origin == RouteOrigin::EnableVgwRoutePropagation
                && row
                    .routes
                    .iter()
                    .any(|(local, r)| r.target == RouteTarget::Local && local.covers(*prefix))
        };
        let routes: Box<[(Prefix, RouteTarget)]> = row
            .routes
            .iter()
            .filter(|(prefix, route)| !hidden(prefix, route))
            .map(|(prefix, route)| (*prefix, route.target))
            .collect();
        let prefixes: Vec<Prefix> = routes.iter().map(|(prefix, _)| *prefix).collect();
        Table {
            id: row.id,
            index: PrefixIndex::new(&prefixes),
            routes,
        }
    }

    /// The route with the longest prefix that contains `dst` (semantics 1).
    #[inline]
    pub(crate) fn lookup(&self, dst: IpAddr) -> Option<(Prefix, RouteTarget)> {
        self.index
            .containing(dst)
            .next()
            .and_then(|node| self.routes.get(node))
            .copied()
    }
}

/// What a table is associated with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Associations {
    main_of: Option<VpcId>,
    subnets: Vec<SubnetId>,
    gateways: Vec<InternetGatewayId>,
}

impl Fabric {
    pub(crate) fn put_route_table(&mut self, row: &Arc<RouteTable>, changed: &mut Changed) {
        let table = Table::new(row);
        if self.tables.get(&row.id).is_none_or(|old| **old != table) {
            self.tables.insert(row.id, Arc::new(table));
            changed.add(Component::route_table(row.id));
        }
        let gateways = row.associations.values().filter_map(|a| match a {
            AssociationTarget::InternetGateway(id) => Some(*id),
            AssociationTarget::Main | AssociationTarget::Subnet(_) => None,
        });
        let associations = Associations {
            main_of: row.is_main().then_some(row.vpc),
            subnets: row.subnets().collect(),
            gateways: gateways.collect(),
        };
        self.associate_table(row.id, associations, changed);
    }

    pub(crate) fn delete_route_table(&mut self, id: RouteTableId, changed: &mut Changed) {
        if self.tables.remove(&id).is_some() {
            changed.add(Component::route_table(id));
        }
        self.associate_table(id, Associations::default(), changed);
        self.associations.remove(&id);
    }

    fn associate_table(&mut self, id: RouteTableId, new: Associations, changed: &mut Changed) {
        let old = self.associations.insert(id, new.clone()).unwrap_or_default();
        // One delta may move an association from one table to another, in either order: only what is still this
        // table's is taken away.
        for subnet in &old.subnets {
            if self.subnet_tables.get(subnet) == Some(&id) {
                self.subnet_tables.remove(subnet);
            }
        }
        for gateway in &old.gateways {
            if self.edge_tables.get(gateway) == Some(&id) {
                self.edge_tables.remove(gateway);
            }
        }
        if let Some(vpc) = old.main_of
            && self.main_tables.get(&vpc) == Some(&id)
        {
            self.main_tables.remove(&vpc);
        }
        for subnet in &new.subnets {
            self.subnet_tables.insert(*subnet, id);
        }
        for gateway in &new.gateways {
            self.edge_tables.insert(*gateway, id);
        }
        if let Some(vpc) = new.main_of {
            self.main_tables.insert(vpc, id);
        }
        for subnet in old.subnets.iter().chain(&new.subnets) {
            self.resolve_subnet(*subnet, changed);
        }
        let moved = |a: &[InternetGatewayId], b: &[InternetGatewayId]| -> Vec<InternetGatewayId> {
            a.iter().filter(|g| !b.contains(g)).copied().collect()
        };
        for gateway in moved(&old.gateways, &new.gateways)
            .into_iter()
            .chain(moved(&new.gateways, &old.gateways))
        {
            changed.add(Component::internet_gateway(gateway));
        }
        if old.main_of != new.main_of {
            for vpc in old.main_of.into_iter().chain(new.main_of) {
                self.resolve_subnets_of(vpc, changed);
            }
        }
    }
}

/// Where a subnet's router sends a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextHop {
    place: Place,
    rule: Option<RuleRef>,
    way: Result<(RouteTarget, Destination), Stage>,
    /// Whether it stays in the subnet, whose ACL then has no say (semantics 23).
    within: bool,
}

impl NextHop {
    /// Whether it leads through a gateway whose flows are always tracked (semantics 45).
    pub(crate) fn is_tracked(&self) -> bool {
        matches!(
            self.way,
            Ok((_, Destination::NatGateway(_) | Destination::EgressOnlyGateway(_)))
        )
    }
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// Looks up where the packet goes from a subnet; says nothing to the trace yet.
    pub(crate) fn next_hop(&mut self, subnet: &'a SubnetPart, vpc: VpcId) -> NextHop {
        let dst = self.packet.dst;
        let mut next = NextHop {
            place: Place::Subnet(subnet.id),
            rule: None,
            way: Err(Stage::NoRoute),
            within: false,
        };
        let Some(table) = subnet.table else {
            return next;
        };
        next.place = Place::RouteTable(table);
        self.depends(Component::route_table(table));
        let found = self.fabric.tables.get(&table).and_then(|t| t.lookup(dst));
        let Some((destination, target)) = found else {
            return next;
        };
        next.rule = Some(RuleRef::Route { table, destination });
        let (to, within) = match target {
            RouteTarget::Local => match self.owner_of(vpc, dst) {
                Some(owner) => (Ok(Destination::Interface(owner.id)), owner.subnet == subnet.id),
                None => (Err(Stage::NoSuchAddress), subnet.contains(dst)),
            },
            RouteTarget::NetworkInterface(eni) => {
                match self.interface(eni).filter(|i| i.running && i.vpc == vpc) {
                    Some(interface) => (Ok(Destination::Interface(eni)), interface.subnet == subnet.id),
                    None => (Err(Stage::BlackholeRoute), false),
                }
            }
            RouteTarget::NatGateway(id) => {
                self.depends(Component::nat_gateway(id));
                match self.fabric.nat_gateways.get(&id).filter(|nat| nat.vpc == vpc) {
                    Some(nat) => (Ok(Destination::NatGateway(id)), nat.subnet == subnet.id),
                    None => (Err(Stage::BlackholeRoute), false),
                }
            }
            RouteTarget::InternetGateway(id) => {
                self.depends(Component::internet_gateway(id));
                if self.fabric.gateway_vpcs.get(&id) == Some(&vpc) {
                    (Ok(Destination::InternetGateway(id)), false)
                } else {
                    (Err(Stage::BlackholeRoute), false)
                }
            }
            RouteTarget::EgressOnlyGateway(id) => {
                self.depends(Component::egress_only_gateway(id));
                if dst.is_ipv6() && self.fabric.egress_only.get(&id).is_some_and(|g| g.vpc == vpc) {
                    (Ok(Destination::EgressOnlyGateway(id)), false)
                } else {
                    (Err(Stage::BlackholeRoute), false)
                }
            }
        };
        next.way = to.map(|to| (target, to));
        next.within = within;
        next
    }

    /// Leaves a subnet by its router: the ACL first, if it leaves at all, then the route.
    pub(crate) fn depart(
        &mut self,
        subnet: &'a SubnetPart,
        sender: EniId,
        next: NextHop,
    ) -> Result<Leg, Halt> {
        if !next.within {
            self.passes_acl(subnet, Direction::Egress)?;
        }
        match next.way {
            Err(stage) => Err(self.halt(stage, next.place, next.rule)),
            Ok((target, to)) => {
                self.record(next.place, Decision::Routed(target), next.rule);
                Ok(Leg {
                    from: Some(subnet.id),
                    sender: Some(sender),
                    to,
                    on_link: false,
                })
            }
        }
    }
}
