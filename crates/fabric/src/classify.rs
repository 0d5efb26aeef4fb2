//! The two searches that rules and routes are compiled to: nested prefixes, and protocols with ranges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use atoll_model::Traffic;
use atoll_net::{PortRange, Prefix};

/// No node: the address lies in no prefix.
const NONE: u32 = u32::MAX;

/// Finds the innermost of a set of prefixes that contains an address, and from there the ones around it.
///
/// Prefixes nest or are disjoint, so they cut the addresses into at most twice as many intervals as there are
/// prefixes: a lookup is one binary search.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PrefixIndex {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
    parents: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Intervals<K> {
    starts: Vec<K>,
    nodes: Vec<u32>,
}

impl<K: Copy + Ord> Intervals<K> {
    fn push(&mut self, start: K, node: u32) {
        if self.starts.last() == Some(&start) {
            self.nodes.pop();
        } else {
            self.starts.push(start);
        }
        self.nodes.push(node);
    }

    /// From ranges that nest or are disjoint, ordered by start, outer ones first; sets the parents on the way.
    fn build(
        ranges: impl Iterator<Item = (K, K, u32)>,
        next: impl Fn(K) -> Option<K>,
        parents: &mut [u32],
    ) -> Intervals<K> {
        let mut intervals = Intervals {
            starts: Vec::new(),
            nodes: Vec::new(),
        };
        let mut open: Vec<(K, u32)> = Vec::new();
        let close = |intervals: &mut Intervals<K>, open: &mut Vec<(K, u32)>| {
            if let Some((last, _)) = open.pop()
                && let Some(after) = next(last)
            {
                intervals.push(after, open.last().map_or(NONE, |(_, node)| *node));
            }
        };
        for (first, last, node) in ranges {
            while open.last().is_some_and(|(end, _)| *end < first) {
                close(&mut intervals, &mut open);
            }
            parents[node as usize] = open.last().map_or(NONE, |(_, outer)| *outer);
            intervals.push(first, node);
            open.push((last, node));
        }
        while !open.is_empty() {
            close(&mut intervals, &mut open);
        }
        intervals
    }

    #[inline]
    fn find(&self, key: K) -> u32 {
        let after = self.starts.partition_point(|start| *start <= key);
        match after.checked_sub(1) {
            Some(at) => self.nodes.get(at).copied().unwrap_or(NONE),
            None => NONE,
        }
    }
}

impl PrefixIndex {
    /// Over prefixes in order, each once; a prefix's node is its place in that order.
    pub(crate) fn new(prefixes: &[Prefix]) -> PrefixIndex {
        debug_assert!(prefixes.is_sorted() && prefixes.windows(2).all(|w| w[0] != w[1]));
        let mut parents = vec![NONE; prefixes.len()];
        let nodes = || prefixes.iter().zip(0u32..);
        let v4 = Intervals::build(
            nodes().filter_map(|(p, node)| match (p.network(), p.last()) {
                (IpAddr::V4(a), IpAddr::V4(b)) => Some((u32::from(a), u32::from(b), node)),
                _ => None,
            }),
            |last| last.checked_add(1),
            &mut parents,
        );
        let v6 = Intervals::build(
            nodes().filter_map(|(p, node)| match (p.network(), p.last()) {
                (IpAddr::V6(a), IpAddr::V6(b)) => Some((u128::from(a), u128::from(b), node)),
                _ => None,
            }),
            |last| last.checked_add(1),
            &mut parents,
        );
        PrefixIndex { v4, v6, parents }
    }

    /// The nodes of the prefixes that contain `addr`, longest first.
    #[inline]
    pub(crate) fn containing(&self, addr: IpAddr) -> impl Iterator<Item = usize> + '_ {
        let innermost = match addr {
            IpAddr::V4(a) => self.v4.find(u32::from(a)),
            IpAddr::V6(a) => self.v6.find(u128::from(a)),
        };
        let some = |node: u32| (node != NONE).then_some(node);
        std::iter::successors(some(innermost), move |node| {
            some(self.parents.get(*node as usize).copied().unwrap_or(NONE))
        })
        .map(|node| node as usize)
    }
}

/// The protocol and the 16-bit key (see [`crate::packet`]) a rule is about.
///
/// `None`: nothing at all (an ICMP code without a type: semantics 50).
pub(crate) fn range_of(traffic: Traffic) -> Option<(Option<u8>, PortRange)> {
    let icmp = |m: atoll_model::IcmpMatch| match (m.kind, m.code) {
        (None, None) => Some(PortRange::ALL),
        (None, Some(_)) => None,
        (Some(kind), code) => Some(PortRange {
            from: u16::from(kind) << 8 | u16::from(code.unwrap_or(0)),
            to: u16::from(kind) << 8 | u16::from(code.unwrap_or(0xff)),
        }),
    };
    let protocol = match traffic {
        Traffic::All => None,
        Traffic::Tcp { .. } => Some(6),
        Traffic::Udp { .. } => Some(17),
        Traffic::Icmp { .. } => Some(1),
        Traffic::Icmpv6 { .. } => Some(58),
        Traffic::Other { number } => Some(number),
    };
    let range = match traffic {
        Traffic::All | Traffic::Other { .. } => PortRange::ALL,
        Traffic::Tcp { ports } | Traffic::Udp { ports } => ports,
        Traffic::Icmp { icmp: m } | Traffic::Icmpv6 { icmp: m } => icmp(m)?,
    };
    Some((protocol, range))
}

/// Which rule of a union of rules matches a protocol and key: disjoint spans, one binary search.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrafficTable {
    /// The first rule about every protocol.
    any: Option<u16>,
    /// In order of (protocol, from).
    spans: Box<[Span]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    /// Protocol number, plus [`KEYLESS`] for packets without a key, and the first key, in one word to compare.
    start: u32,
    to: u16,
    rule: u16,
}

fn start(code: u16, from: u16) -> u32 {
    u32::from(code) << 16 | u32::from(from)
}

/// Added to the protocol of packets without ports: only rules about every port are about them.
const KEYLESS: u16 = 256;

impl TrafficTable {
    /// Of rules by number; where several match, the lowest number is found.
    pub(crate) fn new(rules: &[(Traffic, u16)]) -> TrafficTable {
        let mut any: Option<u16> = None;
        let mut ranges: Vec<(u16, PortRange, u16)> = Vec::new();
        for (traffic, rule) in rules {
            match range_of(*traffic) {
                None => {}
                Some((None, _)) => any = Some(any.map_or(*rule, |a| a.min(*rule))),
                Some((Some(protocol), range)) => {
                    ranges.push((u16::from(protocol), range, *rule));
                    if range.is_all() {
                        ranges.push((u16::from(protocol) + KEYLESS, range, *rule));
                    }
                }
            }
        }
        let mut spans = Vec::new();
        let codes: BTreeSet<u16> = ranges.iter().map(|(code, ..)| *code).collect();
        for code in codes {
            // (position, whether a range begins, rule); a range is over one past its end.
            let mut edges: Vec<(u32, bool, u16)> = Vec::new();
            for (_, range, rule) in ranges.iter().filter(|(c, ..)| *c == code) {
                edges.push((u32::from(range.from), true, *rule));
                edges.push((u32::from(range.to) + 1, false, *rule));
            }
            edges.sort_unstable();
            let mut active: Vec<u16> = Vec::new();
            let mut edges = edges.into_iter().peekable();
            while let Some((at, begins, rule)) = edges.next() {
                if begins {
                    active.push(rule);
                } else if let Some(i) = active.iter().position(|r| *r == rule) {
                    active.swap_remove(i);
                }
                let next = edges.peek().map_or(at, |(next, ..)| *next);
                if let (true, Some(rule)) = (next > at, active.iter().min()) {
                    spans.push(Span {
                        start: start(code, at as u16),
                        to: (next - 1) as u16,
                        rule: *rule,
                    });
                }
            }
        }
        spans.dedup_by(|next, last| {
            let joins = next.rule == last.rule
                && last
                    .to
                    .checked_add(1)
                    .map(|after| start((last.start >> 16) as u16, after))
                    == Some(next.start);
            if joins {
                last.to = next.to;
            }
            joins
        });
        TrafficTable {
            any,
            spans: spans.into(),
        }
    }

    /// The lowest rule that matches.
    #[inline]
    pub(crate) fn find(&self, protocol: u8, key: Option<u16>) -> Option<u16> {
        let code = u16::from(protocol) + if key.is_none() { KEYLESS } else { 0 };
        let key = key.unwrap_or(0);
        let after = self.spans.partition_point(|s| s.start <= start(code, key));
        let span = after
            .checked_sub(1)
            .and_then(|at| self.spans.get(at))
            .filter(|s| s.start >> 16 == u32::from(code) && key <= s.to)
            .map(|s| s.rule);
        match (self.any, span) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_model::IcmpMatch;
    use proptest::prelude::*;

    fn any_traffic() -> impl Strategy<Value = Traffic> {
        let ports = || {
            prop_oneof![
                Just(PortRange::ALL),
                (0u16..50, 0u16..50).prop_map(|(a, b)| PortRange {
                    from: a.min(b),
                    to: a.max(b)
                }),
                (65500u16..=65535).prop_map(|a| PortRange { from: a, to: 65535 }),
            ]
        };
        let icmp = || {
            (proptest::option::of(0u8..4), proptest::option::of(0u8..4))
                .prop_map(|(kind, code)| IcmpMatch { kind, code })
        };
        prop_oneof![
            1 => Just(Traffic::All),
            6 => ports().prop_map(|ports| Traffic::Tcp { ports }),
            3 => ports().prop_map(|ports| Traffic::Udp { ports }),
            3 => icmp().prop_map(|icmp| Traffic::Icmp { icmp }),
            1 => Just(Traffic::Other { number: 47 }),
        ]
    }

    fn matches(traffic: Traffic, protocol: u8, key: Option<u16>) -> bool {
        match (traffic, key) {
            (Traffic::All, _) => true,
            (t, _) if !t.protocol().matches(protocol) => false,
            (Traffic::Tcp { ports } | Traffic::Udp { ports }, Some(k)) => ports.contains(k),
            (Traffic::Tcp { ports } | Traffic::Udp { ports }, None) => ports.is_all(),
            (Traffic::Icmp { icmp } | Traffic::Icmpv6 { icmp }, Some(k)) => {
                icmp.matches((k >> 8) as u8, k as u8)
            }
            (Traffic::Icmp { icmp } | Traffic::Icmpv6 { icmp }, None) => icmp == IcmpMatch::ANY,
            (Traffic::Other { .. }, _) => true,
        }
    }

    proptest! {
        #[test]
        fn a_traffic_table_finds_what_a_scan_finds(
            rules in proptest::collection::vec(any_traffic(), 0..12),
            probes in proptest::collection::vec((0usize..4, proptest::option::of(prop_oneof![0u16..1030, 65490u16..=65535])), 30),
        ) {
            let numbered: Vec<(Traffic, u16)> = rules.iter().copied().zip(0..).collect();
            let table = TrafficTable::new(&numbered);
            for (protocol, key) in probes {
                let protocol = [6, 17, 1, 47][protocol];
                let key = if protocol == 47 { None } else { key };
                let scan = numbered.iter().find(|(t, _)| matches(*t, protocol, key)).map(|(_, rule)| *rule);
                prop_assert_eq!(table.find(protocol, key), scan);
            }
        }

        #[test]
        fn a_prefix_index_finds_what_a_scan_finds(
            entries in proptest::collection::vec((0u32..1 << 12, 20u8..=32, any::<bool>()), 0..40),
            probes in proptest::collection::vec(0u32..1 << 12, 30),
            all in any::<bool>(),
        ) {
            let addr = |bits: u32, v6: bool| if v6 {
                IpAddr::V6(u128::from(bits).into())
            } else {
                IpAddr::V4((bits << 20 | bits).into())
            };
            let mut prefixes: BTreeSet<Prefix> = entries.iter()
                .map(|(a, len, v6)| Prefix::containing(addr(*a, *v6), if *v6 { len + 96 } else { *len }))
                .collect();
            if all {
                prefixes.extend([Prefix::ALL_V4, Prefix::ALL_V6]);
            }
            let prefixes: Vec<Prefix> = prefixes.into_iter().collect();
            let index = PrefixIndex::new(&prefixes);
            for bits in probes.into_iter().chain(entries.iter().map(|e| e.0)) {
                for probe in [addr(bits, false), addr(bits, true), IpAddr::V4(u32::MAX.into())] {
                    let found: Vec<Prefix> = index.containing(probe).map(|node| prefixes[node]).collect();
                    let mut scan: Vec<Prefix> = prefixes.iter().copied().filter(|p| p.contains(probe)).collect();
                    scan.sort_by_key(|p| std::cmp::Reverse(p.length()));
                    prop_assert_eq!(found, scan);
                }
            }
        }
    }
}
