//! Subnets: which table routes and which ACL filters (semantics 9, 26).

use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{NetworkAclId, RouteTableId, Subnet, SubnetId, VpcId};
use atoll_net::{Family, Mac, Prefix};

use crate::component::{Changed, Component};
use crate::fabric::Fabric;

/// A subnet with what it is associated with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubnetPart {
    pub(crate) id: SubnetId,
    pub(crate) vpc: VpcId,
    pub(crate) blocks: Box<[Prefix]>,
    pub(crate) router_mac: Mac,
    /// The addresses at which the router is asked for (semantics 54).
    pub(crate) routers: Box<[IpAddr]>,
    /// Its own table, else the VPC's main one (semantics 9).
    pub(crate) table: Option<RouteTableId>,
    /// Its ACL, else the VPC's default one (semantics 26).
    pub(crate) acl: Option<NetworkAclId>,
}

impl SubnetPart {
    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        self.blocks.iter().any(|b| b.contains(addr))
    }

    /// The router's routable address of a family: base + 1.
    pub(crate) fn router(&self, family: Family) -> Option<IpAddr> {
        self.blocks
            .iter()
            .find(|b| b.family() == family)
            .and_then(|b| b.nth(1))
    }
}

impl Fabric {
    pub(crate) fn put_subnet(&mut self, row: &Arc<Subnet>, changed: &mut Changed) {
        self.subnet_rows.insert(row.id, Arc::clone(row));
        self.vpc_subnets.entry(row.vpc).or_default().insert(row.id);
        self.resolve_subnet(row.id, changed);
    }

    pub(crate) fn delete_subnet(&mut self, id: SubnetId, changed: &mut Changed) {
        if let Some(row) = self.subnet_rows.remove(&id)
            && let Some(subnets) = self.vpc_subnets.get_mut(&row.vpc)
        {
            subnets.remove(&id);
            if subnets.is_empty() {
                self.vpc_subnets.remove(&row.vpc);
            }
        }
        self.resolve_subnet(id, changed);
    }

    /// Works out a subnet's part again from its row and what is associated with it.
    pub(crate) fn resolve_subnet(&mut self, id: SubnetId, changed: &mut Changed) {
        let part = self.subnet_rows.get(&id).map(|row| {
            let vpc = self.vpcs.get(&row.vpc);
            let routers = row
                .blocks()
                .filter_map(|b| b.nth(1))
                .chain([
                    IpAddr::V6(atoll_model::subnet::ROUTER_V6),
                    IpAddr::V6(row.router_link_local()),
                ])
                .collect();
            SubnetPart {
                id,
                vpc: row.vpc,
                blocks: row.blocks().collect(),
                router_mac: row.router_mac(),
                routers,
                table: self
                    .subnet_tables
                    .get(&id)
                    .or_else(|| self.main_tables.get(&row.vpc))
                    .copied()
                    .or_else(|| vpc.map(|v| v.main_table)),
                acl: self
                    .subnet_acls
                    .get(&id)
                    .copied()
                    .or_else(|| vpc.map(|v| v.default_acl)),
            }
        });
        if part.as_ref() != self.subnets.get(&id).map(|old| &**old) {
            changed.add(Component::subnet(id));
            match part {
                Some(part) => self.subnets.insert(id, Arc::new(part)),
                None => self.subnets.remove(&id),
            };
        }
    }

    pub(crate) fn resolve_subnets_of(&mut self, vpc: VpcId, changed: &mut Changed) {
        let subnets: Vec<SubnetId> = self
            .vpc_subnets
            .get(&vpc)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for subnet in subnets {
            self.resolve_subnet(subnet, changed);
        }
    }
}
