//! NAT gateways (semantics 42, 78-85).

use atoll_fabric::packet::tcp;
use atoll_fabric::{Answer, Fragment, L4, Limits, Stage, Verdict};
use atoll_model::RouteTarget;
use atoll_model::nat_gateway::Connectivity;

use crate::scene::{OUT_ALL, OUTSIDE, OUTSIDE_V6, Scene, acked, flagged, ip, two_tier};

fn source_port(l4: L4) -> u16 {
    match l4 {
        L4::Ports { src, .. } => src,
        L4::Icmp { id, .. } => id,
        L4::Other => panic!("no port"),
    }
}

#[test]
fn tcp_udp_and_icmp_are_translated_to_ports_from_1024() {
    // semantics 78, 79
    let mut t = two_tier();
    let packets = [
        t.scene.syn(t.db, ip(OUTSIDE), 100, 443),
        t.scene.udp(t.db, ip(OUTSIDE), 100, 53),
        t.scene.ping(t.db, ip(OUTSIDE), 100),
    ];
    for packet in packets {
        let outcome = t.scene.send(&packet);
        assert_eq!(outcome.stage(), Stage::ExitsToInternet, "{packet:?}");
        let out = outcome.forwarded(&packet).unwrap();
        assert!(source_port(out.l4) >= 1024);
        let answer = t.scene.answer(&packet, &outcome);
        let back = t.scene.send(&answer);
        assert_eq!(back.stage(), Stage::Delivered, "{answer:?}");
        let got = back.forwarded(&answer).unwrap();
        assert_eq!(got.dst, packet.src);
        match got.l4 {
            L4::Ports { dst, .. } => assert_eq!(dst, 100),
            L4::Icmp { id, kind, .. } => assert_eq!((id, kind), (100, 0)),
            L4::Other => panic!("{got:?}"),
        }
    }
}

#[test]
fn other_protocols_are_dropped() {
    // semantics 78
    let mut t = two_tier();
    for number in [47, 50, 51, 132] {
        let packet = t.scene.other(t.db, ip(OUTSIDE), number);
        assert_eq!(t.scene.stage(&packet), Stage::NatUnsupportedProtocol, "{number}");
    }
    let (table, nat) = (t.private_table, t.nat);
    t.scene.route(table, "::/0", RouteTarget::NatGateway(nat));
    let v6 = t.scene.syn(t.db, ip(OUTSIDE_V6), 1, 2);
    assert_eq!(t.scene.stage(&v6), Stage::NatUnsupportedProtocol);
}

#[test]
fn one_inside_port_keeps_its_mapping_and_two_insiders_get_two() {
    // semantics 79
    let mut t = two_tier();
    let other = t.scene.eni(t.private, &[t.db_group]);
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    let first = t.scene.send(&syn).forwarded(&syn).unwrap();
    let again = acked(&syn);
    let second = t.scene.send(&again).forwarded(&again).unwrap();
    assert_eq!(source_port(first.l4), source_port(second.l4));
    let twin = t.scene.syn(other, ip(OUTSIDE), 5000, 443);
    let third = t.scene.send(&twin).forwarded(&twin).unwrap();
    assert_eq!(first.src, third.src);
    assert_ne!(source_port(first.l4), source_port(third.l4));
}

#[test]
fn nothing_comes_in_unasked_and_it_answers_no_ping() {
    // semantics 85
    let mut t = two_tier();
    let public = t.scene.eni_row(t.nat_eni).private_addresses[0].public.unwrap().ip;
    let syn = t.scene.syn_in(OUTSIDE, public.into(), 40000, 443);
    assert_eq!(t.scene.stage(&syn), Stage::NatNoMapping);
    let ping = t.scene.ping(t.web, t.scene.addr(t.nat_eni), 1);
    assert_eq!(t.scene.stage(&ping), Stage::NatNoMapping);
    let mut gre = syn;
    (gre.protocol, gre.l4) = (47, L4::Other);
    assert_eq!(t.scene.stage(&gre), Stage::NatUnsupportedProtocol);
}

#[test]
fn an_answer_must_come_from_where_the_question_went() {
    // semantics 80: a mapping is of one destination
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    let outcome = t.scene.send(&syn);
    let mut answer = t.scene.answer(&syn, &outcome);
    answer.src = ip("198.51.100.10");
    assert_eq!(t.scene.stage(&answer), Stage::NatNoMapping);
}

#[test]
fn after_350_idle_seconds_a_packet_from_inside_is_reset() {
    // semantics 81
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    assert_eq!(t.scene.exchange(&syn), (Stage::ExitsToInternet, Stage::Delivered));
    t.scene.after(349);
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::ExitsToInternet);
    t.scene.after(351);
    let outcome = t.scene.send(&acked(&syn));
    assert_eq!(outcome.stage(), Stage::NatNoMapping);
    assert!(matches!(outcome.verdict, Verdict::Drop(d) if d.answer == Some(Answer::Reset)));
    let reset = t.scene.send(&flagged(&syn, tcp::RST));
    assert!(
        matches!(reset.verdict, Verdict::Drop(d) if d.answer.is_none()),
        "a reset is not reset"
    );
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet, "a new connection");
}

#[test]
fn a_reset_passes_the_acls_between() {
    // semantics 81, 83
    let mut t = two_tier();
    let vpc = t.vpc;
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    let ack = acked(&syn);
    t.scene.acl(
        vpc,
        &[t.private],
        &["in 100 allow tcp/6000 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
    );
    let outcome = t.scene.send(&ack);
    assert!(
        matches!(outcome.verdict, Verdict::Drop(d) if d.stage == Stage::NatNoMapping && d.answer.is_none())
    );
}

#[test]
fn only_udp_may_be_fragmented() {
    // semantics 82
    let mut t = two_tier();
    let fragment = Some(Fragment {
        id: 1,
        offset: 0,
        more: true,
    });
    let mut udp = t.scene.udp(t.db, ip(OUTSIDE), 5000, 53);
    udp.fragment = fragment;
    let first = t.scene.send(&udp);
    assert_eq!((first.stage(), first.hold), (Stage::ExitsToInternet, 0));
    udp.fragment = Some(Fragment {
        id: 1,
        offset: 1480,
        more: false,
    });
    assert_eq!(
        t.scene.stage(&udp),
        Stage::ExitsToInternet,
        "its ports known from the first one"
    );
    let mut syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    syn.fragment = fragment;
    assert_eq!(t.scene.stage(&syn), Stage::NatFragment);
    let mut ping = t.scene.ping(t.db, ip(OUTSIDE), 5);
    ping.fragment = fragment;
    assert_eq!(t.scene.stage(&ping), Stage::NatFragment);
}

#[test]
fn the_acl_of_its_subnet_judges_both_legs() {
    // semantics 83
    let mut t = two_tier();
    let vpc = t.vpc;
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    let acl = t.scene.acl(vpc, &[t.public], &["out 100 allow all 0.0.0.0/0"]);
    assert_eq!(t.scene.stage(&syn), Stage::NaclIngress, "from the private subnet");
    t.scene.set_acl(acl, &["in 100 allow tcp/443 10.0.1.0/24"]);
    assert_eq!(t.scene.stage(&syn), Stage::NaclEgress, "to the internet");
    t.scene.set_acl(
        acl,
        &[
            "in 100 allow tcp/443 10.0.1.0/24",
            "out 100 allow tcp/443 0.0.0.0/0",
        ],
    );
    let outcome = t.scene.send(&syn);
    let answer = t.scene.answer(&syn, &outcome);
    assert_eq!(
        t.scene.stage(&answer),
        Stage::NaclIngress,
        "back from the internet"
    );
    t.scene.set_acl(
        acl,
        &[
            "in 100 allow tcp/443 10.0.1.0/24",
            "in 110 allow tcp/1024-65535 0.0.0.0/0",
            "out 100 allow tcp/443 0.0.0.0/0",
        ],
    );
    assert_eq!(
        t.scene.stage(&answer),
        Stage::NaclEgress,
        "back to the private subnet"
    );
    t.scene.set_acl(
        acl,
        &[
            "in 100 allow tcp/443 10.0.1.0/24",
            "in 110 allow tcp/1024-65535 0.0.0.0/0",
            "out 100 allow all 0.0.0.0/0",
        ],
    );
    assert_eq!(t.scene.stage(&answer), Stage::Delivered);
}

#[test]
fn it_serves_only_sources_of_its_own_vpc() {
    // semantics 84
    let mut t = two_tier();
    t.scene.change_eni(t.db, |eni| eni.source_dest_check = false);
    let mut syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    syn.src = ip("10.77.0.1");
    assert_eq!(t.scene.stage(&syn), Stage::NatSourceOutsideVpc);
}

#[test]
fn a_destination_has_no_more_ports_than_the_table_has_room() {
    // semantics 80; the 55,000 themselves are the mapping table's own test
    let mut scene = Scene::with(Limits {
        mappings: 2,
        ..Limits::SMALL
    });
    let vpc = scene.vpc("10.0.0.0/16", None);
    let (a, b) = (
        scene.subnet(vpc, "10.0.0.0/24", None),
        scene.subnet(vpc, "10.0.1.0/24", None),
    );
    let igw = scene.igw(vpc);
    let table = scene.table_for(a);
    scene.route(table, "0.0.0.0/0", RouteTarget::InternetGateway(igw));
    let (nat, _) = scene.nat(a, Connectivity::Public);
    scene.route(vpc.table, "0.0.0.0/0", RouteTarget::NatGateway(nat));
    let group = scene.group(vpc, &[OUT_ALL[0]]);
    let eni = scene.eni(b, &[group]);
    for (port, stage) in [
        (1, Stage::ExitsToInternet),
        (2, Stage::ExitsToInternet),
        (3, Stage::NatPortExhausted),
        (2, Stage::ExitsToInternet),
    ] {
        let udp = scene.udp(eni, ip(OUTSIDE), port, 53);
        assert_eq!(scene.stage(&udp), stage, "{port}");
    }
}

#[test]
fn group_references_do_not_survive_it() {
    // semantics 42
    let mut t = two_tier();
    let vpc = t.vpc;
    let beyond = t.scene.subnet(vpc, "10.0.4.0/24", None);
    let (nat, nat_eni) = t.scene.nat(t.public, Connectivity::Private);
    let table = t.private_table;
    t.scene.route(table, "10.0.4.0/24", RouteTarget::NatGateway(nat));
    let group = t.scene.group(vpc, &[&format!("in tcp/80 {}", t.db_group)]);
    let server = t.scene.eni(beyond, &[group]);
    let syn = t.scene.syn(t.db, t.scene.addr(server), 5000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::SecurityGroupIngress);
    let nat_addr = t.scene.addr(nat_eni);
    t.scene.set_group(group, &[&format!("in tcp/80 {nat_addr}/32")]);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.forwarded(&syn).unwrap().src, nat_addr);
    let answer = t.scene.answer(&syn, &outcome);
    let back = t.scene.send(&answer);
    assert_eq!(back.forwarded(&answer).unwrap().dst, t.scene.addr(t.db));
}

#[test]
fn a_gateway_whose_subnet_routes_back_to_it_is_a_loop() {
    let mut t = two_tier();
    let (table, nat) = (t.public_table, t.nat);
    t.scene.route(table, "0.0.0.0/0", RouteTarget::NatGateway(nat));
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    assert_eq!(t.scene.stage(&syn), Stage::RoutingLoop);
}

#[test]
fn a_mapping_ends_with_its_gateway() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    let outcome = t.scene.send(&syn);
    let answer = t.scene.answer(&syn, &outcome);
    assert_eq!(t.scene.flows.mappings(), 1);
    t.scene.delete(atoll_model::Key::NatGateway(t.nat));
    assert_eq!(t.scene.stage(&answer), Stage::NotRunning);
    let now = t.scene.now;
    t.scene.flows.expire(now, 1000);
    assert_eq!(t.scene.flows.mappings(), 0);
}
