//! The ways of a two-tier VPC, forth and back.

use atoll_fabric::{Decision, Place, RuleRef, Stage, Verdict};
use atoll_model::Direction;

use crate::scene::{OUTSIDE, OUTSIDE_V6, ip, two_tier};

#[test]
fn the_internet_reaches_the_web_tier_on_its_public_address() {
    // semantics 66: the instance knows only its private address
    let mut t = two_tier();
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.stage(), Stage::Delivered);
    let got = outcome.forwarded(&syn).unwrap();
    assert_eq!((got.src, got.dst), (ip(OUTSIDE), t.scene.addr(t.web)));

    let answer = t.scene.answer(&syn, &outcome);
    let back = t.scene.send(&answer);
    assert_eq!(back.stage(), Stage::ExitsToInternet);
    let out = back.forwarded(&answer).unwrap();
    assert_eq!((out.src, out.dst), (t.web_public, ip(OUTSIDE)));
}

#[test]
fn the_internet_does_not_reach_the_database() {
    let mut t = two_tier();
    let db = t.scene.addr(t.db);
    let syn = t.scene.syn_in(OUTSIDE, db, 40000, 5432);
    assert_eq!(t.scene.stage(&syn), Stage::IgwUnknownPublicDestination);
}

#[test]
fn the_web_tier_reaches_the_database_by_group_reference_and_not_the_other_way() {
    // semantics 38
    let mut t = two_tier();
    let (web, db) = (t.scene.addr(t.web), t.scene.addr(t.db));
    let syn = t.scene.syn(t.web, db, 40000, 5432);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::Delivered));
    let back = t.scene.syn(t.db, web, 40000, 443);
    assert_eq!(t.scene.stage(&back), Stage::SecurityGroupIngress);
}

#[test]
fn the_database_reaches_the_internet_through_the_nat_gateway() {
    // semantics 79
    let mut t = two_tier();
    let syn = t.scene.syn(t.db, ip(OUTSIDE), 40000, 443);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.stage(), Stage::ExitsToInternet);
    let out = outcome.forwarded(&syn).unwrap();
    let (nat_public, _) = {
        let row = t.scene.eni_row(t.nat_eni);
        (row.private_addresses[0].public.unwrap().ip, ())
    };
    assert_eq!(out.src, std::net::IpAddr::V4(nat_public));
    assert_eq!(out.hop_limit, syn.hop_limit - 2, "each gateway is a hop");
    let answer = t.scene.answer(&syn, &outcome);
    let back = t.scene.send(&answer);
    assert_eq!(back.stage(), Stage::Delivered);
    let got = back.forwarded(&answer).unwrap();
    assert_eq!((got.src, got.dst), (ip(OUTSIDE), t.scene.addr(t.db)));
    assert_eq!(got.l4, {
        let turned = t.scene.answer(&syn, &outcome).l4;
        match turned {
            atoll_fabric::L4::Ports { src, tcp_flags, .. } => atoll_fabric::L4::Ports {
                src,
                dst: 40000,
                tcp_flags,
            },
            other => other,
        }
    });
}

#[test]
fn ipv6_comes_in_by_the_internet_gateway_and_only_out_by_the_egress_only_one() {
    // semantics 75
    let mut t = two_tier();
    let (web, db) = (t.scene.addr6(t.web), t.scene.addr6(t.db));
    let syn = t.scene.syn_in(OUTSIDE_V6, web, 40000, 80);
    let outcome = t.scene.send(&syn);
    assert_eq!(outcome.stage(), Stage::Delivered);
    assert_eq!(outcome.forwarded(&syn).unwrap().dst, web, "untranslated");
    let answer = t.scene.answer(&syn, &outcome);
    assert_eq!(t.scene.stage(&answer), Stage::ExitsToInternet);

    let unsolicited = t.scene.syn_in(OUTSIDE_V6, db, 40000, 5432);
    assert_eq!(t.scene.stage(&unsolicited), Stage::EigwInbound);
    let syn = t.scene.syn(t.db, ip(OUTSIDE_V6), 40000, 443);
    assert_eq!(t.scene.exchange(&syn), (Stage::ExitsToInternet, Stage::Delivered));
}

#[test]
fn hops_come_in_the_order_in_which_aws_shows_them() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 443);
    t.scene.send(&syn);
    let places: Vec<Place> = t.scene.hops.iter().map(|h| h.place).collect();
    assert_eq!(
        places,
        [
            Place::Interface(t.web),
            Place::SecurityGroups(t.web, Direction::Egress),
            Place::NetworkAcl(t.vpc.acl, t.public, Direction::Egress),
            Place::RouteTable(t.public_table),
            Place::InternetGateway(t.igw),
            Place::Internet,
        ]
    );
    assert!(
        matches!(t.scene.hops[1].rule, Some(RuleRef::SecurityGroup { group, .. }) if group == t.web_group)
    );
    assert!(matches!(
        t.scene.hops[2].rule,
        Some(RuleRef::NetworkAcl {
            number: Some(100),
            ..
        })
    ));
    assert!(matches!(t.scene.hops[3].decision, Decision::Routed(_)));
    assert_eq!(t.scene.hops[5].decision, Decision::Exited);
}

#[test]
fn a_drop_names_place_and_rule_as_its_last_hop() {
    let mut t = two_tier();
    let vpc = t.vpc;
    t.scene.acl(
        vpc,
        &[t.private],
        &["in 100 deny tcp/5432 0.0.0.0/0", "in 110 allow all 0.0.0.0/0"],
    );
    let db = t.scene.addr(t.db);
    let syn = t.scene.syn(t.web, db, 40000, 5432);
    let outcome = t.scene.send(&syn);
    let Verdict::Drop(drop) = outcome.verdict else {
        panic!("{outcome:?}");
    };
    assert_eq!(drop.stage, Stage::NaclIngress);
    assert!(matches!(
        drop.rule,
        Some(RuleRef::NetworkAcl {
            number: Some(100),
            ..
        })
    ));
    let last = t.scene.hops.last().unwrap();
    assert_eq!((last.place, last.rule), (drop.at, drop.rule));
    assert_eq!(last.decision, Decision::Dropped(Stage::NaclIngress));
}
