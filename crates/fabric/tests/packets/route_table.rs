//! Route tables (semantics 1-13, 20, 65).

use atoll_fabric::{RuleRef, Stage, Verdict};
use atoll_model::{InstanceState, InternetGatewayId, Key, NatGatewayState, RouteTarget};
use atoll_net::Prefix;

use crate::scene::{OUT_ALL, OUTSIDE, OUTSIDE_V6, Scene, block, ip, two_tier};

fn route_taken(s: &Scene) -> Option<Prefix> {
    s.hops.iter().find_map(|hop| match hop.rule {
        Some(RuleRef::Route { destination, .. }) => Some(destination),
        _ => None,
    })
}

#[test]
fn the_longest_prefix_wins_and_families_are_apart() {
    // semantics 1
    let mut t = two_tier();
    let (table, igw) = (t.public_table, t.igw);
    let gone = InternetGatewayId::new(0xdead);
    t.scene
        .route(table, "198.51.0.0/16", RouteTarget::InternetGateway(gone));
    t.scene
        .route(table, "198.51.100.0/24", RouteTarget::InternetGateway(igw));
    let syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
    assert_eq!(route_taken(&t.scene), Some(block("198.51.100.0/24")));
    let beside = t.scene.syn(t.web, ip("198.51.7.1"), 40000, 80);
    assert_eq!(t.scene.stage(&beside), Stage::BlackholeRoute);

    t.scene.unroute(table, "::/0");
    let v6 = t.scene.syn(t.web, ip(OUTSIDE_V6), 40000, 80);
    assert_eq!(t.scene.stage(&v6), Stage::NoRoute, "0.0.0.0/0 never covers IPv6");
}

#[test]
fn what_is_propagated_into_the_vpc_never_beats_the_local_route() {
    // semantics 3
    let mut t = two_tier();
    let table = t.public_table;
    let mut row = t.scene.table_row(table);
    row.routes.insert(
        block("10.0.1.0/24"),
        atoll_model::Route {
            target: RouteTarget::InternetGateway(InternetGatewayId::new(0xdead)),
            origin: atoll_model::route_table::RouteOrigin::EnableVgwRoutePropagation,
        },
    );
    t.scene.put(row);
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    assert_eq!(route_taken(&t.scene), Some(block("10.0.0.0/16")));
}

#[test]
fn a_local_route_may_be_narrowed_or_replaced_by_an_interface() {
    // semantics 6, 7
    let mut t = two_tier();
    let vpc = t.vpc;
    let middle = t.scene.subnet(vpc, "10.0.2.0/24", None);
    let open = t.scene.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let appliance = t.scene.eni(middle, &[open]);
    t.scene.change_eni(appliance, |eni| eni.source_dest_check = false);
    let table = t.public_table;
    for to in ["10.0.1.0/24", "10.0.0.0/16"] {
        t.scene.route(table, to, RouteTarget::NetworkInterface(appliance));
        let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
        let outcome = t.scene.send(&syn);
        let Verdict::Forward(action) = outcome.verdict else {
            panic!("{outcome:?}");
        };
        assert_eq!(action.out, atoll_fabric::Port::Eni(appliance));
        t.scene.unroute(table, to);
    }
    t.scene.route(table, "10.0.0.0/16", RouteTarget::Local);
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
}

#[test]
fn link_local_destinations_are_not_routed() {
    // semantics 8, 57
    let mut t = two_tier();
    let (table, igw) = (t.public_table, t.igw);
    t.scene
        .route(table, "169.254.0.0/16", RouteTarget::InternetGateway(igw));
    t.scene
        .route(table, "fd00::/8", RouteTarget::InternetGateway(igw));
    for dst in ["169.254.169.254", "169.254.1.1", "fd00:ec2::254", "fe80::1"] {
        let syn = t.scene.syn(t.web, ip(dst), 40000, 80);
        assert_eq!(t.scene.stage(&syn), Stage::LinkLocalRange, "{dst}");
    }
}

#[test]
fn a_subnet_has_its_own_table_else_the_main_one() {
    // semantics 9
    let mut t = two_tier();
    let vpc = t.vpc;
    let lonely = t.scene.subnet(vpc, "10.0.3.0/24", None);
    let eni = t.scene.eni(lonely, &[t.web_group]);
    t.scene.elastic(eni);
    let syn = t.scene.syn(eni, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::NoRoute);
    t.scene
        .route(vpc.table, "0.0.0.0/0", RouteTarget::InternetGateway(t.igw));
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
    let own = t.scene.table_for(lonely);
    assert_eq!(t.scene.stage(&syn), Stage::NoRoute);
    t.scene.delete(Key::RouteTable(own));
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
}

#[test]
fn changing_the_main_table_moves_every_implicit_subnet() {
    // semantics 9
    let mut t = two_tier();
    let vpc = t.vpc;
    let lonely = t.scene.subnet(vpc, "10.0.3.0/24", None);
    let eni = t.scene.eni(lonely, &[t.web_group]);
    t.scene.elastic(eni);
    let syn = t.scene.syn(eni, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::NoRoute);
    // The main association goes from the old table to the public one.
    let (mut old, mut new) = (t.scene.table_row(vpc.table), t.scene.table_row(t.public_table));
    let main = std::mem::take(&mut old.associations);
    new.associations.extend(main);
    t.scene.apply(vec![
        atoll_model::Change::Put(old.into()),
        atoll_model::Change::Put(new.into()),
    ]);
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
}

#[test]
fn a_route_whose_target_is_gone_detached_or_down_is_a_blackhole() {
    let mut t = two_tier();
    let (vpc, table) = (t.vpc, t.public_table);
    let syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    let igw = t.igw;
    t.scene.put_igw(igw, None);
    assert_eq!(t.scene.stage(&syn), Stage::BlackholeRoute, "detached");
    let Verdict::Drop(drop) = t.scene.send(&syn).verdict else {
        panic!("delivered");
    };
    assert!(matches!(drop.rule, Some(RuleRef::Route { destination, .. }) if destination.is_all()));
    t.scene.delete(Key::InternetGateway(igw));
    assert_eq!(t.scene.stage(&syn), Stage::BlackholeRoute, "gone");

    let open = t.scene.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let appliance = t.scene.eni(t.private, &[open]);
    t.scene.change_eni(appliance, |eni| eni.source_dest_check = false);
    t.scene
        .route(table, "0.0.0.0/0", RouteTarget::NetworkInterface(appliance));
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    t.scene.set_state(appliance, InstanceState::Stopped);
    assert_eq!(t.scene.stage(&syn), Stage::BlackholeRoute, "stopped");
    t.scene.set_state(appliance, InstanceState::Running);
    t.scene.change_eni(appliance, |eni| eni.attachment = None);
    assert_eq!(t.scene.stage(&syn), Stage::BlackholeRoute, "unattached");
    t.scene.delete(Key::NetworkInterface(appliance));
    assert_eq!(t.scene.stage(&syn), Stage::BlackholeRoute, "interface gone");

    let out = t.scene.syn(t.db, ip(OUTSIDE), 40000, 80);
    let mut nat = t.scene.nat_row(t.nat);
    nat.state = NatGatewayState::Deleting;
    t.scene.put(nat);
    assert_eq!(t.scene.stage(&out), Stage::BlackholeRoute, "NAT gateway");
    let v6 = t.scene.syn(t.db, ip(OUTSIDE_V6), 40000, 80);
    let eigw = t.eigw;
    t.scene.delete(Key::EgressOnlyGateway(eigw));
    assert_eq!(t.scene.stage(&v6), Stage::BlackholeRoute, "egress-only gateway");
}

#[test]
fn nobody_at_a_local_address() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, ip("10.0.1.99"), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::NoSuchAddress);
    let router = t.scene.ping(t.web, ip("10.0.1.1"), 1);
    assert_eq!(
        t.scene.stage(&router),
        Stage::NoSuchAddress,
        "the router answers no ping"
    );
}

#[test]
fn the_acl_speaks_before_the_route_fails() {
    let mut t = two_tier();
    let vpc = t.vpc;
    let table = t.public_table;
    t.scene.unroute(table, "0.0.0.0/0");
    let syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::NoRoute);
    t.scene.acl(vpc, &[t.public], &["in 100 allow all 0.0.0.0/0"]);
    assert_eq!(t.scene.stage(&syn), Stage::NaclEgress);
}
