//! Internet gateways, edge tables and egress-only gateways (semantics 14-19, 62, 66-71, 75, 76, 129, 130).

use atoll_fabric::{Answer, Fragment, Stage, Verdict};
use atoll_model::nat_gateway::Connectivity;
use atoll_model::{InstanceState, Key, RouteTarget};

use crate::scene::{OUT_ALL, OUTSIDE, OUTSIDE_V6, TwoTier, acked, ip, two_tier};

#[test]
fn out_only_with_a_public_address() {
    // semantics 67
    let mut t = two_tier();
    let plain = t.scene.eni(t.public, &[t.web_group]);
    let syn = t.scene.syn(plain, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::IgwNoPublicAddress);
    t.scene.elastic(plain);
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
}

#[test]
fn private_and_shared_destinations_do_not_exist_on_the_internet() {
    // semantics 68
    let mut t = two_tier();
    for (dst, stage) in [
        ("10.200.0.1", Stage::PrivateDstAtInternet),
        ("172.16.0.1", Stage::PrivateDstAtInternet),
        ("192.168.7.7", Stage::PrivateDstAtInternet),
        ("100.64.0.1", Stage::SharedDstAtInternet),
        ("100.127.255.255", Stage::SharedDstAtInternet),
        ("100.128.0.1", Stage::ExitsToInternet),
        ("172.32.0.1", Stage::ExitsToInternet),
        ("fd12:3456::1", Stage::PrivateDstAtInternet),
    ] {
        let syn = t.scene.syn(t.web, ip(dst), 40000, 80);
        assert_eq!(t.scene.stage(&syn), stage, "{dst}");
    }
    for src in ["10.200.0.1", "192.168.1.1", "100.64.0.1"] {
        let syn = t.scene.syn_in(src, t.web_public, 40000, 80);
        assert_eq!(t.scene.stage(&syn), Stage::PrivateSrcFromInternet, "{src}");
    }
    let web6 = t.scene.addr6(t.web);
    let syn = t.scene.syn_in("fd12::1", web6, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::PrivateSrcFromInternet);
}

#[test]
fn a_vpcs_own_block_is_never_on_the_internet_even_if_public() {
    // semantics 62
    let mut t = two_tier();
    let mut row = t.scene.vpc_row(t.vpc.id);
    let mut second = row.cidrs[0].clone();
    second.block = crate::scene::block("198.51.100.0/24");
    row.cidrs.push(second);
    t.scene.put(row);
    let syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::PrivateDstAtInternet);
}

#[test]
fn in_only_to_the_public_address_of_an_attached_interface() {
    // semantics 69
    let mut t = two_tier();
    let unknown = t.scene.syn_in(OUTSIDE, ip("192.0.2.250"), 40000, 80);
    assert_eq!(t.scene.stage(&unknown), Stage::IgwUnknownPublicDestination);
    t.scene.idle_elastic("192.0.2.251");
    let idle = t.scene.syn_in(OUTSIDE, ip("192.0.2.251"), 40000, 80);
    assert_eq!(t.scene.stage(&idle), Stage::IgwUnknownPublicDestination);
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    t.scene.set_state(t.web, InstanceState::Stopped);
    assert_eq!(t.scene.stage(&syn), Stage::NotRunning, "attached, but stopped");
    t.scene.change_eni(t.web, |eni| eni.attachment = None);
    assert_eq!(
        t.scene.stage(&syn),
        Stage::IgwUnknownPublicDestination,
        "unattached"
    );
    t.scene.attach(t.web);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let igw = t.igw;
    t.scene.put_igw(igw, None);
    assert_eq!(
        t.scene.stage(&syn),
        Stage::IgwUnknownPublicDestination,
        "no gateway"
    );
}

#[test]
fn an_allocated_address_that_stands_for_nothing_is_not_outside_either() {
    // semantics 69
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, ip("192.0.2.251"), 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::ExitsToInternet);
    t.scene.idle_elastic("192.0.2.251");
    assert_eq!(t.scene.stage(&syn), Stage::IgwUnknownPublicDestination);
}

#[test]
fn an_elastic_ip_moves_with_its_association() {
    // semantics 66
    let mut t = two_tier();
    let other = t.scene.eni(t.public, &[t.web_group]);
    let public = t.scene.eni_row(t.web).private_addresses[0].public;
    let (mut from, mut to) = (t.scene.eni_row(t.web), t.scene.eni_row(other));
    from.private_addresses[0].public = None;
    to.private_addresses[0].public = public;
    // In either order within one delta.
    for rows in [[to.clone(), from.clone()], [from, to]] {
        let changes = rows
            .into_iter()
            .map(|r| atoll_model::Change::Put(r.into()))
            .collect();
        t.scene.apply(changes);
        let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
        let outcome = t.scene.send(&syn);
        assert_eq!(outcome.forwarded(&syn).unwrap().dst, t.scene.addr(other));
    }
}

#[test]
fn nobody_outside_may_speak_in_the_name_of_an_address_of_ours() {
    let mut t = two_tier();
    let other = t.scene.eni(t.public, &[t.web_group]);
    let public = t.scene.elastic(other);
    let syn = t.scene.syn_in(&public.to_string(), t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::SpoofedAtGateway);
}

#[test]
fn a_source_outside_the_vpc_is_refused_on_the_way_out() {
    let mut t = two_tier();
    t.scene.change_eni(t.web, |eni| eni.source_dest_check = false);
    let mut syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    syn.src = ip("172.20.0.1");
    assert_eq!(t.scene.stage(&syn), Stage::SpoofedAtGateway);
    let mut v6 = t.scene.syn(t.web, ip(OUTSIDE_V6), 40000, 80);
    v6.src = ip("2001:db8:9999::1");
    assert_eq!(t.scene.stage(&v6), Stage::SpoofedAtGateway);
}

#[test]
fn instances_reach_each_other_by_public_address_round_the_gateway() {
    // semantics 71
    let mut t = two_tier();
    let other = t.scene.eni(t.public, &[t.web_group]);
    let other_public = t.scene.elastic(other);
    let syn = t.scene.syn(other, t.web_public, 40000, 80);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.stage(), Stage::Delivered);
    let got = outcome.forwarded(&syn).unwrap();
    assert_eq!((got.src, got.dst), (other_public, t.scene.addr(t.web)));
    assert_eq!(
        got.hop_limit,
        syn.hop_limit - 2,
        "out of one gateway and into another"
    );
    let answer = t.scene.answer(&syn, &outcome);
    let back = t.scene.send(&answer);
    let got = back.forwarded(&answer).unwrap();
    assert_eq!((got.src, got.dst), (t.web_public, t.scene.addr(other)));
}

#[test]
fn the_same_between_vpcs_and_through_a_nat_gateway() {
    // semantics 71, 79
    let mut t = two_tier();
    let vpc = t.scene.vpc("10.0.0.0/16", None);
    let subnet = t.scene.subnet(vpc, "10.0.0.0/24", None);
    let igw = t.scene.igw(vpc);
    t.scene
        .route(vpc.table, "0.0.0.0/0", RouteTarget::InternetGateway(igw));
    let group = t.scene.group(vpc, &["in tcp/443 0.0.0.0/0"]);
    let server = t.scene.eni(subnet, &[group]);
    let public = t.scene.elastic(server);
    let nat_public = t.scene.eni_row(t.nat_eni).private_addresses[0].public.unwrap().ip;
    let syn = t.scene.syn(t.db, public, 40000, 443);
    let outcome = t.scene.send(&syn);
    let got = outcome.forwarded(&syn).unwrap();
    assert_eq!(
        (got.src, got.dst),
        (std::net::IpAddr::V4(nat_public), t.scene.addr(server))
    );
    let answer = t.scene.answer(&syn, &outcome);
    let back = t.scene.send(&answer);
    assert_eq!(back.forwarded(&answer).unwrap().dst, t.scene.addr(t.db));
}

#[test]
fn the_way_through_an_internet_gateway_is_1500_bytes_wide() {
    // semantics 76, 129
    let mut t = two_tier();
    let mut big = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    big.length = 1501;
    let Verdict::Forward(action) = t.scene.send(&big).verdict else {
        panic!("IPv4 without DF is fragmented by the plane");
    };
    assert_eq!(action.mtu, 1500);
    big.dont_fragment = true;
    let refused = t.scene.send(&big);
    assert_eq!((refused.stage(), refused.hold), (Stage::MtuExceeded, 0));
    big.length = 1500;
    assert_eq!(t.scene.stage(&big), Stage::ExitsToInternet);
    let mut inside = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    inside.length = 9001;
    inside.dont_fragment = true;
    let Verdict::Forward(action) = t.scene.send(&inside).verdict else {
        panic!("9001 inside");
    };
    assert_eq!(action.mtu, 9001);
    inside.length = 9002;
    assert_eq!(t.scene.stage(&inside), Stage::MtuExceeded);
}

fn answer_to(t: &mut TwoTier, packet: &atoll_fabric::Packet) -> Option<Answer> {
    match t.scene.send(packet).verdict {
        Verdict::Drop(drop) => drop.answer,
        Verdict::Forward(_) => panic!("forwarded"),
    }
}

#[test]
fn too_big_is_answered_as_far_as_acl_and_groups_let_the_answer_in() {
    // semantics 31, 51, 130
    let mut t = two_tier();
    let (vpc, group) = (t.vpc, t.web_group);
    let mut v4 = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    (v4.length, v4.dont_fragment) = (4000, true);
    let mut v6 = t.scene.syn(t.web, ip(OUTSIDE_V6), 40000, 80);
    v6.length = 4000;
    assert_eq!(answer_to(&mut t, &v4), None, "the group lets no ICMP in");
    assert_eq!(answer_to(&mut t, &v6), None);
    t.scene.set_group(
        group,
        &[
            "in icmp/3:4 0.0.0.0/0",
            "in icmp6/2:0 ::/0",
            OUT_ALL[0],
            OUT_ALL[1],
        ],
    );
    let from = ip("10.0.0.1");
    assert_eq!(answer_to(&mut t, &v4), Some(Answer::TooBig { from, mtu: 1500 }));
    let from = ip("2001:db8:1::1");
    assert_eq!(answer_to(&mut t, &v6), Some(Answer::TooBig { from, mtu: 1500 }));
    t.scene.acl(
        vpc,
        &[t.public],
        &[
            "in 100 allow tcp 0.0.0.0/0",
            "out 100 allow all 0.0.0.0/0",
            "out 101 allow all ::/0",
        ],
    );
    assert_eq!(answer_to(&mut t, &v4), None, "the ACL lets no ICMP in");
    assert_eq!(answer_to(&mut t, &v6), None);
}

#[test]
fn a_spent_hop_limit_ends_at_the_gateway_and_is_answered() {
    // semantics 31: traceroute needs ICMP 11/0
    let mut t = two_tier();
    let group = t.web_group;
    t.scene.set_group(group, &["in icmp/11:0 0.0.0.0/0", OUT_ALL[0]]);
    let mut probe = t.scene.udp(t.web, ip(OUTSIDE), 40000, 33434);
    probe.hop_limit = 1;
    let outcome = t.scene.send(&probe);
    assert_eq!(outcome.stage(), Stage::HopLimit);
    let Verdict::Drop(drop) = outcome.verdict else {
        panic!("{outcome:?}");
    };
    let from = ip("10.0.0.1");
    assert_eq!(drop.answer, Some(Answer::TimeExceeded { from }));
    probe.hop_limit = 2;
    assert_eq!(t.scene.stage(&probe), Stage::ExitsToInternet);
    let mut inside = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    inside.hop_limit = 1;
    assert_eq!(
        t.scene.stage(&inside),
        Stage::Delivered,
        "the router within a VPC is no hop"
    );
    // A later fragment and an ICMP error are never answered.
    probe.hop_limit = 1;
    probe.fragment = Some(Fragment {
        id: 1,
        offset: 8,
        more: false,
    });
    assert_eq!(answer_to(&mut t, &probe), None);
}

/// An appliance in a subnet of its own between the gateway and the web tier.
fn with_appliance(t: &mut TwoTier) -> atoll_model::EniId {
    let (vpc, igw) = (t.vpc, t.igw);
    let middle = t.scene.subnet(vpc, "10.0.2.0/24", None);
    let table = t.scene.table_for(middle);
    t.scene
        .route(table, "0.0.0.0/0", RouteTarget::InternetGateway(igw));
    let open = t.scene.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let appliance = t.scene.eni(middle, &[open]);
    t.scene.change_eni(appliance, |eni| eni.source_dest_check = false);
    let edge = t.scene.edge_table(igw, vpc.id);
    t.scene
        .route(edge, "10.0.0.0/24", RouteTarget::NetworkInterface(appliance));
    appliance
}

#[test]
fn an_edge_table_leads_what_comes_in_to_an_appliance() {
    // semantics 14, 15, 16
    let mut t = two_tier();
    let appliance = with_appliance(&mut t);
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::EdgeRtbNoPublicIp);
    t.scene.elastic(appliance);
    let outcome = t.scene.send(&syn);
    let got = outcome.forwarded(&syn).unwrap();
    assert_eq!(got.dst, t.scene.addr(t.web), "translated, then led round");
    assert!(matches!(outcome.verdict, Verdict::Forward(a) if a.out == atoll_fabric::Port::Eni(appliance)));
    t.scene.set_state(appliance, InstanceState::Stopped);
    assert_eq!(t.scene.stage(&syn), Stage::BlackholeRoute);
}

#[test]
fn what_an_edge_table_does_not_lead_elsewhere_goes_straight_in() {
    // semantics 14, 15
    let mut t = two_tier();
    with_appliance(&mut t);
    let vpc = t.vpc;
    let beside = t.scene.subnet(vpc, "10.0.3.0/24", None);
    let eni = t.scene.eni(beside, &[t.web_group]);
    let public = t.scene.elastic(eni);
    let syn = t.scene.syn_in(OUTSIDE, public, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
}

#[test]
fn a_redirected_subnet_answers_by_its_appliance_only() {
    // semantics 18, 19
    let mut t = two_tier();
    let appliance = with_appliance(&mut t);
    t.scene.elastic(appliance);
    let direct = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    assert_eq!(t.scene.stage(&direct), Stage::SpoofedAtGateway);
    let table = t.public_table;
    t.scene
        .route(table, "0.0.0.0/0", RouteTarget::NetworkInterface(appliance));
    let outcome = t.scene.send(&direct);
    assert_eq!(outcome.stage(), Stage::Delivered, "at the appliance");
    let mut on = outcome.forwarded(&direct).unwrap();
    let link = t.scene.fabric.link(appliance).unwrap();
    on.ingress = atoll_fabric::Port::Eni(appliance);
    (on.src_mac, on.dst_mac) = (link.mac, link.router_mac);
    let out = t.scene.send(&on);
    assert_eq!(out.stage(), Stage::ExitsToInternet);
    assert_eq!(out.forwarded(&on).unwrap().src, t.web_public);
}

#[test]
fn an_edge_table_without_a_route_drops() {
    // semantics 15
    let mut t = two_tier();
    with_appliance(&mut t);
    let edge = {
        let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
        t.scene.stage(&syn);
        let hop = t.scene.hops.iter().find_map(|h| match h.place {
            atoll_fabric::Place::RouteTable(id) => Some(id),
            _ => None,
        });
        hop.unwrap()
    };
    let mut row = t.scene.table_row(edge);
    row.routes.clear();
    t.scene.put(row);
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::NoRoute);
    t.scene.delete(Key::RouteTable(edge));
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
}

#[test]
fn an_egress_only_gateway_forgets_and_takes_nothing_new() {
    // semantics 75
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE_V6), 40000, 443);
    let outcome = t.scene.send(&syn);
    let answer = t.scene.answer(&syn, &outcome);
    assert_eq!(t.scene.stage(&answer), Stage::Delivered);
    let mut other_port = answer;
    other_port.l4 = atoll_fabric::L4::Ports {
        src: 443,
        dst: 40001,
        tcp_flags: 0x12,
    };
    assert_eq!(t.scene.stage(&other_port), Stage::EigwInbound);
    t.scene.after(351);
    assert_eq!(t.scene.stage(&acked(&answer)), Stage::EigwInbound);
    let ping = t.scene.ping(t.db, ip(OUTSIDE_V6), 5);
    assert_eq!(
        t.scene.exchange(&ping),
        (Stage::ExitsToInternet, Stage::Delivered)
    );
}

#[test]
fn an_egress_only_gateway_lets_errors_in_about_what_it_let_out() {
    // semantics 75, 130
    let mut t = two_tier();
    let group = t.db_group;
    t.scene.set_group(group, &["in icmp6 ::/0", OUT_ALL[1]]);
    let syn = t.scene.syn(t.db, ip(OUTSIDE_V6), 40000, 443);
    let outcome = t.scene.send(&syn);
    let error = t.scene.error(&syn, &outcome, Some("2001:db8:eeee::1"), 2, 0);
    assert_eq!(t.scene.stage(&error), Stage::Delivered);
    let mut foreign = error;
    foreign.quote.as_mut().unwrap().dst = ip("2001:db8:eeee::77");
    assert_eq!(t.scene.stage(&foreign), Stage::EigwInbound);
}

#[test]
fn an_egress_only_gateway_takes_only_sources_of_its_vpc() {
    let mut t = two_tier();
    t.scene.change_eni(t.db, |eni| eni.source_dest_check = false);
    let mut syn = t.scene.syn(t.db, ip(OUTSIDE_V6), 40000, 443);
    syn.src = ip("2001:db8:9::1");
    assert_eq!(t.scene.stage(&syn), Stage::SpoofedAtGateway);
    let ula = t.scene.syn(t.db, ip("fd12::1"), 40000, 443);
    assert_eq!(t.scene.stage(&ula), Stage::PrivateDstAtInternet);
}

#[test]
fn a_private_nat_gateway_has_no_way_through_an_internet_gateway() {
    // semantics 70
    let mut t = two_tier();
    let (nat, _) = t.scene.nat(t.public, Connectivity::Private);
    let table = t.private_table;
    t.scene.route(table, "0.0.0.0/0", RouteTarget::NatGateway(nat));
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 40000, 443);
    assert_eq!(t.scene.stage(&syn), Stage::IgwNoPublicAddress);
}
