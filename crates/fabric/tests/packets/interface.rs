//! Interfaces and the link: spoofing, the source/destination check, what never leaves (semantics 10, 36, 61, 65).

use atoll_fabric::{Fabric, Port, Stage, Verdict};
use atoll_model::{InstanceState, RouteTarget, Timestamp};
use atoll_net::Mac;

use crate::scene::{OUT_ALL, OUTSIDE, ip, two_tier};

#[test]
fn a_foreign_source_mac_is_dropped() {
    let mut t = two_tier();
    let mut syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    syn.src_mac = Mac([2, 0, 0, 0, 9, 9]);
    assert_eq!(t.scene.stage(&syn), Stage::MacSpoofed);
}

#[test]
fn the_source_destination_check_holds_both_ways() {
    // semantics 65
    let mut t = two_tier();
    let vpc = t.vpc;
    let middle = t.scene.subnet(vpc, "10.0.2.0/24", None);
    let open = t.scene.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let appliance = t.scene.eni(middle, &[open]);
    let table = t.public_table;
    t.scene
        .route(table, "10.0.1.0/24", RouteTarget::NetworkInterface(appliance));
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(
        t.scene.stage(&syn),
        Stage::SourceDestCheck,
        "foreign destination in"
    );
    let mut forged = t.scene.syn(appliance, t.scene.addr(t.db), 40000, 5432);
    forged.src = t.scene.addr(t.web);
    assert_eq!(
        t.scene.stage(&forged),
        Stage::SourceDestCheck,
        "foreign source out"
    );
    t.scene.change_eni(appliance, |eni| eni.source_dest_check = false);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let group = t.db_group;
    t.scene.set_group(group, &["in all 0.0.0.0/0"]);
    assert_eq!(t.scene.stage(&forged), Stage::Delivered);
}

#[test]
fn a_nat_instance_forwards_only_with_its_check_off() {
    // semantics 65
    let mut t = two_tier();
    let vpc = t.vpc;
    let group = t.scene.group(vpc, &["in all 10.0.0.0/16", OUT_ALL[0]]);
    let nat = t.scene.eni(t.public, &[group]);
    t.scene.elastic(nat);
    let table = t.private_table;
    t.scene
        .route(table, "0.0.0.0/0", RouteTarget::NetworkInterface(nat));
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 40000, 443);
    assert_eq!(t.scene.stage(&syn), Stage::SourceDestCheck);
    t.scene.change_eni(nat, |eni| eni.source_dest_check = false);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.stage(), Stage::Delivered);
    // It masquerades and sends on; the answer comes back to it, and it turns it round.
    let masqueraded = t.scene.syn(nat, ip(OUTSIDE), 50000, 443);
    let out = t.scene.send(&masqueraded);
    assert_eq!(out.stage(), Stage::ExitsToInternet);
    let answer = t.scene.answer(&masqueraded, &out);
    assert_eq!(t.scene.stage(&answer), Stage::Delivered);
    let back = t.scene.answer(&syn, &outcome);
    assert_eq!(
        t.scene.stage(&back),
        Stage::Delivered,
        "under the internet's address, on the tracked connection"
    );
}

#[test]
fn frames_on_the_link_meet_neither_route_table_nor_acl() {
    // semantics 10
    let mut t = two_tier();
    let vpc = t.vpc;
    let neighbour = t.scene.eni(t.public, &[t.web_group]);
    t.scene.acl(vpc, &[t.public], &[]);
    let table = t.public_table;
    t.scene.unroute(table, "10.0.0.0/16");
    let syn = t.scene.syn(t.web, t.scene.addr(neighbour), 40000, 80);
    let outcome = t.scene.send(&syn);
    let Verdict::Forward(action) = outcome.verdict else {
        panic!("{outcome:?}");
    };
    assert_eq!(action.out, Port::Eni(neighbour));
    assert_eq!(action.src_mac, syn.src_mac, "from the neighbour itself");
    let mut nobody = syn;
    nobody.dst_mac = Mac([2, 0, 9, 9, 9, 9]);
    assert_eq!(t.scene.stage(&nobody), Stage::NoSuchAddress);
    let mut elsewhere = syn;
    elsewhere.dst_mac = t.scene.fabric.link(t.db).unwrap().mac;
    assert_eq!(
        t.scene.stage(&elsewhere),
        Stage::NoSuchAddress,
        "a MAC of another subnet"
    );
}

#[test]
fn a_frame_for_a_neighbour_with_a_foreign_address_is_not_accepted() {
    // semantics 65
    let mut t = two_tier();
    let neighbour = t.scene.eni(t.public, &[t.web_group]);
    let mut syn = t.scene.syn(t.web, t.scene.addr(neighbour), 40000, 80);
    syn.dst = ip("203.0.113.200");
    assert_eq!(t.scene.stage(&syn), Stage::SourceDestCheck);
}

#[test]
fn nothing_is_broadcast() {
    // semantics 61
    let mut t = two_tier();
    let mut frame = t.scene.udp(t.web, ip("10.0.0.255"), 68, 67);
    frame.dst_mac = Mac::BROADCAST;
    assert_eq!(t.scene.stage(&frame), Stage::Multicast);
    for dst in ["224.0.0.251", "255.255.255.255", "ff02::fb"] {
        let packet = t.scene.udp(t.web, ip(dst), 5353, 5353);
        assert_eq!(t.scene.stage(&packet), Stage::Multicast, "{dst}");
    }
    let mut outside = t.scene.syn_in(OUTSIDE, ip("224.0.0.1"), 1, 1);
    assert_eq!(t.scene.stage(&outside), Stage::Multicast);
    outside.dst = t.web_public;
    outside.src = ip("255.255.255.255");
    assert_eq!(t.scene.stage(&outside), Stage::Malformed);
}

#[test]
fn what_no_host_may_send_is_malformed() {
    let mut t = two_tier();
    let good = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    for (src, dst) in [
        ("0.0.0.0", "10.0.1.5"),
        ("127.0.0.1", "10.0.1.5"),
        ("224.0.0.1", "10.0.1.5"),
        ("10.0.0.5", "2001:db8::1"),
        ("10.0.0.5", "127.0.0.1"),
        ("::", "2001:db8::1"),
    ] {
        let mut packet = good;
        (packet.src, packet.dst) = (ip(src), ip(dst));
        assert_eq!(t.scene.stage(&packet), Stage::Malformed, "{src} {dst}");
    }
    let mut spent = good;
    spent.hop_limit = 0;
    assert_eq!(t.scene.stage(&spent), Stage::HopLimit);
}

#[test]
fn only_attached_interfaces_of_running_instances_send_and_receive() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    let back = t.scene.syn(t.db, t.scene.addr(t.web), 40000, 80);
    t.scene.set_state(t.db, InstanceState::Stopped);
    assert_eq!(t.scene.stage(&syn), Stage::NotRunning);
    assert_eq!(t.scene.stage(&back), Stage::NotRunning);
    t.scene.set_state(t.db, InstanceState::Running);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    t.scene.change_eni(t.db, |eni| eni.attachment = None);
    assert_eq!(t.scene.stage(&syn), Stage::NotRunning);
    assert_eq!(t.scene.stage(&back), Stage::NotRunning);
}

#[test]
fn an_unknown_port_sends_nothing() {
    let t = two_tier();
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    let outcome = atoll_fabric::walk(
        &Fabric::new(),
        &atoll_fabric::NoFlows,
        &syn,
        Timestamp(0),
        &mut (),
    );
    assert_eq!(outcome.stage(), Stage::NotRunning);
}

#[test]
fn an_interface_keeps_its_addresses_and_groups_on_its_way_to_another_instance() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    t.scene.change_eni(t.db, |eni| eni.attachment = None);
    assert_eq!(t.scene.stage(&syn), Stage::NotRunning);
    t.scene.attach(t.db);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
}

#[test]
fn neighbours_are_the_router_and_the_interfaces_of_the_subnet() {
    // semantics 54
    let mut t = two_tier();
    let neighbour = t.scene.eni(t.public, &[t.web_group]);
    let fabric = &t.scene.fabric;
    let router = fabric.link(t.web).unwrap().router_mac;
    assert_eq!(fabric.neighbour(t.web, ip("10.0.0.1")), Some(router));
    assert_eq!(fabric.neighbour(t.web, ip("fe80:ec2::1")), Some(router));
    for addr in fabric.routers(t.web) {
        assert_eq!(fabric.neighbour(t.web, *addr), Some(router), "{addr}");
    }
    let other = fabric.link(neighbour).unwrap().mac;
    assert_eq!(fabric.neighbour(t.web, t.scene.addr(neighbour)), Some(other));
    assert_eq!(fabric.neighbour(t.web, t.scene.addr6(neighbour)), Some(other));
    assert_eq!(
        fabric.neighbour(t.web, t.scene.addr(t.db)),
        None,
        "another subnet"
    );
    assert_eq!(fabric.neighbour(t.web, t.scene.addr(t.web)), None, "itself");
    assert_eq!(fabric.neighbour(t.web, ip("10.0.0.99")), None);
    assert_ne!(fabric.link(t.db).unwrap().router_mac, router);
}

#[test]
fn equal_addresses_in_two_vpcs_never_meet() {
    // isolation, also with equal CIDRs
    let mut t = two_tier();
    let other = t.scene.vpc("10.0.0.0/16", None);
    let subnet = t.scene.subnet(other, "10.0.1.0/24", None);
    let open = t.scene.group(other, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let twin = t.scene.eni(subnet, &[open]);
    let db = t.scene.addr(t.db);
    t.scene
        .change_eni(twin, |eni| eni.private_addresses[0].ip = crate::scene::as_v4(db));
    let peer = t.scene.eni(subnet, &[open]);
    let inside = t.scene.send(&t.scene.syn(peer, db, 40000, 5432));
    assert!(matches!(inside.verdict, Verdict::Forward(a) if a.out == Port::Eni(twin)));
    let here = t.scene.send(&t.scene.syn(t.web, db, 40000, 5432));
    assert!(matches!(here.verdict, Verdict::Forward(a) if a.out == Port::Eni(t.db)));
    let foreign = t.scene.syn(peer, t.scene.addr(t.web), 40000, 80);
    assert_eq!(t.scene.stage(&foreign), Stage::NoSuchAddress);
}

#[test]
fn a_vpc_block_that_is_no_longer_associated_does_not_count() {
    // semantics 59: the NAT gateway takes no source of it
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 40000, 443);
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
    let mut row = t.scene.vpc_row(t.vpc.id);
    row.cidrs[0].state = atoll_model::CidrState::Disassociated;
    t.scene.put(row);
    assert_eq!(t.scene.stage(&syn), Stage::NatSourceOutsideVpc);
}
