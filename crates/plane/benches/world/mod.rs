//! An engine to measure: 256 interfaces in two subnets, tracked at both ends by a rule that refers to a group: 65,536
//! different paths.
#![allow(
    dead_code,
    clippy::unwrap_used,
    missing_docs,
    reason = "each bench uses a part"
)]

use std::net::Ipv4Addr;
use std::path::Path;

use atoll_fabric::{Fabric, Limits};
use atoll_model::Timestamp;
use atoll_net::Mac;
use atoll_plane::{Attachment, Capacity, Engine, Outbox};

#[path = "../../tests/rig/rows.rs"]
#[allow(dead_code)]
mod rows;
#[path = "../segment/mod.rs"]
mod segment;

pub use segment::LENGTH;

pub const HOSTS: u64 = 128;
pub const BATCH: usize = 32;
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
const MEMBERS: u64 = 50;

struct Host {
    mac: Mac,
    router: Mac,
    v4: Ipv4Addr,
}

fn host(subnet: u8, n: u64) -> (Host, rows::Interface) {
    let row = rows::Interface {
        subnet,
        host: 4 + n as u8,
        groups: vec![MEMBERS],
        ..rows::Interface::default()
    };
    let host = Host {
        mac: row.mac(),
        router: rows::subnet(subnet).router_mac(),
        v4: row.v4(),
    };
    (host, row)
}

pub struct World {
    pub engine: Engine,
    hosts: [Vec<Host>; 2],
    pub out: Outbox,
}

impl World {
    /// With its flows written down at a path.
    pub fn new(journal: Option<&Path>) -> World {
        let capacity = Capacity {
            flows: Limits {
                // All of them are of one VPC, which has at most three quarters.
                ipv4: 2_800_000,
                per_owner: 1 << 22,
                ..Limits::HOST
            },
            ..Capacity::HOST
        };
        let mut engine = Engine::new(Fabric::default(), capacity, 0x5eed, NOW);
        if let Some(path) = journal {
            engine.remember(path, 7, NOW).unwrap();
        }
        engine.apply(&rows::base());
        let member = rows::group(MEMBERS, &[("ingress", rows::all(), rows::in_group(MEMBERS))]);
        engine.apply(&rows::put(vec![member]));
        let hosts = [1u8, 2].map(|subnet| {
            let made = (0..HOSTS).map(|n| {
                let (host, row) = host(subnet, n);
                engine.apply(&row.delta());
                let ifindex = u32::from(subnet) * 1000 + n as u32;
                engine.port_up(ifindex, Attachment::Eni(row.id())).unwrap();
                host
            });
            made.collect()
        });
        World {
            engine,
            hosts,
            out: Outbox::new(),
        }
    }

    /// The frame of a connection in one direction, and the interface it comes in at.
    pub fn frame(&self, frame: &mut [u8; LENGTH], connection: u64, back: bool, flags: u8) -> u32 {
        let (a, b) = (connection % HOSTS, connection / HOSTS % HOSTS);
        let near = 1024 + (connection / HOSTS / HOSTS) as u16;
        let (from, to) = (&self.hosts[0][a as usize], &self.hosts[1][b as usize]);
        if back {
            segment::write(frame, (to.mac, to.router), (to.v4, from.v4), (443, near), flags);
            2000 + b as u32
        } else {
            segment::write(
                frame,
                (from.mac, from.router),
                (from.v4, to.v4),
                (near, 443),
                flags,
            );
            1000 + a as u32
        }
    }

    pub fn send(&mut self, connection: u64, back: bool, flags: u8) {
        let mut frame = [0; LENGTH];
        let ifindex = self.frame(&mut frame, connection, back, flags);
        segment::give(&mut self.engine, &mut self.out, NOW, ifindex, &mut frame);
        assert_eq!(self.out.len(), 1, "{:?}", self.engine.counters());
    }

    /// Opens a connection, so that answers are kept for both its directions.
    pub fn open(&mut self, connection: u64) {
        self.send(connection, false, SYN);
        self.send(connection, true, SYN | ACK);
        self.send(connection, false, ACK);
        self.send(connection, true, ACK);
    }
}
