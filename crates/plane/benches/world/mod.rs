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
use atoll_plane::{Attachment, Capacity, Engine, Outbox, Received};

#[path = "../../tests/rig/rows.rs"]
#[allow(dead_code)]
mod rows;

pub const HOSTS: u64 = 128;
pub const BATCH: usize = 32;
pub const LENGTH: usize = 10 + 14 + 20 + 20;
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

/// A TCP segment with its vnet header, checksum left undone.
fn write(frame: &mut [u8; LENGTH], from: &Host, to: &Host, ports: (u16, u16), flags: u8) {
    frame.fill(0);
    frame[10..16].copy_from_slice(&from.router.0);
    frame[16..22].copy_from_slice(&from.mac.0);
    frame[22] = 8;
    frame[24] = 0x45;
    frame[27] = 40;
    frame[30] = 0x40;
    frame[32] = 64;
    frame[33] = 6;
    frame[36..40].copy_from_slice(&from.v4.octets());
    frame[40..44].copy_from_slice(&to.v4.octets());
    let sum = atoll_net::packet::Sum::default().bytes(&frame[24..44]).checksum();
    frame[34..36].copy_from_slice(&sum.to_be_bytes());
    frame[44..46].copy_from_slice(&ports.0.to_be_bytes());
    frame[46..48].copy_from_slice(&ports.1.to_be_bytes());
    frame[56] = 0x50;
    frame[57] = flags;
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
            write(frame, to, from, (443, near), flags);
            2000 + b as u32
        } else {
            write(frame, from, to, (near, 443), flags);
            1000 + a as u32
        }
    }

    pub fn send(&mut self, connection: u64, back: bool, flags: u8) {
        let mut frame = [0; LENGTH];
        let ifindex = self.frame(&mut frame, connection, back, flags);
        self.out.clear();
        let received = Received {
            ifindex,
            tagged: false,
            truncated: false,
            data: &mut frame,
        };
        self.engine.process(NOW, &mut [received], &mut self.out);
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
