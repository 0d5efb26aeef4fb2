//! A region laid out by hand, with what a test says to it and sends through it.

mod packets;
mod rows;
mod two_tier;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::{Cells, Changed, Fabric, Flows, Hop, Limits};
use atoll_model::*;
use atoll_net::{PortRange, Prefix};

pub use packets::{acked, flagged};
pub use two_tier::{TwoTier, two_tier, two_tier_in};

pub const OUT_ALL: [&str; 2] = ["out all 0.0.0.0/0", "out all ::/0"];
pub const OUTSIDE: &str = "198.51.100.9";
pub const OUTSIDE_V6: &str = "2001:db8:ffff::9";

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn block(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// `tcp/80`, `tcp/32768-65535`, `udp/53`, `icmp/8:0`, `icmp`, `icmp6`, `47`, `all`.
pub fn traffic(text: &str) -> Traffic {
    let (name, range) = text.split_once('/').map_or((text, None), |(n, r)| (n, Some(r)));
    let ports = || match range {
        None => PortRange::ALL,
        Some(r) => {
            let (from, to) = r.split_once('-').unwrap_or((r, r));
            PortRange {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
            }
        }
    };
    let icmp = || match range {
        None | Some("all") => IcmpMatch::ANY,
        Some(r) => {
            let (kind, code) = r.split_once(':').unwrap_or((r, "-1"));
            IcmpMatch {
                kind: kind.parse().ok(),
                code: code.parse().ok(),
            }
        }
    };
    match name {
        "all" | "-1" => Traffic::All,
        "tcp" => Traffic::Tcp { ports: ports() },
        "udp" => Traffic::Udp { ports: ports() },
        "icmp" => Traffic::Icmp { icmp: icmp() },
        "icmp6" => Traffic::Icmpv6 { icmp: icmp() },
        number => Traffic::Other {
            number: number.parse().unwrap(),
        },
    }
}

/// A VPC with its main table, default ACL and default group, none of which says anything yet but local routes.
#[derive(Clone, Copy)]
pub struct VpcIds {
    pub id: VpcId,
    pub table: RouteTableId,
    pub acl: NetworkAclId,
}

pub struct Scene {
    pub fabric: Fabric,
    pub flows: Flows,
    pub cells: Cells,
    pub now: Timestamp,
    rows: BTreeMap<Key, Row>,
    ids: u64,
    hosts: u8,
    /// The hops of the last packet.
    pub hops: Vec<Hop>,
}

macro_rules! row {
    ($name:ident, $variant:ident, $row:ty, $id:ty) => {
        pub fn $name(&self, id: $id) -> $row {
            match self.rows.get(&Key::$variant(id)) {
                Some(Row::$variant(row)) => <$row>::clone(row),
                _ => panic!("no {id}"),
            }
        }
    };
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(Limits::SMALL)
    }

    pub fn with(limits: Limits) -> Scene {
        let now = Timestamp(1_000_000);
        Scene {
            fabric: Fabric::new(),
            flows: Flows::new(limits, now),
            cells: Cells::new(10_000),
            now,
            rows: BTreeMap::new(),
            ids: 0x10,
            hosts: 9,
            hops: Vec::new(),
        }
    }

    row!(vpc_row, Vpc, Vpc, VpcId);
    row!(table_row, RouteTable, RouteTable, RouteTableId);
    row!(acl_row, NetworkAcl, NetworkAcl, NetworkAclId);
    row!(group_row, SecurityGroup, SecurityGroup, SecurityGroupId);
    row!(eni_row, NetworkInterface, NetworkInterface, EniId);
    row!(instance_row, Instance, Instance, InstanceId);
    row!(subnet_row, Subnet, Subnet, SubnetId);
    row!(nat_row, NatGateway, NatGateway, NatGatewayId);

    pub fn next(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn host(&mut self) -> u8 {
        self.hosts += 1;
        self.hosts
    }

    pub fn apply(&mut self, changes: Vec<Change>) -> Changed {
        for change in &changes {
            match change {
                Change::Put(row) => self.rows.insert(row.key(), row.clone()),
                Change::Delete(key) => self.rows.remove(key),
            };
        }
        let changed = self.fabric.apply(&Delta { changes });
        self.flows.forget(&changed);
        self.cells.bump(&changed);
        changed
    }

    pub fn put(&mut self, row: impl Into<Row>) -> Changed {
        self.apply(vec![Change::Put(row.into())])
    }

    pub fn delete(&mut self, key: Key) -> Changed {
        self.apply(vec![Change::Delete(key)])
    }

    pub fn after(&mut self, seconds: u64) -> &mut Scene {
        self.now = self.now.plus_millis(seconds * 1000);
        self
    }
}

fn words<const N: usize>(text: &str) -> [&str; N] {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.try_into().unwrap()
}

fn way(text: &str) -> Direction {
    match text {
        "in" => Direction::Ingress,
        "out" => Direction::Egress,
        other => panic!("{other}"),
    }
}

pub fn as_v4(addr: IpAddr) -> Ipv4Addr {
    match addr {
        IpAddr::V4(a) => a,
        IpAddr::V6(a) => panic!("{a}"),
    }
}

fn as_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V6(a) => a,
        IpAddr::V4(a) => panic!("{a}"),
    }
}
