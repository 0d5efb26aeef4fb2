//! Longest-prefix match.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::{Family, Prefix};

/// A table from prefixes to values that answers by the longest matching prefix (semantics 1), families apart.
///
/// Kept as one ordered map a length, longest first: route tables hold at most a few hundred routes of few
/// distinct lengths, so a lookup is a handful of tree probes and a change touches one map.
#[derive(Clone, Debug)]
pub struct LpmTable<V> {
    v4: Vec<(u8, BTreeMap<Prefix, V>)>,
    v6: Vec<(u8, BTreeMap<Prefix, V>)>,
}

impl<V> Default for LpmTable<V> {
    fn default() -> Self {
        LpmTable {
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }
}

impl<V> LpmTable<V> {
    fn side(&self, family: Family) -> &Vec<(u8, BTreeMap<Prefix, V>)> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn side_mut(&mut self, family: Family) -> &mut Vec<(u8, BTreeMap<Prefix, V>)> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Puts a value, returning what stood there.
    pub fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        let side = self.side_mut(prefix.family());
        let at = side.partition_point(|(len, _)| *len > prefix.length());
        if side.get(at).is_none_or(|(len, _)| *len != prefix.length()) {
            side.insert(at, (prefix.length(), BTreeMap::new()));
        }
        side[at].1.insert(prefix, value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, prefix: Prefix) -> Option<V> {
        let side = self.side_mut(prefix.family());
        let at = side.iter().position(|(len, _)| *len == prefix.length())?;
        let value = side[at].1.remove(&prefix);
        if side[at].1.is_empty() {
            side.remove(at);
        }
        value
    }

    /// The value of exactly this prefix.
    pub fn exact(&self, prefix: Prefix) -> Option<&V> {
        self.side(prefix.family())
            .iter()
            .find(|(len, _)| *len == prefix.length())?
            .1
            .get(&prefix)
    }

    /// The longest prefix that contains `addr`, with its value.
    pub fn lookup(&self, addr: IpAddr) -> Option<(Prefix, &V)> {
        self.matches(addr).next()
    }

    /// Every prefix that contains `addr`, longest first.
    pub fn matches(&self, addr: IpAddr) -> impl Iterator<Item = (Prefix, &V)> {
        self.side(Family::of(addr)).iter().filter_map(move |(len, map)| {
            map.get_key_value(&Prefix::containing(addr, *len))
                .map(|(p, v)| (*p, v))
        })
    }

    /// Every entry, longest prefixes first, IPv4 before IPv6.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &V)> {
        self.v4
            .iter()
            .chain(&self.v6)
            .flat_map(|(_, map)| map.iter().map(|(p, v)| (*p, v)))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.v4.iter().chain(&self.v6).map(|(_, map)| map.len()).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl<V> FromIterator<(Prefix, V)> for LpmTable<V> {
    fn from_iter<T: IntoIterator<Item = (Prefix, V)>>(entries: T) -> Self {
        let mut table = LpmTable::default();
        for (prefix, value) in entries {
            table.insert(prefix, value);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lookup_agrees_with_a_linear_scan(
            entries in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..60),
            removed in proptest::collection::vec(any::<proptest::sample::Index>(), 0..10),
            probes in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let mut list: Vec<Prefix> =
                entries.iter().map(|(a, l)| Prefix::containing(IpAddr::V4((*a).into()), *l)).collect();
            let mut table: LpmTable<Prefix> = list.iter().map(|p| (*p, *p)).collect();
            for index in removed {
                if !list.is_empty() {
                    let gone = list[index.index(list.len())];
                    list.retain(|p| *p != gone);
                    prop_assert_eq!(table.remove(gone), Some(gone));
                }
            }
            for probe in probes.into_iter().chain(entries.iter().map(|e| e.0)) {
                let addr = IpAddr::V4(probe.into());
                let best = list.iter().filter(|p| p.contains(addr)).max_by_key(|p| p.length()).copied();
                prop_assert_eq!(table.lookup(addr).map(|(p, _)| p), best);
            }
        }
    }
}
