//! VPCs: whose addresses are whose (semantics 53-62).

use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{NetworkAclId, RouteTableId, Vpc, VpcId};
use atoll_net::Prefix;

use crate::component::{Changed, Component};
use crate::fabric::Fabric;

/// What of a VPC matters to packets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VpcPart {
    /// Blocks in effect (semantics 59).
    pub(crate) blocks: Box<[Prefix]>,
    pub(crate) main_table: RouteTableId,
    pub(crate) default_acl: NetworkAclId,
}

impl VpcPart {
    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        self.blocks.iter().any(|b| b.contains(addr))
    }
}

impl Fabric {
    pub(crate) fn put_vpc(&mut self, row: &Arc<Vpc>, changed: &mut Changed) {
        let part = VpcPart {
            blocks: row.blocks().collect(),
            main_table: row.main_route_table,
            default_acl: row.default_network_acl,
        };
        if self.vpcs.get(&row.id).is_none_or(|old| **old != part) {
            self.vpcs.insert(row.id, Arc::new(part));
            changed.add(Component::vpc(row.id));
            self.resolve_subnets_of(row.id, changed);
        }
    }

    pub(crate) fn delete_vpc(&mut self, id: VpcId, changed: &mut Changed) {
        if self.vpcs.remove(&id).is_some() {
            changed.add(Component::vpc(id));
            self.resolve_subnets_of(id, changed);
        }
    }
}
