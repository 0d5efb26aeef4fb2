//! ICMP errors: packets of their own, judged by ACLs and groups, translated outside and inside (semantics 31, 51).

use std::net::IpAddr;

use atoll_fabric::{L4, Stage, Verdict};

use crate::scene::{OUT_ALL, OUTSIDE, ip, two_tier};

#[test]
fn an_error_needs_a_rule_of_its_own_also_about_a_tracked_connection() {
    // semantics 51
    let mut t = two_tier();
    let group = t.web_group;
    let syn = t.scene.syn(t.web, ip(OUTSIDE), 40000, 80);
    let outcome = t.scene.send(&syn);
    let error = t.scene.error(&syn, &outcome, Some("203.0.113.254"), 3, 4);
    assert_eq!(t.scene.stage(&error), Stage::SecurityGroupIngress);
    t.scene.set_group(group, &["in icmp/3:4 0.0.0.0/0", OUT_ALL[0]]);
    let outcome = t.scene.send(&error);
    assert_eq!((outcome.stage(), outcome.hold), (Stage::Delivered, 0));
    let got = outcome.forwarded(&error).unwrap();
    assert_eq!(got.dst, t.scene.addr(t.web));
    assert_eq!(
        got.quote.unwrap().src,
        t.scene.addr(t.web),
        "the quoted source is the one it knows"
    );
    let vpc = t.vpc;
    t.scene.acl(vpc, &[t.public], &["in 100 allow tcp 0.0.0.0/0"]);
    assert_eq!(t.scene.stage(&error), Stage::NaclIngress); // semantics 31
}

#[test]
fn an_error_comes_back_through_a_nat_gateway_to_who_sent_the_packet() {
    // semantics 31, 79
    let mut t = two_tier();
    let group = t.db_group;
    t.scene.set_group(group, &["in icmp 0.0.0.0/0", OUT_ALL[0]]);
    for packet in [
        t.scene.syn(t.db, ip(OUTSIDE), 5000, 443),
        t.scene.ping(t.db, ip(OUTSIDE), 77),
    ] {
        let outcome = t.scene.send(&packet);
        let error = t.scene.error(&packet, &outcome, Some("203.0.113.254"), 11, 0);
        let back = t.scene.send(&error);
        assert_eq!(back.stage(), Stage::Delivered);
        let got = back.forwarded(&error).unwrap();
        assert_eq!((got.src, got.dst), (ip("203.0.113.254"), packet.src));
        let quote = got.quote.unwrap();
        assert_eq!((quote.src, quote.dst), (packet.src, packet.dst));
        match (quote.l4, packet.l4) {
            (L4::Ports { src: a, .. }, L4::Ports { src: b, .. }) => assert_eq!(a, b),
            (L4::Icmp { id: a, .. }, L4::Icmp { id: b, .. }) => assert_eq!(a, b),
            other => panic!("{other:?}"),
        }
        let mut foreign = error;
        foreign.quote.as_mut().unwrap().dst = ip("198.51.100.77");
        assert_eq!(t.scene.stage(&foreign), Stage::NatNoMapping);
        foreign.quote = None;
        assert_eq!(t.scene.stage(&foreign), Stage::NatNoMapping, "unreadable");
    }
}

#[test]
fn an_error_goes_out_through_a_nat_gateway_about_what_came_in() {
    // semantics 79
    let mut t = two_tier();
    let udp = t.scene.udp(t.db, ip(OUTSIDE), 5000, 53);
    let outcome = t.scene.send(&udp);
    let answer = t.scene.answer(&udp, &outcome);
    let back = t.scene.send(&answer);
    // The port is closed by now: the database says so.
    let unreachable = t.scene.error(&answer, &back, None, 3, 3);
    let out = t.scene.send(&unreachable);
    assert_eq!(out.stage(), Stage::ExitsToInternet);
    let seen = out.forwarded(&unreachable).unwrap();
    let public = t.scene.eni_row(t.nat_eni).private_addresses[0].public.unwrap().ip;
    assert_eq!(seen.src, IpAddr::V4(public));
    let quote = seen.quote.unwrap();
    assert_eq!((quote.src, quote.dst), (ip(OUTSIDE), IpAddr::V4(public)));
    assert_eq!(quote.l4, answer.l4, "as it was seen outside");
}

#[test]
fn an_error_goes_out_through_an_internet_gateway() {
    // semantics 66
    let mut t = two_tier();
    let group = t.web_group;
    t.scene.set_group(group, &["in udp 0.0.0.0/0", OUT_ALL[0]]);
    let mut udp = t.scene.syn_in(OUTSIDE, t.web_public, 5000, 53);
    udp.protocol = 17;
    let outcome = t.scene.send(&udp);
    let unreachable = t.scene.error(&udp, &outcome, None, 3, 3);
    let out = t.scene.send(&unreachable);
    let seen = out.forwarded(&unreachable).unwrap();
    assert_eq!(seen.src, t.web_public);
    assert_eq!(seen.quote.unwrap().dst, t.web_public);
    let Verdict::Forward(action) = out.verdict else {
        panic!("{out:?}");
    };
    assert!(!action.quote.is_empty() && !action.rewrite.is_empty());
}

#[test]
fn an_error_is_never_answered_by_an_error() {
    let mut t = two_tier();
    let group = t.web_group;
    t.scene
        .set_group(group, &["in icmp 0.0.0.0/0", "in udp 0.0.0.0/0", OUT_ALL[0]]);
    let mut udp = t.scene.syn_in(OUTSIDE, t.web_public, 5000, 53);
    udp.protocol = 17;
    let outcome = t.scene.send(&udp);
    let mut error = t.scene.error(&udp, &outcome, None, 3, 3);
    error.hop_limit = 1;
    let spent = t.scene.send(&error);
    assert_eq!(spent.stage(), Stage::HopLimit);
    assert!(matches!(spent.verdict, Verdict::Drop(d) if d.answer.is_none()));
}
