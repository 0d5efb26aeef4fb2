//! Network ACLs: stateless, in order, at the edge of a subnet (semantics 22-34).

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

/// The compiled rules of an ACL, by direction and family. At most 40 rules each (semantics 33): a scan in order
/// is the fastest search there is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Acl {
    pub(crate) id: NetworkAclId,
    ingress: Sides,
    egress: Sides,
}

#[derive(Clone, Debug, PartialEq)]
struct Sides {
    v4: Box<[Rule<u32>]>,
    v6: Box<[Rule<u128>]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule<K> {
    first: K,
    last: K,
    number: u16,
    /// Protocol, or every one.
    protocol: Option<u8>,
    range: PortRange,
    allow: bool,
}

impl<K: Copy + Ord> Rule<K> {
    #[inline]
    fn matches(&self, addr: K, protocol: u8, key: Option<u16>) -> bool {
        self.first <= addr
            && addr <= self.last
            && self.protocol.is_none_or(|p| p == protocol)
            && match key {
                Some(key) => self.range.contains(key),
                None => self.range.is_all(),
            }
    }
}

/// An ACL's answer: whether it allows, and by which number; `None` is the final `*` (semantics 22).
pub(crate) type Judgement = (bool, Option<u16>);

fn first_match<K: Copy + Ord>(rules: &[Rule<K>], addr: K, protocol: u8, key: Option<u16>) -> Judgement {
    rules
        .iter()
        .find(|rule| rule.matches(addr, protocol, key))
        .map_or((false, None), |rule| (rule.allow, Some(rule.number)))
}

impl Sides {
    fn new<'a>(entries: impl Iterator<Item = (&'a u16, &'a AclEntry)>) -> Sides {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        // The map is in order of number: semantics 22.
        for (number, entry) in entries {
            let Some((protocol, range)) = range_of(entry.traffic) else {
                continue;
            };
            let allow = entry.action == RuleAction::Allow;
            let number = *number;
            // The block's family decides which packets the rule is about: semantics 27.
            match (entry.cidr.network(), entry.cidr.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push(Rule {
                    first: u32::from(first),
                    last: u32::from(last),
                    number,
                    protocol,
                    range,
                    allow,
                }),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push(Rule {
                    first: u128::from(first),
                    last: u128::from(last),
                    number,
                    protocol,
                    range,
                    allow,
                }),
                _ => {}
            }
        }
        Sides {
            v4: v4.into(),
            v6: v6.into(),
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
            let v4 = side.v4.iter().map(|rule| rule.range);
            let v6 = side.v6.iter().map(|rule| rule.range);
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
            IpAddr::V4(a) => first_match(&sides.v4, u32::from(a), protocol, key),
            IpAddr::V6(a) => first_match(&sides.v6, u128::from(a), protocol, key),
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
