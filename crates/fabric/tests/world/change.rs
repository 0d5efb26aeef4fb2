//! Changes of configuration while packets flow.

use atoll_model::network_interface::InterfaceType;
use atoll_model::*;
use atoll_net::Prefix;

use super::{Choices, World};

impl World {
    /// Changes something, as a command could.
    pub fn change(&mut self, choices: &mut Choices) {
        let vpcs: Vec<VpcId> = self.vpcs.keys().copied().collect();
        let Some(vpc) = choices.pick(&vpcs) else { return };
        match choices.below(14) {
            0 | 1 => self.revoke_rule(vpc, choices),
            2 => self.authorize_rule(vpc, choices),
            3 => self.remove_entry(vpc, choices),
            4 => self.add_entry(vpc, choices),
            5 | 6 => {
                let tables: Vec<RouteTableId> = self
                    .tables
                    .values()
                    .filter(|t| t.vpc == vpc)
                    .map(|t| t.id)
                    .collect();
                let Some(id) = choices.pick(&tables) else { return };
                let edge = self.tables.get(&id).is_some_and(|t| {
                    t.associations
                        .values()
                        .any(|a| matches!(a, atoll_model::route_table::AssociationTarget::InternetGateway(_)))
                });
                if choices.chance(40) {
                    self.delete_route(id, choices);
                } else if !edge {
                    self.lead_somewhere(id, choices);
                }
            }
            7 => self.move_gateway(vpc, choices),
            8 => self.stop_or_start(choices),
            9 => self.new_groups(vpc, choices),
            10 => {
                if let Some(eni) = self.some_eni(choices) {
                    eni.source_dest_check = !eni.source_dest_check;
                }
            }
            11 | 12 => self.move_public_address(choices),
            _ => self.delete_nat_gateway(choices),
        }
    }

    fn some_eni(&mut self, choices: &mut Choices) -> Option<&mut NetworkInterface> {
        let id = choices.pick(&self.instance_enis())?;
        self.enis.get_mut(&id)
    }

    fn groups_of(&self, vpc: VpcId) -> Vec<SecurityGroupId> {
        self.groups
            .values()
            .filter(|g| g.vpc == vpc)
            .map(|g| g.id)
            .collect()
    }

    fn revoke_rule(&mut self, vpc: VpcId, choices: &mut Choices) {
        let groups = self.groups_of(vpc);
        let Some(group) = choices.pick(&groups).and_then(|g| self.groups.get_mut(&g)) else {
            return;
        };
        let rules: Vec<SecurityGroupRuleId> = group.rules.keys().copied().collect();
        if let Some(rule) = choices.pick(&rules) {
            group.rules.remove(&rule);
        }
    }

    fn authorize_rule(&mut self, vpc: VpcId, choices: &mut Choices) {
        let rule = self.random_rule(vpc, choices);
        let (groups, id) = (self.groups_of(vpc), SecurityGroupRuleId::new(self.next_id()));
        if let Some(group) = choices.pick(&groups).and_then(|g| self.groups.get_mut(&g)) {
            group.rules.insert(id, rule);
        }
    }

    fn some_acl(&mut self, vpc: VpcId, choices: &mut Choices) -> Option<&mut NetworkAcl> {
        let acls: Vec<NetworkAclId> = self
            .acls
            .values()
            .filter(|a| a.vpc == vpc)
            .map(|a| a.id)
            .collect();
        let id = choices.pick(&acls)?;
        self.acls.get_mut(&id)
    }

    fn remove_entry(&mut self, vpc: VpcId, choices: &mut Choices) {
        let egress = choices.chance(50);
        let number = choices.below(3);
        if let Some(acl) = self.some_acl(vpc, choices) {
            let rules = if egress { &mut acl.egress } else { &mut acl.ingress };
            if let Some(number) = rules.keys().nth(number).copied() {
                rules.remove(&number);
            }
        }
    }

    fn add_entry(&mut self, vpc: VpcId, choices: &mut Choices) {
        let entry = self.random_entry(vpc, choices);
        let egress = choices.chance(50);
        let number = [50, 100, 105][choices.below(3)];
        if let Some(acl) = self.some_acl(vpc, choices) {
            let rules = if egress { &mut acl.egress } else { &mut acl.ingress };
            rules.insert(number, entry);
        }
    }

    fn delete_route(&mut self, id: RouteTableId, choices: &mut Choices) {
        let Some(table) = self.tables.get_mut(&id) else {
            return;
        };
        let by_hand = atoll_model::route_table::RouteOrigin::CreateRoute;
        let routes: Vec<Prefix> = table
            .routes
            .iter()
            .filter(|(_, r)| r.origin == by_hand)
            .map(|(p, _)| *p)
            .collect();
        if let Some(route) = choices.pick(&routes) {
            table.routes.remove(&route);
        }
    }

    /// Detaches the VPC's internet gateway and its edge table, or attaches a free one.
    fn move_gateway(&mut self, vpc: VpcId, choices: &mut Choices) {
        let attached = self.igws.values().find(|g| g.vpc == Some(vpc)).map(|g| g.id);
        let free: Vec<InternetGatewayId> = self
            .igws
            .values()
            .filter(|g| g.vpc.is_none())
            .map(|g| g.id)
            .collect();
        match attached {
            Some(id) => {
                let edge = atoll_model::route_table::AssociationTarget::InternetGateway(id);
                for table in self.tables.values_mut() {
                    table.associations.retain(|_, a| *a != edge);
                }
                if let Some(igw) = self.igws.get_mut(&id) {
                    igw.vpc = None;
                }
            }
            None => {
                if let Some(igw) = choices.pick(&free).and_then(|id| self.igws.get_mut(&id)) {
                    igw.vpc = Some(vpc);
                }
            }
        }
    }

    fn stop_or_start(&mut self, choices: &mut Choices) {
        let ids: Vec<InstanceId> = self.instances.keys().copied().collect();
        if let Some(instance) = choices.pick(&ids).and_then(|id| self.instances.get_mut(&id)) {
            instance.state = match instance.state {
                InstanceState::Running if choices.chance(40) => InstanceState::Stopped,
                _ => InstanceState::Running,
            };
        }
    }

    fn new_groups(&mut self, vpc: VpcId, choices: &mut Choices) {
        let groups = self.groups_of(vpc);
        let Some(group) = choices.pick(&groups) else {
            return;
        };
        if let Some(eni) = self.some_eni(choices)
            && eni.vpc == vpc
        {
            eni.groups = vec![group];
        }
    }

    /// Takes an interface's public address away, or gives it one.
    fn move_public_address(&mut self, choices: &mut Choices) {
        let elastic = choices.chance(70);
        let Some(mut eni) = self.some_eni(choices).cloned() else {
            return;
        };
        match eni.private_addresses.first_mut() {
            Some(address) if address.public.is_some() => {
                if let Some((allocation, _)) = address.public.take().and_then(|p| p.elastic)
                    && let Some(eip) = self.eips.get_mut(&allocation)
                {
                    eip.association = None;
                }
            }
            Some(_) => self.give_public(&mut eni, 0, elastic),
            None => return,
        }
        self.enis.insert(eni.id, eni);
    }

    fn delete_nat_gateway(&mut self, choices: &mut Choices) {
        let ids: Vec<NatGatewayId> = self.nats.keys().copied().collect();
        let Some(nat) = choices.pick(&ids).and_then(|id| self.nats.get_mut(&id)) else {
            return;
        };
        nat.state = NatGatewayState::Deleted;
        nat.deleted = Some(Timestamp(1));
        if let Some(eni) = nat.eni.take() {
            let gone = self.enis.remove(&eni);
            debug_assert!(gone.is_none_or(|e| e.interface_type == InterfaceType::NatGateway));
            for eip in self.eips.values_mut() {
                if eip.association.is_some_and(|a| a.eni == eni) {
                    eip.association = None;
                }
            }
        }
    }
}
