//! Finding interfaces by id and by private address.
//!
//! A walk looks up two interfaces among all of a region's, and waits for memory more than for anything else. So
//! the tables hold pointers, not keys: what a pointer leads to is needed next anyway, and tells its own key.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{EniId, VpcId};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::network_interface::Interface;

/// Interfaces by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct ById {
    table: HashTable<Arc<Interface>>,
    hasher: DefaultHashBuilder,
}

impl ById {
    #[inline]
    pub(crate) fn get(&self, id: EniId) -> Option<&Arc<Interface>> {
        self.table.find(self.hasher.hash_one(id), |i| i.id == id)
    }

    pub(crate) fn insert(&mut self, interface: Arc<Interface>) {
        let (id, hasher) = (interface.id, &self.hasher);
        let entry = self
            .table
            .entry(hasher.hash_one(id), |i| i.id == id, |i| hasher.hash_one(i.id));
        entry.insert(interface);
    }

    pub(crate) fn remove(&mut self, id: EniId) {
        if let Ok(entry) = self.table.find_entry(self.hasher.hash_one(id), |i| i.id == id) {
            entry.remove();
        }
    }
}

/// Interfaces by private address, each under every one of its own; with the hash it stands under.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByAddress {
    table: HashTable<(u64, Arc<Interface>)>,
    hasher: DefaultHashBuilder,
}

impl ByAddress {
    #[inline]
    pub(crate) fn get(&self, vpc: VpcId, addr: IpAddr) -> Option<&Arc<Interface>> {
        let hash = self.hasher.hash_one((vpc, addr));
        self.table
            .find(hash, |(h, i)| *h == hash && i.vpc == vpc && i.has(addr))
            .map(|(_, interface)| interface)
    }

    /// Puts an interface under an address of its own, in the place of whoever stood there.
    pub(crate) fn insert(&mut self, addr: IpAddr, interface: Arc<Interface>) {
        let vpc = interface.vpc;
        let hash = self.hasher.hash_one((vpc, addr));
        let entry = self.table.entry(
            hash,
            |(h, i)| *h == hash && i.vpc == vpc && i.has(addr),
            |(h, _)| *h,
        );
        entry.insert((hash, interface));
    }

    /// Takes an interface from under an address, if it is that one that stands there.
    pub(crate) fn remove(&mut self, vpc: VpcId, addr: IpAddr, id: EniId) {
        let hash = self.hasher.hash_one((vpc, addr));
        let entry = self
            .table
            .find_entry(hash, |(h, i)| *h == hash && i.id == id && i.has(addr));
        if let Ok(entry) = entry {
            entry.remove();
        }
    }
}
