//! Random interfaces, their instances and their public addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_model::network_interface::{Attachment, ConnectionTracking, PublicAddress};
use atoll_model::*;

use super::{Choices, World};
use crate::rows;

impl World {
    pub(super) fn add_eni(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let subnets = self.subnets_of(vpc.id);
        let Some(subnet) = self.subnets.get(&subnets[choices.below(subnets.len())]).cloned() else {
            return;
        };
        let id = EniId::new(self.next_id());
        let count = 1 + usize::from(choices.chance(30));
        let mut private_addresses = Vec::new();
        for _ in 0..count {
            if let Some(ip) = self.free_v4(&subnet, &private_addresses) {
                private_addresses.push(rows::private(ip));
            }
        }
        let ipv6_addresses: Vec<Ipv6Addr> = match subnet
            .ipv6_cidr()
            .and_then(|b| b.nth(0x1_0000 + u128::from(self.last_id)))
        {
            Some(IpAddr::V6(addr)) if private_addresses.is_empty() || !choices.chance(20) => vec![addr],
            _ => Vec::new(),
        };
        let mut groups: Vec<SecurityGroupId> = self
            .groups
            .values()
            .filter(|g| g.vpc == vpc.id)
            .map(|g| g.id)
            .collect();
        let first = choices.below(groups.len());
        groups.rotate_left(first);
        groups.truncate(1 + choices.below(2));
        let mut tracking = ConnectionTracking::default();
        if choices.chance(15) {
            tracking.tcp_established = Some(60);
            tracking.udp_stream = Some(60);
            tracking.udp_timeout = Some(60);
        }
        let mut eni = NetworkInterface {
            private_addresses,
            ipv6_addresses,
            groups,
            source_dest_check: !choices.chance(20),
            connection_tracking: tracking,
            ..rows::network_interface(id, vpc.id, subnet.id)
        };
        for i in 0..eni.private_addresses.len() {
            if !choices.chance(35) {
                let elastic = !choices.chance(30);
                self.give_public(&mut eni, i, elastic);
            }
        }
        if !choices.chance(4) {
            let state = match choices.below(24) {
                23 => InstanceState::Stopped,
                22 => InstanceState::Stopping,
                21 => InstanceState::Pending,
                _ => InstanceState::Running,
            };
            eni.attachment = Some(self.add_instance(&subnet, state));
        }
        self.enis.insert(id, eni);
    }

    fn add_instance(&mut self, subnet: &Subnet, state: InstanceState) -> Attachment {
        let id = InstanceId::new(self.next_id());
        let row = Instance {
            state,
            ..rows::instance(id, subnet.vpc, subnet.id)
        };
        self.instances.insert(id, row);
        rows::attachment(AttachmentId::new(self.next_id()), id)
    }

    /// Lets a new public address stand for a private one of an interface that is about to be put.
    pub fn give_public(&mut self, eni: &mut NetworkInterface, index: usize, elastic: bool) {
        let number = self.next_id();
        let ip = Ipv4Addr::new(198, 51, 100, (number % 250) as u8);
        let taken = |e: &NetworkInterface| {
            e.private_addresses
                .iter()
                .any(|a| a.public.is_some_and(|p| p.ip == ip))
        };
        if self.enis.values().any(taken) || self.eips.values().any(|e| e.public == ip) || taken(eni) {
            return;
        }
        let Some(address) = eni.private_addresses.get_mut(index) else {
            return;
        };
        let ids = (
            AllocationId::new(number),
            AddressAssociationId::new(self.last_id + 1),
        );
        self.last_id += 1;
        if elastic {
            let association = elastic_ip::AddressAssociation {
                id: ids.1,
                eni: eni.id,
                private: address.ip,
            };
            let row = rows::elastic_ip(ids.0, ip, Some(association));
            self.eips.insert(ids.0, row);
        }
        address.public = Some(PublicAddress {
            ip,
            elastic: elastic.then_some(ids),
        });
    }

    pub(super) fn enis_of(&self, vpc: VpcId) -> Vec<EniId> {
        let mut enis = self.instance_enis();
        enis.retain(|id| self.enis.get(id).is_some_and(|e| e.vpc == vpc));
        enis
    }
}
