//! Elastic IPs: an allocated address is nobody else's, also while it stands for nothing.

use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{AllocationId, ElasticIp};

use crate::component::{Changed, Component};
use crate::fabric::Fabric;

impl Fabric {
    pub(crate) fn put_elastic_ip(&mut self, row: &Arc<ElasticIp>, changed: &mut Changed) {
        let public = IpAddr::V4(row.public);
        if self.allocations.insert(row.id, public) != Some(public) {
            self.elastic.insert(public, row.id);
            changed.add(Component::public(public));
        }
    }

    pub(crate) fn delete_elastic_ip(&mut self, id: AllocationId, changed: &mut Changed) {
        if let Some(public) = self.allocations.remove(&id) {
            if self.elastic.get(&public) == Some(&id) {
                self.elastic.remove(&public);
            }
            changed.add(Component::public(public));
        }
    }

    /// Whether an address is allocated; who has it now, an interface's row says.
    pub(crate) fn is_elastic(&self, addr: IpAddr) -> bool {
        self.elastic.contains_key(&addr)
    }
}
