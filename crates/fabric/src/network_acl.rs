//! Network ACLs: stateless, in order, at the edge of a subnet (semantics 22-34).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{AclEntry, Direction, NetworkAcl, NetworkAclId, RuleAction, SubnetId};
use atoll_net::PortRange;

use crate::classify::range_of;
use crate::component::{Changed, Component};
use crate::fabric::Fabric;
use crate::flows::FlowView;
use crate::journey::{Halt, Journey};
use crate::packet::rule_key;
use crate::stage::Stage;
use crate::subnet::SubnetPart;
use crate::trace::{Decision, Place, Recorder, RuleRef};

/// The compiled rules of an ACL, by direction and family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Acl {
    pub(crate) id: NetworkAclId,
    ingress: Sides,
    egress: Sides,
}

#[derive(Clone, Debug, PartialEq)]
struct Sides {
    v4: Rules<u32>,
    v6: Rules<u128>,
}

/// At most 40 rules (semantics 33), in order, of which a packet is held only against those about its far address: the
/// rules' blocks cut the addresses into intervals, each of which has a list of its own.
#[derive(Clone, Debug, PartialEq)]
struct Rules<K> {
    /// Where each interval begins, the first one at zero; none without rules.
    starts: Box<[K]>,
    /// Where each interval's list ends in `lists`.
    ends: Box<[u32]>,
    lists: Box<[Rule]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    number: u16,
    range: PortRange,
    /// Protocol, or every one.
    protocol: Option<u8>,
    allow: bool,
}

impl Rule {
    #[inline]
    fn matches(&self, protocol: u8, key: Option<u16>) -> bool {
        self.protocol.is_none_or(|p| p == protocol)
            && match key {
                Some(key) => self.range.contains(key),
                None => self.range.is_all(),
            }
    }
}

impl<K: Copy + Ord> Rules<K> {
    /// Of rules in order, each with the first and the last address of its block.
    fn new(rules: &[(K, K, Rule)], zero: K, next: impl Fn(K) -> Option<K>) -> Rules<K> {
        let edges = rules
            .iter()
            .flat_map(|(first, last, _)| [Some(*first), next(*last)]);
        let edges: BTreeSet<K> = edges
            .flatten()
            .chain((!rules.is_empty()).then_some(zero))
            .collect();
        let (mut starts, mut ends, mut lists) = (Vec::new(), Vec::new(), Vec::new());
        for start in edges {
            let about = |(first, last, _): &&(K, K, Rule)| *first <= start && start <= *last;
            starts.push(start);
            lists.extend(rules.iter().filter(about).map(|(.., rule)| *rule));
            ends.push(u32::try_from(lists.len()).unwrap_or(u32::MAX));
        }
        Rules {
            starts: starts.into(),
            ends: ends.into(),
            lists: lists.into(),
        }
    }

    #[inline]
    fn first_match(&self, addr: K, protocol: u8, key: Option<u16>) -> Judgement {
        let interval = self.starts.partition_point(|start| *start <= addr).checked_sub(1);
        let list = interval.and_then(|at| {
            let begin = match at.checked_sub(1) {
                Some(before) => *self.ends.get(before)?,
                None => 0,
            };
            self.lists.get(begin as usize..*self.ends.get(at)? as usize)
        });
        list.and_then(|list| list.iter().find(|rule| rule.matches(protocol, key)))
            .map_or((false, None), |rule| (rule.allow, Some(rule.number)))
    }
}

/// An ACL's answer: whether it allows, and by which number; `None` is the final `*` (semantics 22).
pub(crate) type Judgement = (bool, Option<u16>);

impl Sides {
    fn new<'a>(entries: impl Iterator<Item = (&'a u16, &'a AclEntry)>) -> Sides {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        // The map is in order of number: semantics 22.
        for (number, entry) in entries {
            let Some((protocol, range)) = range_of(entry.traffic) else {
                continue;
            };
            let rule = Rule {
                number: *number,
                range,
                protocol,
                allow: entry.action == RuleAction::Allow,
            };
            // The block's family decides which packets the rule is about: semantics 27.
            match (entry.cidr.network(), entry.cidr.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((u32::from(first), u32::from(last), rule)),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((u128::from(first), u128::from(last), rule)),
                _ => {}
            }
        }
        Sides {
            v4: Rules::new(&v4, 0, |last| last.checked_add(1)),
            v6: Rules::new(&v6, 0, |last| last.checked_add(1)),
        }
    }
}

impl Acl {
    pub(crate) fn new(row: &NetworkAcl) -> Acl {
        Acl {
            id: row.id,
            ingress: Sides::new(row.ingress.iter()),
            egress: Sides::new(row.egress.iter()),
        }
    }

    /// The port ranges of all rules, both ways.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        [&self.ingress, &self.egress].into_iter().flat_map(|side| {
            let v4 = side.v4.lists.iter().map(|rule| rule.range);
            let v6 = side.v6.lists.iter().map(|rule| rule.range);
            v4.chain(v6).map(|range| (range.from, range.to))
        })
    }

    /// Judges a packet by its far address: source of ingress, destination of egress.
    #[inline]
    pub(crate) fn judge(
        &self,
        direction: Direction,
        far: IpAddr,
        protocol: u8,
        key: Option<u16>,
    ) -> Judgement {
        let sides = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        match far {
            IpAddr::V4(a) => sides.v4.first_match(u32::from(a), protocol, key),
            IpAddr::V6(a) => sides.v6.first_match(u128::from(a), protocol, key),
        }
    }
}

impl Fabric {
    pub(crate) fn put_network_acl(&mut self, row: &Arc<NetworkAcl>, changed: &mut Changed) {
        let acl = Acl::new(row);
        if self.acls.get(&row.id).is_none_or(|old| **old != acl) {
            self.acls.insert(row.id, Arc::new(acl));
            changed.add(Component::network_acl(row.id));
        }
        self.associate_acl(row.id, row.associations.values().copied().collect(), changed);
    }

    pub(crate) fn delete_network_acl(&mut self, id: NetworkAclId, changed: &mut Changed) {
        if self.acls.remove(&id).is_some() {
            changed.add(Component::network_acl(id));
        }
        self.associate_acl(id, Vec::new(), changed);
    }

    fn associate_acl(&mut self, id: NetworkAclId, subnets: Vec<SubnetId>, changed: &mut Changed) {
        let old = self.acl_subnets.insert(id, subnets.clone()).unwrap_or_default();
        if subnets.is_empty() {
            self.acl_subnets.remove(&id);
        }
        for subnet in &old {
            if !subnets.contains(subnet) && self.subnet_acls.get(subnet) == Some(&id) {
                self.subnet_acls.remove(subnet);
            }
        }
        for subnet in &subnets {
            self.subnet_acls.insert(*subnet, id);
        }
        for subnet in old.into_iter().chain(subnets) {
            self.resolve_subnet(subnet, changed);
        }
    }
}

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// At the edge of a subnet, the ACL decides by the packet alone (semantics 23, 24).
    #[inline]
    pub(crate) fn passes_acl(&mut self, subnet: &'a SubnetPart, direction: Direction) -> Result<(), Halt> {
        let (stage, far) = match direction {
            Direction::Ingress => (Stage::NaclIngress, self.packet.src),
            Direction::Egress => (Stage::NaclEgress, self.packet.dst),
        };
        let acl = subnet.acl.and_then(|id| {
            self.depends(Component::network_acl(id));
            self.fabric.acls.get(&id)
        });
        let Some(acl) = acl else {
            return Err(self.halt(stage, Place::Subnet(subnet.id), None));
        };
        let (allowed, number) = acl.judge(direction, far, self.packet.protocol, rule_key(&self.packet));
        let here = Place::NetworkAcl(acl.id, subnet.id, direction);
        let rule = Some(RuleRef::NetworkAcl {
            acl: acl.id,
            direction,
            number,
        });
        if !allowed {
            return Err(self.halt(stage, here, rule));
        }
        self.record(here, Decision::Allowed { tracked: false }, rule);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_rule_in_order_decides_wherever_the_blocks_lie(
            rules in proptest::collection::vec((0u8..=255, 0u8..=255, 0u8..3, 0u16..6, any::<bool>()), 0..12),
            probes in proptest::collection::vec((any::<u8>(), 0u8..3, proptest::option::of(0u16..6)), 40),
        ) {
            // semantics 22
            let rules: Vec<(u8, u8, Rule)> = (1u16..)
                .zip(rules)
                .map(|(number, (a, b, protocol, from, allow))| {
                    let range = if from == 0 { PortRange::ALL } else { PortRange { from, to: 5 } };
                    let protocol = (protocol > 0).then_some(protocol);
                    (a.min(b), a.max(b), Rule { number, range, protocol, allow })
                })
                .collect();
            let compiled = Rules::new(&rules, 0u8, |last| last.checked_add(1));
            for (addr, protocol, key) in probes {
                let scan = rules
                    .iter()
                    .find(|(first, last, rule)| (*first..=*last).contains(&addr) && rule.matches(protocol, key))
                    .map_or((false, None), |(.., rule)| (rule.allow, Some(rule.number)));
                prop_assert_eq!(compiled.first_match(addr, protocol, key), scan);
            }
        }
    }
}
