//! Random subnets.

use std::net::{IpAddr, Ipv4Addr};

use atoll_model::network_interface::PrivateAddress;
use atoll_model::*;
use atoll_net::{Family, Prefix};

use super::{Choices, World};
use crate::rows;

impl World {
    pub(super) fn add_subnets(&mut self, vpc: &Vpc, choices: &mut Choices) {
        for number in 0..1 + choices.below(3) {
            let id = SubnetId::new(self.next_id());
            let v4s: Vec<Prefix> = vpc.blocks().filter(|b| b.family() == Family::V4).collect();
            let v6 = vpc.blocks().find(|b| b.family() == Family::V6);
            let v6 = v6.filter(|_| !choices.chance(20));
            let v4 = v4s[choices.below(v4s.len())].subnet(24, number as u128);
            let v4 = v4.filter(|_| v6.is_none() || !choices.chance(8));
            let association = v6.and_then(|b| b.subnet(64, number as u128));
            let ipv6_cidrs = association
                .map(|block| rows::subnet_block(self.next_id(), block))
                .into_iter()
                .collect();
            let row = Subnet {
                cidr: v4,
                ipv6_cidrs,
                ..rows::subnet(id, vpc.id)
            };
            self.subnets.insert(id, row);
        }
    }

    pub(super) fn subnets_of(&self, vpc: VpcId) -> Vec<SubnetId> {
        self.subnets
            .values()
            .filter(|s| s.vpc == vpc)
            .map(|s| s.id)
            .collect()
    }

    pub(super) fn free_v4(&self, subnet: &Subnet, more: &[PrivateAddress]) -> Option<Ipv4Addr> {
        let taken = |addr: Ipv4Addr| {
            let enis = self.enis.values().filter(|e| e.vpc == subnet.vpc);
            more.iter().any(|a| a.ip == addr) || enis.into_iter().any(|e| e.has_address(IpAddr::V4(addr)))
        };
        (4..200).find_map(|i| match subnet.cidr?.nth(i)? {
            IpAddr::V4(addr) if !taken(addr) => Some(addr),
            _ => None,
        })
    }
}
