//! Random route tables: odd ones too, but none that `region` would refuse.

use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::*;
use atoll_net::{Family, Prefix};

use super::{Choices, World, prefix};
use crate::rows;

impl World {
    /// A public main table, perhaps a private one, perhaps an edge table; with odd routes among them.
    pub(super) fn add_tables(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let subnets = self.subnets_of(vpc.id);
        let igw = self.igws.values().find(|g| g.vpc == Some(vpc.id)).map(|g| g.id);
        let eigw = self.eigws.values().find(|g| g.vpc == vpc.id).map(|g| g.id);
        let nats: Vec<NatGatewayId> = self
            .nats
            .values()
            .filter(|n| n.vpc == vpc.id)
            .map(|n| n.id)
            .collect();
        for number in 0..2 {
            let id = if number == 0 {
                vpc.main_route_table
            } else {
                RouteTableId::new(self.next_id())
            };
            let mut table = rows::route_table(id, vpc);
            let mut lead = |destination: Prefix, target: RouteTarget| {
                table.routes.insert(destination, rows::route(target));
            };
            if !choices.chance(10) {
                match (number, igw, choices.pick(&nats)) {
                    (1, _, Some(nat)) => lead(Prefix::ALL_V4, RouteTarget::NatGateway(nat)),
                    (_, Some(igw), _) => lead(Prefix::ALL_V4, RouteTarget::InternetGateway(igw)),
                    _ => {}
                }
                match (number, igw, eigw) {
                    (1, _, Some(eigw)) => lead(Prefix::ALL_V6, RouteTarget::EgressOnlyGateway(eigw)),
                    (_, Some(igw), _) => lead(Prefix::ALL_V6, RouteTarget::InternetGateway(igw)),
                    _ => {}
                }
            }
            self.tables.insert(id, table);
            for _ in 0..choices.below(5).saturating_sub(2) {
                self.lead_somewhere(id, choices);
            }
            let association = RouteTableAssociationId::new(self.next_id());
            let target = AssociationTarget::Main;
            if let Some(table) = self.tables.get_mut(&id)
                && number == 0
            {
                table.associations.insert(association, target);
            }
            for subnet in &subnets {
                let association = RouteTableAssociationId::new(self.next_id());
                let free = !self.tables.values().any(|t| t.subnets().any(|s| s == *subnet));
                if let Some(table) = self.tables.get_mut(&id)
                    && number == 1
                    && free
                    && choices.chance(45)
                {
                    table
                        .associations
                        .insert(association, AssociationTarget::Subnet(*subnet));
                }
            }
        }
        if let Some(igw) = igw
            && choices.chance(12)
        {
            let id = RouteTableId::new(self.next_id());
            let mut table = rows::route_table(id, vpc);
            let association = RouteTableAssociationId::new(self.next_id());
            table
                .associations
                .insert(association, AssociationTarget::InternetGateway(igw));
            // semantics 14, 15: to a whole subnet or the whole VPC, by an interface.
            let enis = self.enis_of(vpc.id);
            let blocks: Vec<Prefix> = subnets
                .iter()
                .filter_map(|s| self.subnets.get(s))
                .flat_map(Subnet::blocks)
                .chain(vpc.blocks())
                .collect();
            if let (Some(block), Some(eni)) = (choices.pick(&blocks), choices.pick(&enis)) {
                let local = vpc.blocks().any(|b| b == block);
                let origin = if local {
                    RouteOrigin::CreateRouteTable
                } else {
                    RouteOrigin::CreateRoute
                };
                let target = RouteTarget::NetworkInterface(eni);
                table.routes.insert(block, Route { target, origin });
            }
            self.tables.insert(id, table);
        }
    }

    /// Adds an odd but permitted route, or replaces one.
    pub fn lead_somewhere(&mut self, id: RouteTableId, choices: &mut Choices) {
        let Some(vpc) = self.tables.get(&id).and_then(|t| self.vpcs.get(&t.vpc)).cloned() else {
            return;
        };
        let mut destinations: Vec<Prefix> = vpc.blocks().collect();
        let subnets = self.subnets.values().filter(|s| s.vpc == vpc.id);
        destinations.extend(subnets.flat_map(Subnet::blocks));
        destinations.extend(
            [
                "0.0.0.0/0",
                "::/0",
                "203.0.113.0/24",
                "203.0.113.1/32",
                "198.51.100.0/24",
                "192.168.0.0/16",
                "2001:db8:ffff::/64",
            ]
            .map(prefix),
        );
        let destination = destinations[choices.below(destinations.len())];
        let local = vpc.blocks().any(|b| b == destination);
        let inside = vpc.blocks().any(|b| b.covers(destination));
        let v4 = destination.family() == Family::V4;
        let mut targets: Vec<RouteTarget> = Vec::new();
        targets.extend(
            self.enis_of(vpc.id)
                .into_iter()
                .map(RouteTarget::NetworkInterface),
        );
        if v4 {
            let nats = self.nats.values().filter(|n| n.vpc == vpc.id);
            targets.extend(nats.map(|n| RouteTarget::NatGateway(n.id)));
        }
        if !inside {
            let igws = self.igws.values().filter(|g| g.vpc == Some(vpc.id));
            targets.extend(igws.map(|g| RouteTarget::InternetGateway(g.id)));
            let eigws = self.eigws.values().filter(|g| g.vpc == vpc.id && !v4);
            targets.extend(eigws.map(|g| RouteTarget::EgressOnlyGateway(g.id)));
            // Targets that are gone: blackholes.
            targets.push(RouteTarget::InternetGateway(InternetGatewayId::new(8)));
            targets.push(RouteTarget::NetworkInterface(EniId::new(9)));
            if v4 {
                targets.push(RouteTarget::NatGateway(NatGatewayId::new(10)));
            } else {
                targets.push(RouteTarget::EgressOnlyGateway(EgressOnlyGatewayId::new(11)));
            }
        }
        if let (Some(target), Some(table)) = (choices.pick(&targets), self.tables.get_mut(&id)) {
            let origin = if local {
                RouteOrigin::CreateRouteTable
            } else {
                RouteOrigin::CreateRoute
            };
            table.routes.insert(destination, Route { target, origin });
        }
    }
}
