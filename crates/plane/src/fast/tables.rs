//! The program's tables: one for IPv4 and its like for IPv6, as one.

use std::os::fd::{AsFd, OwnedFd};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};

use super::FastError;
use super::layout::{Ask4, Ask6, Decision, Flow, Key4, Key6, Verdict};
use super::words::Either;
use crate::sys::bpf::delete_batch;

/// Kept answers.
pub(super) type Flows = Both<Key4, Key6, Flow>;
/// Decisions about new connections.
pub(super) type Decisions = Both<Ask4, Ask6, Decision>;
/// Drop verdicts.
pub(super) type Verdicts = Both<Key4, Key6, Verdict>;

/// Two tables that differ in their keys.
pub(super) struct Both<A, B, V> {
    v4: HashMap<MapData, A, V>,
    v6: HashMap<MapData, B, V>,
    /// The same, for what aya has no call for.
    descriptors: (OwnedFd, OwnedFd),
}

impl<A: Pod, B: Pod, V: Pod> Both<A, B, V> {
    pub(super) fn new(v4: Map, v6: Map) -> Result<Self, FastError> {
        let descriptors = (descriptor(&v4)?, descriptor(&v6)?);
        Ok(Both {
            v4: HashMap::try_from(v4)?,
            v6: HashMap::try_from(v6)?,
            descriptors,
        })
    }

    /// Another handle to the same ones.
    pub(super) fn again(&self) -> Result<Self, FastError> {
        let again = |table: &OwnedFd| of_descriptor(table.try_clone().map_err(FastError::Share)?);
        Both::new(again(&self.descriptors.0)?, again(&self.descriptors.1)?)
    }

    pub(super) fn get(&self, key: impl Into<Either<A, B>>) -> Option<V> {
        match key.into() {
            Either::V4(key) => self.v4.get(&key, 0).ok(),
            Either::V6(key) => self.v6.get(&key, 0).ok(),
        }
    }

    /// Puts or replaces; false when there is no room.
    pub(super) fn put(&mut self, key: impl Into<Either<A, B>>, value: V) -> bool {
        match key.into() {
            Either::V4(key) => self.v4.insert(key, value, 0).is_ok(),
            Either::V6(key) => self.v6.insert(key, value, 0).is_ok(),
        }
    }

    /// Removes what need not be there.
    pub(super) fn remove(&mut self, key: impl Into<Either<A, B>>) {
        let _ = match key.into() {
            Either::V4(key) => self.v4.remove(&key),
            Either::V6(key) => self.v6.remove(&key),
        };
    }

    /// The same of many.
    pub(super) fn remove_all<K: Into<Either<A, B>>>(&self, keys: impl Iterator<Item = K>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for key in keys {
            match key.into() {
                Either::V4(key) => v4.push(key),
                Either::V6(key) => v6.push(key),
            }
        }
        delete_batch(self.descriptors.0.as_fd(), &v4);
        delete_batch(self.descriptors.1.as_fd(), &v6);
    }

    /// Every key of IPv4, then of IPv6.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.v4.keys().count() + self.v6.keys().count()
    }
}

/// A table by its descriptor.
pub(super) fn of_descriptor(table: OwnedFd) -> Result<Map, FastError> {
    Ok(Map::HashMap(MapData::from_fd(table)?))
}

fn descriptor(map: &Map) -> Result<OwnedFd, FastError> {
    match map {
        Map::HashMap(map) | Map::LruHashMap(map) => {
            map.fd().as_fd().try_clone_to_owned().map_err(FastError::Share)
        }
        _ => Err(FastError::Missing("hash table where one is wanted")),
    }
}
