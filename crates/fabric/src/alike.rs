//! Which source ports of new connections no rule on their way tells apart.
//!
//! An answer for one connection then holds for the others: rules ask for port ranges, so between two neighbouring
//! limits of all the ranges that were consulted, both ways, every port gets the same answer. Beyond a NAT gateway the
//! connection has another port, which is asked for by itself.

use std::ops::RangeInclusive;

use crate::classify::range_of;
use crate::fabric::Fabric;
use crate::packet::L4;
use crate::trace::{Hop, Place};

impl Fabric {
    /// The ports around `port` that every component of these hops to which it came treats alike, whether as source or
    /// as destination. Which port a NAT gateway puts for another is not asked here. `None` where a component is gone.
    pub fn alike(&self, hops: &[Hop], port: u16) -> Option<RangeInclusive<u16>> {
        let (mut lowest, mut highest) = (0, u16::MAX);
        let mut cut = |from: u16, to: u16| {
            if port < from {
                highest = highest.min(from - 1);
            } else {
                lowest = lowest.max(from);
            }
            if port > to {
                lowest = lowest.max(to + 1);
            } else {
                highest = highest.min(to);
            }
        };
        let met = |hop: &&Hop| matches!(hop.l4, L4::Ports { src, dst, .. } if src == port || dst == port);
        for hop in hops.iter().filter(met) {
            match hop.place {
                Place::NetworkAcl(id, ..) => {
                    for (from, to) in self.acls.get(&id)?.ranges() {
                        cut(from, to);
                    }
                }
                Place::SecurityGroups(eni, _) => {
                    for group in &self.interface_rows.get(&eni)?.groups {
                        let Some(group) = self.group_rows.get(group) else {
                            continue;
                        };
                        for rule in group.rules.values() {
                            if let Some((_, range)) = range_of(rule.traffic) {
                                cut(range.from, range.to);
                            }
                        }
                    }
                }
                // They look at addresses alone.
                Place::Interface(_)
                | Place::Subnet(_)
                | Place::RouteTable(_)
                | Place::InternetGateway(_)
                | Place::EgressOnlyGateway(_)
                | Place::Internet
                // It tells connections apart, but treats all ports as one.
                | Place::NatGateway(_) => {}
            }
        }
        Some(lowest..=highest)
    }
}
