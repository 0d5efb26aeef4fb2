//! The demo's checks as tests: real packets between real processes, as root and as an ordinary user.
#![allow(clippy::unwrap_used)]

use atoll_demo::checks::leftovers::{self, Snapshot};
use atoll_demo::checks::{CHECKS, STACK};
use atoll_demo::report;
use atoll_demo::world::World;

/// The user of the rootless run when the tests run as root: any that owns nothing.
const ORDINARY: u32 = 54321;

fn all_checks_hold(user: Option<u32>, data_plane: &str) {
    let mut world = World::of_this_build(user).unwrap();
    world.data_plane = Some(data_plane.to_owned());
    let before = Snapshot::take(world.directory()).unwrap();
    world.serve().unwrap();
    if let Err(failure) = world.up("two-tier.yaml", STACK) {
        panic!("{failure}\n{}", world.log());
    }
    world.learn(STACK).unwrap();
    let mut failures = Vec::new();
    for check in CHECKS {
        if let Err(failure) = (check.run)(&mut world) {
            failures.push(format!("{}: {failure}", check.title));
        }
    }
    if let Err(failure) = leftovers::run(&mut world, &before) {
        failures.push(format!("nothing left: {failure}"));
    }
    let table = report::table(&world.observations);
    assert!(
        failures.is_empty() && world.observations.iter().all(|o| o.holds),
        "{table}\n{failures:#?}\n{}",
        world.log()
    );
    let seen: std::collections::BTreeSet<u8> = world.observations.iter().map(|o| o.check).collect();
    assert_eq!(seen, (1..=15).collect(), "every check was tried");
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not root: the same checks run rootless in another test");
    }
    root
}

#[test]
fn every_check_of_the_two_tier_example_holds_as_root_on_the_ebpf_plane() {
    if is_root() {
        all_checks_hold(None, "ebpf");
    }
}

#[test]
fn every_check_of_the_two_tier_example_holds_as_root_on_the_userspace_plane() {
    if is_root() {
        all_checks_hold(None, "userspace");
    }
}

#[test]
fn every_check_of_the_two_tier_example_holds_for_an_ordinary_user() {
    let ordinary = rustix::process::geteuid().is_root().then_some(ORDINARY);
    all_checks_hold(ordinary, "userspace");
}
