//! Random security groups.

use atoll_model::*;
use atoll_net::{PortRange, Prefix};

use super::traffic::random_traffic;
use super::{Choices, World};
use crate::rows;

impl World {
    pub(super) fn add_groups(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let mut ids = vec![vpc.default_security_group];
        for _ in 0..choices.below(3) {
            ids.push(SecurityGroupId::new(self.next_id()));
        }
        for (number, id) in ids.iter().enumerate() {
            let mut group = rows::security_group(*id, vpc.id);
            group.name = match number {
                0 => "default".to_owned(),
                number => format!("group-{number}"),
            };
            self.groups.insert(*id, group);
        }
        for id in ids {
            let mut rules = Vec::new();
            if !choices.chance(15) {
                for block in [Prefix::ALL_V4, Prefix::ALL_V6] {
                    rules.push(rows::rule(Direction::Egress, Traffic::All, Peer::Cidr { block }));
                }
            }
            if !choices.chance(40) {
                let itself = rows::group_peer(id);
                rules.push(rows::rule(Direction::Ingress, Traffic::All, itself));
            }
            for block in [Prefix::ALL_V4, Prefix::ALL_V6] {
                if !choices.chance(60) {
                    let ports = PortRange { from: 80, to: 443 };
                    rules.push(rows::rule(
                        Direction::Ingress,
                        Traffic::Tcp { ports },
                        Peer::Cidr { block },
                    ));
                }
            }
            for _ in 0..choices.below(3) {
                rules.push(self.random_rule(vpc.id, choices));
            }
            if choices.chance(6) {
                rules.clear();
            }
            for rule in rules {
                let number = SecurityGroupRuleId::new(self.next_id());
                if let Some(group) = self.groups.get_mut(&id) {
                    group.rules.insert(number, rule);
                }
            }
        }
    }

    pub fn random_rule(&self, vpc: VpcId, choices: &mut Choices) -> SecurityGroupRule {
        let direction = [Direction::Ingress, Direction::Egress][choices.below(2)];
        let mut groups: Vec<SecurityGroupId> = self
            .groups
            .values()
            .filter(|g| g.vpc == vpc)
            .map(|g| g.id)
            .collect();
        groups.push(SecurityGroupId::new(7)); // deleted long ago: stale (semantics 40)
        let peer = if choices.chance(40) {
            rows::group_peer(groups[choices.below(groups.len())])
        } else {
            Peer::Cidr {
                block: self.random_block(vpc, choices),
            }
        };
        rows::rule(direction, random_traffic(choices), peer)
    }
}
