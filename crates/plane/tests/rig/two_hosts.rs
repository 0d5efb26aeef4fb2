//! Two hosts with a plane each, joined by an underlay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use atoll_fabric::Site;
use atoll_model::{Delta, VpcId};
use atoll_plane::{Capacity, Plane, PlaneConfig, Tunnel, Vni};

use super::{Guest, Namespace, Rig, rows, socket};

/// The number of the rows' VPC between the hosts.
pub const NETWORK: u32 = 4711;

pub struct TwoHosts {
    /// Each host's own namespace, where the underlay's end `eth0` is.
    pub underlays: [Namespace; 2],
    pub rigs: [Rig; 2],
    pub addresses: [IpAddr; 2],
    pub tunnels: [Tunnel; 2],
    /// What each host's plane was told to be on the other.
    placed: [Vec<(Site, Option<IpAddr>)>; 2],
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
        let mut two = TwoHosts {
            underlays,
            rigs,
            addresses,
            tunnels,
            placed: [const { Vec::new() }; 2],
        };
        for host in 0..2 {
            two.tell_of_others(host);
            two.rigs[host].fabric.ip("link set vxlan up");
        }
        two.place(1, Site::Gateways);
        two
    }

    /// The same with an open instance on each host, in another subnet each.
    pub fn with_guests(mtu: u32, v6: bool) -> (TwoHosts, Guest, Guest) {
        let mut two = TwoHosts::new(mtu, v6);
        let near = two.guest(0, 1, 10, &[rows::OPEN]);
        let far = two.guest(1, 2, 10, &[rows::OPEN]);
        (two, near, far)
    }

    /// What makes the kernel of a host forward without a plane, as the holder has it.
    pub fn links(&self, host: usize) -> Vec<OwnedFd> {
        let mut links = self.rigs[host].links();
        links.extend(self.rigs[host].plane.tunnel_links().unwrap());
        links
    }

    /// How many programs stand at a host's VXLAN device, at ingress and at egress.
    pub fn programs(&self, host: usize) -> [u32; 2] {
        let ifindex = self.tunnels[host].ifindex;
        self.rigs[host].fabric.run(|| socket::programs_at(ifindex))
    }

    /// Tells a host's next plane what the other one was told.
    pub fn tell_again(&mut self, host: usize) {
        self.tell_of_others(host);
        self.rigs[host].tell_again();
    }

    fn tell_of_others(&self, host: usize) {
        let plane = &self.rigs[host].plane;
        plane.set_tunnel(Some(self.tunnels[host])).unwrap();
        plane.set_host(self.addresses[1 - host], true).unwrap();
        plane.set_network(VpcId::new(1), Vni::new(NETWORK)).unwrap();
        plane.place(&self.placed[host]).unwrap();
    }

    /// Says where something is, now and to later planes.
    fn place(&mut self, host: usize, site: Site) {
        let there = (site, Some(self.addresses[1 - host]));
        self.rigs[host].plane.place(&[there]).unwrap();
        self.placed[host].push(there);
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
        self.rigs[1 - host].apply(&row.delta());
        self.place(1 - host, Site::Interface(guest.eni));
        guest
    }
}
