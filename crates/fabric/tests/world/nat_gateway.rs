//! Random NAT gateways.

use atoll_model::nat_gateway::Connectivity;
use atoll_model::*;

use super::{Choices, World};
use crate::rows;

impl World {
    pub fn add_nat_gateway(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let subnets = self.subnets_of(vpc.id);
        let Some(subnet) = self.subnets.get(&subnets[choices.below(subnets.len())]).cloned() else {
            return;
        };
        let Some(private) = self.free_v4(&subnet, &[]) else {
            return;
        };
        let (id, eni_id) = (NatGatewayId::new(self.next_id()), EniId::new(self.next_id()));
        let mut eni = rows::of_nat_gateway(NetworkInterface {
            private_addresses: vec![rows::private(private)],
            ..rows::network_interface(eni_id, vpc.id, subnet.id)
        });
        let public = !choices.chance(20);
        if public {
            self.give_public(&mut eni, 0, true);
        }
        let state = match choices.below(12) {
            11 => NatGatewayState::Pending,
            10 => NatGatewayState::Deleting,
            _ => NatGatewayState::Available,
        };
        let row = NatGateway {
            state,
            ..rows::nat_gateway(id, &eni)
        };
        // A public one whose address was taken is not made.
        if public == (row.connectivity == Connectivity::Public) {
            self.enis.insert(eni_id, eni);
            self.nats.insert(id, row);
        }
    }
}
