//! Network ACLs (semantics 22-34).

use atoll_fabric::{L4, RuleRef, Stage, Verdict};
use atoll_model::{Key, NetworkAclId};

use crate::scene::{OUTSIDE, Scene, acked, two_tier};

fn number(s: &Scene) -> Option<Option<u16>> {
    s.hops.iter().rev().find_map(|hop| match hop.rule {
        Some(RuleRef::NetworkAcl { number, .. }) => Some(number),
        _ => None,
    })
}

#[test]
fn the_first_match_in_order_of_number_decides_and_the_rest_is_denied() {
    // semantics 22
    let mut t = two_tier();
    let vpc = t.vpc;
    let acl = t.scene.acl(
        vpc,
        &[t.public],
        &[
            "in 110 allow tcp/80 0.0.0.0/0",
            "in 100 deny tcp/80 198.51.100.0/24",
            "out 100 allow all 0.0.0.0/0",
        ],
    );
    let from_denied = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&from_denied), Stage::NaclIngress);
    assert_eq!(number(&t.scene), Some(Some(100)));
    let from_allowed = t.scene.syn_in("203.0.113.5", t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&from_allowed), Stage::Delivered);
    assert_eq!(number(&t.scene), Some(Some(110)));
    let other_port = t.scene.syn_in("203.0.113.1", t.web_public, 40000, 22);
    assert_eq!(t.scene.stage(&other_port), Stage::NaclIngress);
    assert_eq!(number(&t.scene), Some(None), "the final *");
    t.scene.set_acl(acl, &["in 110 allow tcp/80 0.0.0.0/0"]);
    assert_eq!(t.scene.stage(&from_denied), Stage::Delivered);
}

#[test]
fn it_is_asked_only_at_the_edge_of_the_subnet() {
    // semantics 10, 23
    let mut t = two_tier();
    let vpc = t.vpc;
    let neighbour = t.scene.eni(t.public, &[t.web_group]);
    t.scene.acl(vpc, &[t.public], &[]);
    let to_neighbour = t.scene.syn(t.web, t.scene.addr(neighbour), 40000, 80);
    assert_eq!(t.scene.stage(&to_neighbour), Stage::Delivered);
    // Also when the guest sends it to the router, which sends it back into the same subnet.
    let mut by_router = to_neighbour;
    by_router.dst_mac = t.scene.fabric.link(t.web).unwrap().router_mac;
    assert_eq!(t.scene.stage(&by_router), Stage::Delivered);
    let out = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.stage(&out), Stage::NaclEgress);
}

#[test]
fn replies_need_a_rule_of_their_own() {
    // semantics 24, 25
    let mut t = two_tier();
    let vpc = t.vpc;
    let acl = t.scene.acl(vpc, &[t.public], &["in 100 allow tcp/80 0.0.0.0/0"]);
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::NaclEgress));
    t.scene.set_acl(
        acl,
        &[
            "in 100 allow tcp/80 0.0.0.0/0",
            "out 100 allow tcp/32768-60999 0.0.0.0/0",
        ],
    );
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::ExitsToInternet));
}

#[test]
fn a_denying_rule_cuts_an_established_flow() {
    // semantics 28
    let mut t = two_tier();
    let db = t.scene.addr(t.db);
    let syn = t.scene.syn(t.web, db, 40000, 5432);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::Delivered));
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::Delivered);
    let vpc = t.vpc;
    t.scene.acl(
        vpc,
        &[t.private],
        &[
            "in 99 deny tcp/5432 0.0.0.0/0",
            "in 100 allow all 0.0.0.0/0",
            "out 100 allow all 0.0.0.0/0",
        ],
    );
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::NaclIngress);
}

#[test]
fn a_new_acl_denies_all_and_a_subnet_without_one_has_the_default_one() {
    // semantics 26
    let mut t = two_tier();
    let vpc = t.vpc;
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let acl = t.scene.acl(vpc, &[t.public], &[]);
    assert_eq!(t.scene.stage(&syn), Stage::NaclIngress);
    t.scene.delete(Key::NetworkAcl(acl));
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let Verdict::Forward(_) = t.scene.send(&syn).verdict else {
        panic!("the default ACL allows all");
    };
    assert!(t.scene.hops.iter().any(|h| {
        matches!(h.rule, Some(RuleRef::NetworkAcl { acl, .. }) if acl == vpc.acl && acl != NetworkAclId::new(0))
    }));
}

#[test]
fn families_are_apart() {
    // semantics 27
    let mut t = two_tier();
    let vpc = t.vpc;
    t.scene.acl(
        vpc,
        &[t.public],
        &["in 100 allow all 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
    );
    let v4 = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    let v6 = t
        .scene
        .syn_in("2001:db8:ffff::1", t.scene.addr6(t.web), 40000, 80);
    assert_eq!(t.scene.stage(&v4), Stage::Delivered);
    assert_eq!(t.scene.stage(&v6), Stage::NaclIngress);
}

#[test]
fn icmp_is_judged_by_type_and_code_and_other_protocols_by_number() {
    // semantics 31, 50
    let mut t = two_tier();
    let vpc = t.vpc;
    t.scene.acl(
        vpc,
        &[t.private],
        &[
            "in 100 allow icmp/8:0 0.0.0.0/0",
            "in 110 allow 47 0.0.0.0/0",
            "out 100 allow all 0.0.0.0/0",
        ],
    );
    let group = t.db_group;
    t.scene.set_group(group, &["in all 0.0.0.0/0"]);
    let db = t.scene.addr(t.db);
    let ping = t.scene.ping(t.web, db, 7);
    assert_eq!(t.scene.stage(&ping), Stage::Delivered);
    let mut timestamp = ping;
    timestamp.l4 = L4::Icmp {
        kind: 13,
        code: 0,
        id: 7,
    };
    assert_eq!(t.scene.stage(&timestamp), Stage::NaclIngress);
    let gre = t.scene.other(t.web, db, 47);
    assert_eq!(t.scene.stage(&gre), Stage::Delivered);
    let esp = t.scene.other(t.web, db, 50);
    assert_eq!(t.scene.stage(&esp), Stage::NaclIngress);
}

#[test]
fn a_later_fragment_without_ports_passes_only_rules_about_every_port() {
    // semantics 22: a rule about some ports cannot be about a packet that has none
    let mut t = two_tier();
    let vpc = t.vpc;
    let acl = t.scene.acl(
        vpc,
        &[t.private],
        &[
            "in 100 allow udp/1-65535 0.0.0.0/0",
            "out 100 allow all 0.0.0.0/0",
        ],
    );
    let group = t.db_group;
    t.scene.set_group(group, &["in udp 10.0.0.0/16"]);
    let mut later = t.scene.udp(t.web, t.scene.addr(t.db), 5000, 53);
    later.l4 = L4::Other;
    later.fragment = Some(atoll_fabric::Fragment {
        id: 9,
        offset: 1480,
        more: false,
    });
    assert_eq!(t.scene.stage(&later), Stage::NaclIngress);
    t.scene.set_acl(
        acl,
        &["in 100 allow udp 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
    );
    assert_eq!(t.scene.stage(&later), Stage::Delivered);
}
