//! What rules are about.

use atoll_model::*;
use atoll_net::{PortRange, Prefix};

use super::{Choices, World, prefix};

impl World {
    /// A block that packets of the VPC may have to do with.
    pub(super) fn random_block(&self, vpc: VpcId, choices: &mut Choices) -> Prefix {
        let mut blocks = vec![Prefix::ALL_V4, Prefix::ALL_V6];
        blocks.extend(self.vpcs.get(&vpc).iter().flat_map(|v| v.blocks()));
        let subnets = self.subnets.values().filter(|s| s.vpc == vpc);
        blocks.extend(subnets.flat_map(Subnet::blocks));
        let enis = self.enis.values().filter(|e| e.vpc == vpc);
        blocks.extend(enis.flat_map(|e| e.addresses().map(Prefix::host).collect::<Vec<_>>()));
        blocks.extend(
            [
                "203.0.113.0/24",
                "203.0.113.1/32",
                "198.51.100.0/24",
                "2001:db8:ffff::/64",
            ]
            .map(prefix),
        );
        blocks[choices.below(blocks.len())]
    }
}

pub(super) fn random_traffic(choices: &mut Choices) -> Traffic {
    let range = |from, to| PortRange { from, to };
    let any = IcmpMatch::ANY;
    let kind = |kind, code| IcmpMatch { kind, code };
    let all = [
        Traffic::All,
        Traffic::Tcp {
            ports: PortRange::ALL,
        },
        Traffic::Tcp { ports: range(80, 80) },
        Traffic::Tcp {
            ports: range(22, 443),
        },
        Traffic::Tcp {
            ports: range(1024, 65535),
        },
        Traffic::Udp { ports: range(53, 53) },
        Traffic::Udp {
            ports: PortRange::ALL,
        },
        Traffic::Udp {
            ports: range(1024, 65535),
        },
        Traffic::Icmp { icmp: any },
        Traffic::Icmp {
            icmp: kind(Some(8), None),
        },
        Traffic::Icmp {
            icmp: kind(Some(3), Some(4)),
        },
        Traffic::Icmp {
            icmp: kind(None, Some(0)),
        },
        Traffic::Icmpv6 { icmp: any },
        Traffic::Icmpv6 {
            icmp: kind(Some(128), Some(0)),
        },
        Traffic::Other { number: 47 },
    ];
    all[choices.below(all.len())]
}
