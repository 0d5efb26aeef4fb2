//! NAT gateways (semantics 42, 78-85).

use std::net::Ipv4Addr;

use atoll_fabric::packet::tcp;
use atoll_fabric::{Answer, Fragment, L4, Limits, Packet, Stage, Verdict};
use atoll_model::nat_gateway::Connectivity;
use atoll_model::{EniId, RouteTarget};

use crate::scene::{OUT_ALL, OUTSIDE, OUTSIDE_V6, Scene, TwoTier, acked, flagged, ip, two_tier, two_tier_in};

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

/// Opens a connection through the gateway and answers: what its client and the server outside send.
fn opened(t: &mut TwoTier, port: u16) -> [Packet; 2] {
    let syn = t.scene.syn(t.db, ip(OUTSIDE), port, 443);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.stage(), Stage::ExitsToInternet, "{port}");
    let answer = t.scene.answer(&syn, &outcome);
    assert_eq!(t.scene.stage(&answer), Stage::Delivered);
    [acked(&syn), acked(&answer)]
}

#[test]
fn the_last_packets_of_a_finished_connection_pass_for_a_minute() {
    // semantics 80, 81
    let mut t = two_tier();
    let [there, back] = opened(&mut t, 5000);
    let fin = tcp::FIN | tcp::ACK;
    assert_eq!(t.scene.stage(&flagged(&there, fin)), Stage::ExitsToInternet);
    t.scene.after(300);
    // One side has ended: the other may send as long as it likes.
    assert_eq!(t.scene.stage(&back), Stage::Delivered);
    t.scene.after(349);
    assert_eq!(t.scene.stage(&flagged(&back, fin)), Stage::Delivered);
    assert_eq!(t.scene.stage(&there), Stage::ExitsToInternet);
    t.scene.after(59);
    assert_eq!(
        t.scene.stage(&flagged(&back, fin)),
        Stage::Delivered,
        "sent again"
    );
    t.scene.after(59);
    assert_eq!(t.scene.stage(&there), Stage::ExitsToInternet);
    t.scene.after(61);
    assert_eq!(t.scene.stage(&there), Stage::NatNoMapping);
    assert_eq!(t.scene.stage(&back), Stage::NatNoMapping);
}

#[test]
fn after_a_reset_what_was_on_its_way_passes_for_half_a_minute() {
    let mut t = two_tier();
    for (port, side) in [(5000, 0), (5001, 1)] {
        let both = opened(&mut t, port);
        let passes = [Stage::ExitsToInternet, Stage::Delivered];
        assert_eq!(t.scene.stage(&flagged(&both[side], tcp::RST)), passes[side]);
        t.scene.after(29);
        let again = flagged(&both[side], tcp::RST);
        assert_eq!(t.scene.stage(&again), passes[side], "another one");
        t.scene.after(31);
        assert_eq!(t.scene.stage(&again), Stage::NatNoMapping);
    }
}

#[test]
fn a_reset_that_nobody_believed_ends_no_mapping() {
    let mut t = two_tier();
    let [there, back] = opened(&mut t, 5000);
    assert_eq!(t.scene.stage(&flagged(&back, tcp::RST)), Stage::Delivered);
    assert_eq!(t.scene.stage(&there), Stage::ExitsToInternet);
    t.scene.after(349);
    assert_eq!(t.scene.stage(&there), Stage::ExitsToInternet);
}

#[test]
fn a_reset_that_the_rules_drop_before_the_gateway_ends_no_mapping() {
    // semantics 83
    let mut t = two_tier();
    let vpc = t.vpc;
    let [there, back] = opened(&mut t, 5000);
    let acl = t.scene.acl(vpc, &[t.public], &["out 100 allow all 0.0.0.0/0"]);
    for packet in [&there, &back] {
        assert_eq!(t.scene.stage(&flagged(packet, tcp::RST)), Stage::NaclIngress);
    }
    t.scene.set_acl(
        acl,
        &["in 100 allow all 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
    );
    t.scene.after(349);
    assert_eq!(t.scene.stage(&there), Stage::ExitsToInternet);
}

#[test]
fn a_client_opens_again_by_the_port_it_had_and_nobody_else_gets_that_meanwhile() {
    // semantics 79
    let mut t = two_tier();
    let outside = |t: &mut TwoTier, packet: &Packet| {
        let outcome = t.scene.send(packet);
        source_port(outcome.forwarded(packet).unwrap().l4)
    };
    let [there, _] = opened(&mut t, 5000);
    let port = outside(&mut t, &there);
    assert_eq!(outside(&mut t, &flagged(&there, tcp::RST)), port);
    // As many others as ports have the same low byte.
    let others: Vec<EniId> = (0..3).map(|_| t.scene.eni(t.private, &[t.db_group])).collect();
    for other in others {
        for number in (0..200).map(|n| 5000 + n * 256) {
            let syn = t.scene.syn(other, ip(OUTSIDE), number as u16, 443);
            assert_ne!(outside(&mut t, &syn), port);
        }
    }
    let syn = flagged(&there, tcp::SYN);
    assert_eq!(outside(&mut t, &syn), port);
    t.scene.after(349);
    assert_eq!(t.scene.stage(&there), Stage::ExitsToInternet, "a new connection");
}

#[test]
fn one_destination_takes_any_number_of_connections_one_after_the_other_and_55000_at_a_time() {
    // semantics 80: about 900 a second, says AWS, and by a reset more here
    let mut t = two_tier_in(Scene::with(Limits {
        ipv4: 200_000,
        per_owner: 200_000,
        mappings: 250_000,
        per_gateway: 250_000,
        ..Limits::SMALL
    }));
    let clients: Vec<EniId> = (0..5).map(|_| t.scene.eni(t.private, &[t.db_group])).collect();
    let syn = |t: &TwoTier, n: usize| {
        let port = 1024 + (n / clients.len() % 60_000) as u16;
        t.scene.syn(clients[n % clients.len()], ip(OUTSIDE), port, 443)
    };
    for (count, each_second, fins) in [(120_000, 900, true), (180_000, 2000, false)] {
        for n in 0..count {
            let syn = syn(&t, n);
            let outcome = t.scene.send(&syn);
            assert_eq!(outcome.stage(), Stage::ExitsToInternet, "{n}");
            let answer = t.scene.answer(&syn, &outcome);
            let ends: &[(&Packet, u8)] = if fins {
                &[(&syn, tcp::FIN | tcp::ACK), (&answer, tcp::FIN | tcp::ACK)]
            } else {
                &[(&answer, tcp::RST)]
            };
            for (packet, flags) in ends {
                t.scene.send(&flagged(packet, *flags));
            }
            if n % each_second == 0 {
                t.scene.after(1);
                let now = t.scene.now;
                t.scene.flows.expire(now, 20_000);
            }
        }
        t.scene.after(100);
        let now = t.scene.now;
        t.scene.flows.expire(now, 500_000);
        assert_eq!(t.scene.flows.mappings(), 0);
    }
    for n in 0..55_000 {
        assert_eq!(t.scene.stage(&syn(&t, n)), Stage::ExitsToInternet, "{n}");
    }
    assert_eq!(t.scene.stage(&syn(&t, 55_000)), Stage::NatPortExhausted);
    // One that ends makes room, though its port rests.
    let first = syn(&t, 0);
    t.scene.send(&flagged(&first, tcp::RST));
    assert_eq!(t.scene.stage(&syn(&t, 55_000)), Stage::ExitsToInternet);
    assert_eq!(t.scene.stage(&first), Stage::NatPortExhausted, "as any other");
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
fn a_connection_opens_again_by_another_address_when_its_gateway_has_lost_the_one_it_had() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 5000, 443);
    let before = t.scene.send(&syn).forwarded(&syn).unwrap();
    let mut eni = t.scene.eni_row(t.nat_eni);
    let own = &mut eni.private_addresses[0];
    own.ip = Ipv4Addr::from(u32::from(own.ip) + 100);
    let public = own.public.as_mut().unwrap();
    public.ip = Ipv4Addr::from(u32::from(public.ip) + 100);
    t.scene.put(crate::rows::nat_gateway(t.nat, &eni));
    t.scene.put(eni);
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::NatNoMapping);
    let outcome = t.scene.send(&syn);
    let after = outcome.forwarded(&syn).unwrap();
    assert_ne!(before.src, after.src);
    let answer = t.scene.answer(&syn, &outcome);
    assert_eq!(t.scene.stage(&answer), Stage::Delivered);
    assert_eq!(t.scene.flows.mappings(), 1);
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
