//! Random small regions, as plain rows such as `region` would leave them, and random things that happen in them.
//!
//! Everything is drawn from a list of numbers ([`Choices`]) that proptest makes and shrinks: zeros, and what comes
//! after the list's end, choose the plainest thing.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod change;
pub mod lookup;
mod nat_gateway;
mod network_acl;
mod network_interface;
pub mod packets;
mod route_table;
mod security_group;
mod subnet;
mod traffic;
mod vpc;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::Fabric;
use atoll_model::*;
use atoll_net::Prefix;
use proptest::prelude::{TestCaseError, any};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A list of numbers to draw decisions from.
#[derive(Clone, Debug)]
pub struct Choices {
    words: Vec<u32>,
    at: usize,
}

impl Choices {
    pub fn new(words: &[u32]) -> Choices {
        Choices {
            words: words.to_vec(),
            at: 0,
        }
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let word = self.words.get(self.at).copied().unwrap_or(0) as usize;
        self.at += 1;
        if n == 0 { 0 } else { word % n }
    }

    /// True in so many of a hundred cases; zeros say no.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }

    /// One of them; zeros take the first.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let i = self.below(of.len());
        of.get(i).copied()
    }
}

/// The rows of a region.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub vpcs: BTreeMap<VpcId, Vpc>,
    pub subnets: BTreeMap<SubnetId, Subnet>,
    pub tables: BTreeMap<RouteTableId, RouteTable>,
    pub igws: BTreeMap<InternetGatewayId, InternetGateway>,
    pub eigws: BTreeMap<EgressOnlyGatewayId, EgressOnlyInternetGateway>,
    pub nats: BTreeMap<NatGatewayId, NatGateway>,
    pub eips: BTreeMap<AllocationId, ElasticIp>,
    pub acls: BTreeMap<NetworkAclId, NetworkAcl>,
    pub groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    pub enis: BTreeMap<EniId, NetworkInterface>,
    pub instances: BTreeMap<InstanceId, Instance>,
    /// The last id given.
    pub last_id: u64,
}

impl World {
    /// Bits for a new id of any kind.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Every row.
    pub fn rows(&self) -> Vec<Row> {
        fn all<K, T: Clone + Into<Row>>(table: &BTreeMap<K, T>) -> impl Iterator<Item = Row> {
            table.values().map(|row| row.clone().into())
        }
        all(&self.vpcs)
            .chain(all(&self.subnets))
            .chain(all(&self.tables))
            .chain(all(&self.igws))
            .chain(all(&self.eigws))
            .chain(all(&self.nats))
            .chain(all(&self.eips))
            .chain(all(&self.acls))
            .chain(all(&self.groups))
            .chain(all(&self.enis))
            .chain(all(&self.instances))
            .collect()
    }

    /// The compiled form, fed the rows in deltas of at most `at_once` rows.
    pub fn fabric(&self, at_once: usize) -> Fabric {
        let mut fabric = Fabric::default();
        for rows in self.rows().chunks(at_once) {
            let changes = rows.iter().cloned().map(Change::Put).collect();
            fabric.apply(&Delta { changes });
        }
        fabric
    }

    /// What turns `before` into this.
    pub fn delta_from(&self, before: &World) -> Delta {
        let old: BTreeMap<Key, Row> = before.rows().into_iter().map(|r| (r.key(), r)).collect();
        let new: BTreeMap<Key, Row> = self.rows().into_iter().map(|r| (r.key(), r)).collect();
        let mut changes: Vec<Change> = new
            .iter()
            .filter(|(key, row)| old.get(key) != Some(row))
            .map(|(_, row)| Change::Put(row.clone()))
            .collect();
        changes.extend(
            old.keys()
                .filter(|key| !new.contains_key(key))
                .map(|key| Change::Delete(*key)),
        );
        changes.sort_by_key(Change::key);
        Delta { changes }
    }

    /// The interfaces of instances.
    pub fn instance_enis(&self) -> Vec<EniId> {
        let serves = |e: &&NetworkInterface| {
            e.interface_type == atoll_model::network_interface::InterfaceType::Interface
        };
        self.enis.values().filter(serves).map(|e| e.id).collect()
    }
}

/// Runs a law on random cases: numbers for a region, and numbers for each thing that happens in it.
///
/// Every run takes another seed and prints it; `ATOLL_SEED` repeats a run.
pub fn for_random_cases(
    cases: u32,
    most_steps: usize,
    law: impl Fn(&[u32], &[[u32; 14]]) -> Result<(), TestCaseError>,
) {
    let seed = match std::env::var("ATOLL_SEED") {
        Ok(text) => text.parse().unwrap_or(0),
        Err(_) => std::hash::RandomState::new().hash_one(0u8),
    };
    println!("ATOLL_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        max_shrink_iters: 5000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let words = proptest::collection::vec(any::<u32>(), 420);
    let steps = proptest::collection::vec(any::<[u32; 14]>(), 0..most_steps);
    let law = |(words, steps): (Vec<u32>, Vec<[u32; 14]>)| law(&words, &steps);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&(words, steps), law) {
        panic!("ATOLL_SEED={seed}: {error}");
    }
}

/// Hosts outside.
pub fn internet_v4() -> [IpAddr; 3] {
    [[203, 0, 113, 1], [203, 0, 113, 77], [192, 0, 2, 9]].map(|o| IpAddr::V4(Ipv4Addr::from(o)))
}

/// Hosts outside.
pub fn internet_v6() -> [IpAddr; 2] {
    [1, 0x99].map(|n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, n)))
}

pub fn prefix(text: &str) -> Prefix {
    match text.parse() {
        Ok(prefix) => prefix,
        Err(error) => panic!("{error}"),
    }
}

/// Whether one of the blocks contains an address.
pub fn within(addr: IpAddr, blocks: &[&str]) -> bool {
    blocks.iter().any(|block| prefix(block).contains(addr))
}
