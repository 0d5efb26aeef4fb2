//! Random network ACLs.

use atoll_model::*;
use atoll_net::Prefix;

use super::traffic::random_traffic;
use super::{Choices, World};
use crate::rows;

impl World {
    pub(super) fn add_acls(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let mut acls = vec![vpc.default_network_acl];
        for _ in 0..choices.below(2) {
            acls.push(NetworkAclId::new(self.next_id()));
        }
        for id in &acls {
            let mut acl = NetworkAcl {
                is_default: *id == vpc.default_network_acl,
                ..rows::network_acl(*id, vpc.id)
            };
            for rules in [&mut acl.ingress, &mut acl.egress] {
                for (number, cidr) in [(100, Prefix::ALL_V4), (101, Prefix::ALL_V6)] {
                    if !choices.chance(8) {
                        rules.insert(
                            number,
                            AclEntry {
                                action: RuleAction::Allow,
                                cidr,
                                traffic: Traffic::All,
                            },
                        );
                    }
                }
                for _ in 0..choices.below(4).saturating_sub(1) {
                    let number = [90, 95, 100, 110, 1, 32766][choices.below(6)];
                    rules.insert(number, self.random_entry(vpc.id, choices));
                }
            }
            self.acls.insert(*id, acl);
        }
        let subnets: Vec<SubnetId> = self.subnets_of(vpc.id);
        for subnet in subnets {
            let association = NetworkAclAssociationId::new(self.next_id());
            let acl = acls[choices.below(acls.len())];
            if let Some(acl) = self.acls.get_mut(&acl) {
                acl.associations.insert(association, subnet);
            }
        }
    }

    pub fn random_entry(&self, vpc: VpcId, choices: &mut Choices) -> AclEntry {
        AclEntry {
            action: [RuleAction::Deny, RuleAction::Allow][choices.below(2)],
            cidr: self.random_block(vpc, choices),
            traffic: random_traffic(choices),
        }
    }
}
