//! Random VPCs, and with them a region.

use atoll_model::*;
use atoll_net::Prefix;

use super::{Choices, World, prefix};
use crate::rows;

impl World {
    /// A region of one to three VPCs.
    pub fn random(choices: &mut Choices) -> World {
        let mut world = World {
            last_id: 0x100,
            ..World::default()
        };
        for number in 0..1 + choices.below(3) {
            world.add_vpc(number, choices);
        }
        if choices.chance(10) {
            let id = InternetGatewayId::new(world.next_id());
            world.igws.insert(id, rows::internet_gateway(id, None));
        }
        world
    }

    fn add_vpc(&mut self, number: usize, choices: &mut Choices) {
        let id = VpcId::new(self.next_id());
        let mut blocks = vec![prefix(
            ["10.0.0.0/16", "10.0.0.0/16", "172.16.0.0/16"][choices.below(3)],
        )];
        if choices.chance(15) {
            // semantics 56: allowed beside any private block, and private at the internet gateway (68).
            blocks.push(prefix("100.64.0.0/16"));
        }
        let mut v6 = Vec::new();
        if !choices.chance(25) {
            v6.push(prefix(&format!("2001:db8:0:{:x}00::/56", number + 1)));
        }
        let mut associated = |blocks: &[Prefix]| -> Vec<CidrAssociation> {
            let associate = |block: &Prefix| rows::vpc_block(self.next_id(), *block);
            blocks.iter().map(associate).collect()
        };
        let (cidrs, ipv6_cidrs) = (associated(&blocks), associated(&v6));
        let main = RouteTableId::new(self.next_id());
        let acl = NetworkAclId::new(self.next_id());
        let group = SecurityGroupId::new(self.next_id());
        let vpc = Vpc {
            cidrs,
            ipv6_cidrs,
            ..rows::vpc(id, main, acl, group)
        };
        self.vpcs.insert(id, vpc.clone());
        self.add_groups(&vpc, choices);
        self.add_subnets(&vpc, choices);
        self.add_acls(&vpc, choices);
        if !choices.chance(12) {
            let igw = InternetGatewayId::new(self.next_id());
            self.igws.insert(igw, rows::internet_gateway(igw, Some(id)));
        }
        if !v6.is_empty() && choices.chance(60) {
            let eigw = EgressOnlyGatewayId::new(self.next_id());
            self.eigws.insert(eigw, rows::egress_only_gateway(eigw, id));
        }
        for _ in 0..2 + choices.below(3) {
            self.add_eni(&vpc, choices);
        }
        for _ in 0..choices.below(3) {
            self.add_nat_gateway(&vpc, choices);
        }
        self.add_tables(&vpc, choices);
    }
}
