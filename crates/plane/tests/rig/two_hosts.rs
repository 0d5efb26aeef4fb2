//! Two hosts with a plane each, joined by an underlay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::Site;
use atoll_model::{Delta, VpcId};
use atoll_plane::{Capacity, Plane, PlaneConfig, Tunnel, Vni};

use super::{Guest, Namespace, Rig, rows};

/// The number of the rows' VPC between the hosts.
pub const NETWORK: u32 = 4711;

pub struct TwoHosts {
    /// Each host's own namespace, where the underlay's end `eth0` is.
    pub underlays: [Namespace; 2],
    pub rigs: [Rig; 2],
    pub addresses: [IpAddr; 2],
    pub tunnels: [Tunnel; 2],
}

impl TwoHosts {
    /// Whose underlay takes so long packets, with IPv6 addresses or not. The gateways are at the first one.
    pub fn new(mtu: u32, v6: bool) -> TwoHosts {
        TwoHosts::with_config(Rig::config(Capacity::SMALL), mtu, v6)
    }

    /// The same with planes that keep more.
    pub fn with_config(config: PlaneConfig, mtu: u32, v6: bool) -> TwoHosts {
        let underlays = [Namespace::new(), Namespace::new()];
        underlays[0].ip(&format!(
            "link add eth0 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
            underlays[1].path()
        ));
        let addresses = [1u8, 2].map(|n| match v6 {
            false => IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)),
            true => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, n.into())),
        });
        for (underlay, address) in underlays.iter().zip(addresses) {
            underlay.ip("link set eth0 up");
            let words = if v6 { "/64 dev eth0 nodad" } else { "/24 dev eth0" };
            underlay.ip(&format!("addr add {address}{words}"));
            underlay.ip("link add vxlan type vxlan external gbp dstport 4789");
        }
        underlays
            .iter()
            .for_each(|underlay| underlay.wait_for_carrier("eth0"));
        let rigs = [0, 1].map(|_| Rig::with_config(config));
        let tunnels = [0, 1].map(|n| {
            underlays[n].ip(&format!("link set vxlan netns {}", rigs[n].fabric.path()));
            rigs[n].fabric.ip("link set vxlan mtu 9200");
            let ifindex = rigs[n].fabric.run(|| Plane::interface_index("vxlan")).unwrap();
            Tunnel {
                ifindex,
                address: addresses[n],
                mtu,
            }
        });
        let two = TwoHosts {
            underlays,
            rigs,
            addresses,
            tunnels,
        };
        for (n, rig) in two.rigs.iter().enumerate() {
            rig.plane.set_tunnel(Some(tunnels[n])).unwrap();
            rig.fabric.ip("link set vxlan up");
            rig.plane.set_host(addresses[1 - n], true).unwrap();
            rig.plane.set_network(VpcId::new(1), Vni::new(NETWORK)).unwrap();
        }
        two.rigs[1]
            .plane
            .place(&[(Site::Gateways, Some(addresses[0]))])
            .unwrap();
        two
    }

    pub fn apply(&self, delta: &Delta) {
        self.rigs.iter().for_each(|rig| rig.apply(delta));
    }

    /// An instance on a host.
    pub fn guest(&mut self, host: usize, subnet: u8, number: u8, groups: &[u64]) -> Guest {
        self.guest_with(host, subnet, number, groups, None)
    }

    /// The same with a public address.
    pub fn guest_with(
        &mut self,
        host: usize,
        subnet: u8,
        number: u8,
        groups: &[u64],
        public: Option<Ipv4Addr>,
    ) -> Guest {
        let guest = self.rigs[host].guest_with(subnet, number, groups, public);
        let row = rows::Interface {
            subnet,
            host: number,
            groups: groups.to_vec(),
            public,
            ..rows::Interface::default()
        };
        let other = &self.rigs[1 - host];
        other.apply(&row.delta());
        let site = Site::Interface(guest.eni);
        other.plane.place(&[(site, Some(self.addresses[host]))]).unwrap();
        guest
    }
}
