//! Two hosts with a plane each and an instance on each, for `bench/run` to measure between. Prints one line of JSON that says
//! where their namespaces are, then waits until stdin closes. As root; needs iproute2.
#![allow(clippy::unwrap_used)]

#[path = "../tests/rig/mod.rs"]
mod rig;

use atoll_plane::PlaneConfig;
use rig::two_hosts::TwoHosts;
use rig::{kernel_scenario, rows};
use serde_json::json;

/// The groups of each instance, and the rules of each of them, of which the last lets everything in: as the other paths of
/// the benchmark have them.
const GROUPS: u64 = 5;
const RULES: u16 = 60;
const FIRST_GROUP: u64 = 200;

fn main() {
    kernel_scenario(|| {
        let mut two = TwoHosts::with_config(PlaneConfig::HOST_FAST, 9100, false);
        let groups: Vec<u64> = (FIRST_GROUP..FIRST_GROUP + GROUPS).collect();
        let rows = groups.iter().map(|group| {
            let others = (1..RULES).map(|n| {
                let block = format!("192.0.{}.{n}/32", group - FIRST_GROUP);
                ("ingress", rows::tcp(8000 + n, 8000 + n), rows::cidr(&block))
            });
            let last = ("ingress", rows::all(), rows::cidr("10.0.0.0/16"));
            rows::group(*group, &others.chain([last]).collect::<Vec<_>>())
        });
        two.apply(&rows::put(rows.collect()));
        let guests = [0, 1].map(|host| two.guest(host, 1 + host as u8, 10, &groups));
        println!(
            "{}",
            json!({
                "process": std::process::id(),
                "hosts": two.underlays.each_ref().map(rig::Namespace::path),
                "host": two.addresses[1].to_string(),
                "guests": guests.each_ref().map(|guest| guest.namespace.path()),
                "guest": guests[1].v4.to_string(),
            })
        );
        for line in std::io::stdin().lines() {
            let _ = line;
            for rig in &two.rigs {
                eprintln!("{:#?}", rig.plane.counters().unwrap());
            }
        }
    });
}
