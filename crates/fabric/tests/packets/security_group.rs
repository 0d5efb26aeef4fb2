//! Security groups (semantics 35-42, 50, 52).

use atoll_fabric::{RuleRef, Stage};
use atoll_model::{Key, RouteTarget};

use crate::scene::{OUT_ALL, OUTSIDE, ip, two_tier};

#[test]
fn groups_of_an_interface_form_one_union() {
    // semantics 35
    let mut t = two_tier();
    let vpc = t.vpc;
    let ssh = t.scene.group(vpc, &["in tcp/22 10.0.0.0/16"]);
    let db = t.scene.addr(t.db);
    let syn = t.scene.syn(t.web, db, 40000, 22);
    assert_eq!(t.scene.stage(&syn), Stage::SecurityGroupIngress);
    let group = t.db_group;
    t.scene.change_eni(t.db, |eni| eni.groups = vec![ssh, group]);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    assert!(
        t.scene
            .hops
            .iter()
            .any(|h| matches!(h.rule, Some(RuleRef::SecurityGroup { group, .. }) if group == ssh))
    );
    let sql = t.scene.syn(t.web, db, 40001, 5432);
    assert_eq!(t.scene.stage(&sql), Stage::Delivered);
}

#[test]
fn without_outbound_rules_nothing_goes_out_but_replies() {
    // semantics 35, 43
    let mut t = two_tier();
    let group = t.web_group;
    t.scene.set_group(group, &["in tcp/80 0.0.0.0/0"]);
    let out = t.scene.syn(t.web, ip(OUTSIDE), 40000, 443);
    assert_eq!(t.scene.stage(&out), Stage::SecurityGroupEmpty);
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::ExitsToInternet));
    t.scene
        .set_group(group, &["in tcp/80 0.0.0.0/0", "out tcp/80 0.0.0.0/0"]);
    assert_eq!(t.scene.stage(&out), Stage::SecurityGroupEgress);
}

#[test]
fn two_interfaces_of_an_instance_answer_differently() {
    // semantics 36
    let mut t = two_tier();
    let vpc = t.vpc;
    let closed = t.scene.group(vpc, &[OUT_ALL[0]]);
    let second = t.scene.eni(t.private, &[closed]);
    let instance = t.scene.eni_row(t.db).attachment.unwrap().instance;
    t.scene.change_eni(second, |eni| {
        let attachment = eni.attachment.as_mut().unwrap();
        attachment.instance = instance;
        attachment.device_index = 1;
    });
    let first = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    let other = t.scene.syn(t.web, t.scene.addr(second), 40000, 5432);
    assert_eq!(t.scene.stage(&first), Stage::Delivered);
    assert_eq!(t.scene.stage(&other), Stage::SecurityGroupEmpty);
}

#[test]
fn a_group_without_inbound_rules_is_empty_to_what_comes_in() {
    // semantics 37: a new group lets nothing in and everything out
    let mut t = two_tier();
    let vpc = t.vpc;
    let fresh = t.scene.group(vpc, &OUT_ALL);
    let eni = t.scene.eni(t.private, &[fresh]);
    let syn = t.scene.syn(t.web, t.scene.addr(eni), 40000, 22);
    assert_eq!(t.scene.stage(&syn), Stage::SecurityGroupEmpty);
    let out = t.scene.syn(eni, t.scene.addr(t.web), 40000, 80);
    assert_eq!(t.scene.stage(&out), Stage::Delivered);
}

#[test]
fn a_group_may_refer_to_itself() {
    // semantics 37: the default group allows all from itself
    let mut t = two_tier();
    let vpc = t.vpc;
    let group = t.scene.group(vpc, &OUT_ALL);
    t.scene
        .set_group(group, &[&format!("in all {group}"), OUT_ALL[0]]);
    let (a, b) = (t.scene.eni(t.public, &[group]), t.scene.eni(t.private, &[group]));
    let syn = t.scene.syn(a, t.scene.addr(b), 40000, 9999);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let foreign = t.scene.syn(t.web, t.scene.addr(b), 40000, 9999);
    assert_eq!(t.scene.stage(&foreign), Stage::SecurityGroupIngress);
}

#[test]
fn a_reference_stands_for_private_addresses_only() {
    // semantics 38, 71: round by the public address the source is the public one
    let mut t = two_tier();
    let group = t.db_group;
    let peer = t.scene.eni(t.public, &[group]);
    let public = t.scene.elastic(peer);
    let private = t.scene.addr(peer);
    let inside = t.scene.syn(t.web, private, 40000, 5432);
    assert_eq!(t.scene.stage(&inside), Stage::Delivered);
    let round = t.scene.syn(t.web, public, 40001, 5432);
    assert_eq!(t.scene.stage(&round), Stage::SecurityGroupIngress);
    // And outwards: a rule that refers to the peer's group is not about its public address.
    let web_group = t.web_group;
    t.scene.set_group(
        web_group,
        &["in tcp/80 0.0.0.0/0", &format!("out tcp/5432 {group}")],
    );
    let inside = t.scene.syn(t.web, private, 40002, 5432);
    assert_eq!(t.scene.stage(&inside), Stage::Delivered);
    let round = t.scene.syn(t.web, public, 40003, 5432);
    assert_eq!(t.scene.stage(&round), Stage::SecurityGroupEgress);
}

#[test]
fn a_reference_matches_every_private_address_of_a_member_in_both_families() {
    // semantics 38
    let mut t = two_tier();
    let second = ip("10.0.0.200");
    t.scene.change_eni(t.web, |eni| {
        eni.private_addresses
            .push(atoll_model::network_interface::PrivateAddress {
                ip: crate::scene::as_v4(second),
                public: None,
            });
    });
    let mut syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    syn.src = second;
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let v6 = t.scene.syn(t.web, t.scene.addr6(t.db), 40000, 5432);
    assert_eq!(t.scene.stage(&v6), Stage::Delivered);
}

#[test]
fn membership_follows_the_interface_at_once() {
    // semantics 38
    let mut t = two_tier();
    let vpc = t.vpc;
    let other = t.scene.group(vpc, &OUT_ALL);
    let client = t.scene.eni(t.public, &[other]);
    let syn = t.scene.syn(client, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.stage(&syn), Stage::SecurityGroupIngress);
    let web_group = t.web_group;
    t.scene.change_eni(client, |eni| eni.groups.push(web_group));
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
}

#[test]
fn a_reference_to_a_group_that_is_gone_matches_nothing() {
    // semantics 40
    let mut t = two_tier();
    let vpc = t.vpc;
    let client_group = t.scene.group(vpc, &OUT_ALL);
    let group = t.db_group;
    t.scene.set_group(group, &[&format!("in all {client_group}")]);
    let client = t.scene.eni(t.public, &[client_group]);
    let syn = t.scene.syn(client, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    let web_group = t.web_group;
    t.scene.change_eni(client, |eni| eni.groups = vec![web_group]);
    t.scene.delete(Key::SecurityGroup(client_group));
    let again = t.scene.syn(client, t.scene.addr(t.db), 40001, 5432);
    assert_eq!(t.scene.stage(&again), Stage::SecurityGroupIngress);
}

#[test]
fn a_reference_does_not_match_what_went_through_a_middlebox() {
    // semantics 20, 21
    let mut t = two_tier();
    let vpc = t.vpc;
    let middle = t.scene.subnet(vpc, "10.0.2.0/24", None);
    let open = t.scene.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let appliance = t.scene.eni(middle, &[open]);
    t.scene.change_eni(appliance, |eni| eni.source_dest_check = false);
    let (table, db) = (t.public_table, t.scene.addr(t.db));
    t.scene
        .route(table, "10.0.1.0/24", RouteTarget::NetworkInterface(appliance));
    let syn = t.scene.syn(t.web, db, 40000, 5432);
    let outcome = t.scene.send(&syn);
    let got = outcome.forwarded(&syn).unwrap();
    assert_eq!(outcome.stage(), Stage::Delivered, "at the appliance");

    // The appliance forwards what it got.
    let mut on = got;
    let link = t.scene.fabric.link(appliance).unwrap();
    on.ingress = atoll_fabric::Port::Eni(appliance);
    (on.src_mac, on.dst_mac) = (link.mac, link.router_mac);
    assert_eq!(t.scene.stage(&on), Stage::SecurityGroupIngress);
    let group = t.db_group;
    t.scene.set_group(group, &["in tcp/5432 10.0.0.0/24"]);
    assert_eq!(t.scene.stage(&on), Stage::Delivered);
}

#[test]
fn an_icmp_code_without_a_type_matches_nothing() {
    // semantics 50
    let mut t = two_tier();
    let group = t.db_group;
    let db = t.scene.addr(t.db);
    let ping = t.scene.ping(t.web, db, 1);
    for (rule, expected) in [
        ("in icmp/-1:0 0.0.0.0/0", Stage::SecurityGroupIngress),
        ("in icmp/8:-1 0.0.0.0/0", Stage::Delivered),
        ("in icmp/8:1 0.0.0.0/0", Stage::SecurityGroupIngress),
        ("in icmp6 ::/0", Stage::SecurityGroupIngress),
    ] {
        t.scene.set_group(group, &[rule]);
        t.scene.after(3600);
        assert_eq!(t.scene.stage(&ping), expected, "{rule}");
    }
}

#[test]
fn a_thousand_rules_on_an_interface_decide_as_each_alone_would() {
    // semantics 52
    let mut t = two_tier();
    let group = t.db_group;
    let rules: Vec<String> = (0..1000u32)
        .map(|i| format!("in tcp/{} 10.0.{}.0/24", 1000 + i, i % 200))
        .collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    t.scene.set_group(group, &rules);
    let db = t.scene.addr(t.db);
    for port in [1000u16, 1200, 1001, 1999, 2000] {
        let syn = t.scene.syn(t.web, db, 40000, port);
        let open = port < 2000 && (port - 1000) % 200 == 0;
        let expected = if open {
            Stage::Delivered
        } else {
            Stage::SecurityGroupIngress
        };
        assert_eq!(t.scene.stage(&syn), expected, "{port}");
    }
}
