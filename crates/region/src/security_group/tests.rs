use atoll_model::IcmpMatch;
use atoll_net::PortRange;

use super::*;
use crate::fixture::Lab;
use crate::vpc::CreateDefaultVpc;

fn create(vpc: VpcId, name: &str) -> CreateSecurityGroup {
    CreateSecurityGroup {
        name: name.into(),
        description: "for a test".into(),
        vpc: Some(vpc),
        tags: Tags::new(),
    }
}

fn rule(words: (&str, i32, i32), peer: Peer) -> RuleSpec {
    RuleSpec {
        traffic: traffic(words.0, Some(words.1), Some(words.2)).unwrap(),
        peer,
        description: None,
    }
}

fn block(text: &str) -> Peer {
    let family = if text.contains(':') {
        Family::V6
    } else {
        Family::V4
    };
    cidr(text, family).unwrap()
}

fn group_peer(id: SecurityGroupId) -> Peer {
    Peer::Group {
        id,
        owner: AccountId::DEFAULT,
        peering: None,
    }
}

fn ingress(group: SecurityGroupId, rules: Vec<RuleSpec>) -> AuthorizeSecurityGroup {
    AuthorizeSecurityGroup {
        group: group.into(),
        direction: Direction::Ingress,
        rules,
        tags: Tags::new(),
    }
}

fn revoke(
    group: SecurityGroupId,
    rules: Vec<RuleSpec>,
    ids: Vec<SecurityGroupRuleId>,
) -> RevokeSecurityGroup {
    RevokeSecurityGroup {
        group: group.into(),
        direction: Direction::Ingress,
        rules,
        ids,
    }
}

/// semantics 37
#[test]
fn a_new_group_lets_nothing_in_and_everything_out_in_each_family_the_vpc_has() {
    for (ipv6, outbound) in [(false, vec!["0.0.0.0/0"]), (true, vec!["0.0.0.0/0", "::/0"])] {
        let mut lab = Lab::new();
        let vpc = lab.vpc(ipv6);
        let made = lab.run(create(vpc, "web"));
        assert_eq!(made.rules_of(Direction::Ingress).count(), 0);
        let mut peers: Vec<_> = made.rules_of(Direction::Egress).map(|(_, r)| r.peer).collect();
        peers.sort();
        assert_eq!(peers, outbound.iter().map(|o| block(o)).collect::<Vec<_>>());
        let default = lab.get::<SecurityGroup>(lab.get::<Vpc>(vpc).default_security_group);
        let inbound: Vec<_> = default
            .rules_of(Direction::Ingress)
            .map(|(_, r)| r.peer)
            .collect();
        assert_eq!(inbound, [group_peer(default.id)]);
        assert_eq!(default.rules_of(Direction::Egress).count(), outbound.len());
    }
}

#[test]
fn names_are_checked_unique_and_not_reserved() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    lab.run(create(vpc, "web"));
    for (name, code) in [
        ("web", "InvalidGroup.Duplicate"),
        ("sg-web", "InvalidParameterValue"),
        ("default", "InvalidParameterValue"),
        ("wéb", "InvalidParameterValue"),
        ("", "MissingParameter"),
    ] {
        assert_eq!(lab.refused(create(vpc, name)), code, "{name}");
    }
    assert_eq!(
        lab.refused(create(vpc, &"x".repeat(256))),
        "InvalidParameterValue"
    );
    lab.run(create(vpc, &"x".repeat(255)));
    // Another VPC has names of its own; without a default VPC one must be named.
    let other = lab.vpc(false);
    lab.run(create(other, "web"));
    let nowhere = CreateSecurityGroup {
        vpc: None,
        ..create(vpc, "lost")
    };
    assert_eq!(lab.refused(nowhere.clone()), "VPCIdNotSpecified");
    let default = lab.run(CreateDefaultVpc);
    assert_eq!(lab.run(nowhere).vpc, default);
    let found = GroupRef::Name("lost".into()).find(&lab.region, AccountId::DEFAULT);
    assert_eq!(found.unwrap().vpc, default);
}

/// semantics 50
#[test]
fn ports_and_icmp_are_judged_as_ec2_does() {
    let port = |from, to| PortRange::new(from, to).unwrap();
    let icmp = |kind, code| IcmpMatch { kind, code };
    let good = [
        ("-1", Some(1), Some(2), Traffic::All),
        ("all", None, None, Traffic::All),
        ("tcp", Some(80), Some(443), Traffic::Tcp { ports: port(80, 443) }),
        (
            "6",
            Some(0),
            Some(65535),
            Traffic::Tcp {
                ports: PortRange::ALL,
            },
        ),
        ("UDP", Some(53), Some(53), Traffic::Udp { ports: port(53, 53) }),
        (
            "icmp",
            Some(8),
            Some(-1),
            Traffic::Icmp {
                icmp: icmp(Some(8), None),
            },
        ),
        (
            "1",
            Some(3),
            Some(4),
            Traffic::Icmp {
                icmp: icmp(Some(3), Some(4)),
            },
        ),
        ("icmp", Some(-1), Some(-1), Traffic::Icmp { icmp: IcmpMatch::ANY }),
        ("icmpv6", None, None, Traffic::Icmpv6 { icmp: IcmpMatch::ANY }),
        ("47", Some(5), None, Traffic::Other { number: 47 }),
    ];
    for (protocol, from, to, expected) in good {
        assert_eq!(
            traffic(protocol, from, to).unwrap(),
            expected,
            "{protocol} {from:?} {to:?}"
        );
    }
    for (protocol, from, to) in [
        ("tcp", None, None),
        ("tcp", Some(80), None),
        ("tcp", Some(-1), Some(-1)),
        ("udp", Some(1), Some(65536)),
        ("tcp", Some(443), Some(80)),
        ("icmp", None, None),
        ("icmp", Some(256), Some(0)),
        ("icmp", Some(-1), Some(0)),
        ("256", None, None),
        ("-2", None, None),
        ("", None, None),
        ("tcp ", Some(1), Some(1)),
    ] {
        let error = traffic(protocol, from, to).unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue", "{protocol} {from:?} {to:?}");
    }
    assert_eq!(
        cidr("100.68.0.18/18", Family::V4).unwrap(),
        block("100.68.0.0/18")
    );
    for (text, family) in [
        ("10.0.0.1", Family::V4),
        ("::/0", Family::V4),
        ("10.0.0.0/8", Family::V6),
    ] {
        assert_eq!(cidr(text, family).unwrap_err().code, "InvalidParameterValue");
    }
}

#[test]
fn a_rule_stands_once_whatever_its_description() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let group = lab.run(create(vpc, "web")).id;
    let ssh = rule(("tcp", 22, 22), block("10.0.0.0/8"));
    let (_, made) = lab.run(ingress(group, vec![ssh.clone()]));
    let again = RuleSpec {
        description: Some("again".into()),
        ..ssh.clone()
    };
    assert_eq!(
        lab.refused(ingress(group, vec![again])),
        "InvalidPermission.Duplicate"
    );
    let http = rule(("tcp", 80, 80), block("0.0.0.0/0"));
    assert_eq!(
        lab.refused(ingress(group, vec![http.clone(), http])),
        "InvalidParameterValue"
    );
    assert_eq!(lab.refused(ingress(group, vec![])), "MissingParameter");
    // Half of a request is never made.
    assert_eq!(
        lab.get::<SecurityGroup>(group)
            .rules_of(Direction::Ingress)
            .count(),
        1
    );
    let bad = RuleSpec {
        description: Some("<script>".into()),
        ..rule(("tcp", 1, 1), block("0.0.0.0/0"))
    };
    assert_eq!(lab.refused(ingress(group, vec![bad])), "InvalidParameterValue");
    // The same rule outward is another rule; an egress rule is not revoked as an ingress one.
    let outward = AuthorizeSecurityGroup {
        direction: Direction::Egress,
        ..ingress(group, vec![ssh])
    };
    let (_, out) = lab.run(outward);
    assert_eq!(
        lab.refused(revoke(group, vec![], vec![out[0].0])),
        "InvalidSecurityGroupRuleId.NotFound"
    );
    let (_, revoked) = lab.run(revoke(group, vec![], vec![made[0].0]));
    assert_eq!(revoked.rules, made);
}

#[test]
fn unknown_rules_are_refused_but_in_the_default_vpc_listed() {
    let mut lab = Lab::new();
    let vpc = lab.run(CreateDefaultVpc);
    let group = lab.run(create(vpc, "web")).id;
    let (ssh, http) = (
        rule(("tcp", 22, 22), block("10.0.0.0/8")),
        rule(("tcp", 80, 80), block("10.0.0.0/8")),
    );
    lab.run(ingress(group, vec![ssh.clone()]));
    let (_, revoked) = lab.run(revoke(group, vec![http.clone(), ssh.clone()], vec![]));
    assert_eq!(revoked.unknown, std::slice::from_ref(&http));
    assert_eq!(revoked.rules.len(), 1);
    let vpc = lab.vpc(false);
    let group = lab.run(create(vpc, "web")).id;
    lab.run(ingress(group, vec![ssh.clone()]));
    assert_eq!(
        lab.refused(revoke(group, vec![ssh, http], vec![])),
        "InvalidPermission.NotFound"
    );
    assert_eq!(
        lab.get::<SecurityGroup>(group)
            .rules_of(Direction::Ingress)
            .count(),
        1
    );
}

/// semantics 39
#[test]
fn references_stay_within_the_vpc_and_hold_what_they_name() {
    let mut lab = Lab::new();
    let (vpc, other) = (lab.vpc(false), lab.vpc(false));
    let (web, db) = (lab.run(create(vpc, "web")).id, lab.run(create(vpc, "db")).id);
    let foreign = lab.run(create(other, "web")).id;
    let from = |id| vec![rule(("tcp", 5432, 5432), group_peer(id))];
    assert_eq!(lab.refused(ingress(db, from(foreign))), "InvalidGroup.NotFound");
    assert_eq!(
        lab.refused(ingress(db, from(SecurityGroupId::new(9)))),
        "InvalidGroup.NotFound"
    );
    lab.run(ingress(db, from(web)));
    lab.run(ingress(db, from(db)));
    let delete = |id: SecurityGroupId| DeleteSecurityGroup { group: id.into() };
    assert_eq!(lab.refused(delete(web)), "DependencyViolation");
    // A group that names itself holds nobody.
    lab.run(delete(db));
    lab.run(delete(web));
    let default = lab.get::<Vpc>(vpc).default_security_group;
    assert_eq!(lab.refused(delete(default)), "CannotDelete");
}

/// semantics 52
#[test]
fn sixty_rules_a_direction_and_family_and_a_reference_counts_in_both() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(true);
    let group = lab.run(create(vpc, "web")).id;
    let many = |peer: Peer, n: i32| (1..=n).map(|p| rule(("tcp", p, p), peer)).collect::<Vec<_>>();
    let over = "RulesPerSecurityGroupLimitExceeded";
    assert_eq!(lab.refused(ingress(group, many(block("10.0.0.0/8"), 61))), over);
    lab.run(ingress(group, many(block("10.0.0.0/8"), 59)));
    lab.run(ingress(group, many(block("::/0"), 60)));
    assert_eq!(lab.refused(ingress(group, many(group_peer(group), 1))), over);
    lab.run(ingress(group, vec![rule(("udp", 1, 1), block("10.0.0.0/8"))]));
    assert_eq!(
        lab.refused(ingress(group, vec![rule(("udp", 2, 2), block("10.0.0.0/8"))])),
        over
    );
}

#[test]
fn a_modified_rule_keeps_its_id_tags_and_kind() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let group = lab.run(create(vpc, "web")).id;
    let tagged = AuthorizeSecurityGroup {
        tags: Tags::from([("k".into(), "v".into())]),
        ..ingress(
            group,
            vec![
                rule(("tcp", 22, 22), block("10.0.0.0/8")),
                rule(("tcp", 80, 80), block("10.0.0.0/8")),
            ],
        )
    };
    let (_, made) = lab.run(tagged);
    let (ssh, http) = (made[0].0, made[1].0);
    let modify = |id, spec| ModifySecurityGroupRules {
        group,
        rules: vec![(id, spec)],
    };
    lab.run(modify(ssh, rule(("tcp", 2222, 2222), block("192.168.0.0/16"))));
    let row = lab.get::<SecurityGroup>(group);
    assert_eq!(row.rules[&ssh].peer, block("192.168.0.0/16"));
    assert_eq!(row.rules[&ssh].tags.len(), 1);
    let clash = rule(("tcp", 2222, 2222), block("192.168.0.0/16"));
    assert_eq!(lab.refused(modify(http, clash)), "InvalidPermission.Duplicate");
    for peer in [block("::/0"), group_peer(group)] {
        let other = rule(("tcp", 80, 80), peer);
        assert_eq!(lab.refused(modify(http, other)), "InvalidParameterValue");
    }
    assert_eq!(
        lab.refused(modify(
            SecurityGroupRuleId::new(1),
            rule(("tcp", 1, 1), block("0.0.0.0/0"))
        )),
        "InvalidSecurityGroupRuleId.NotFound"
    );
}

#[test]
fn the_default_group_opens_to_ipv6_unless_its_outbound_rules_were_changed() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let default = lab.get::<Vpc>(vpc).default_security_group;
    let out = |lab: &Lab| {
        lab.get::<SecurityGroup>(default)
            .rules_of(Direction::Egress)
            .count()
    };
    lab.run(move |tx: &mut Transaction| ipv6_block_associated(tx, vpc));
    assert_eq!(out(&lab), 2);
    lab.run(move |tx: &mut Transaction| ipv6_block_associated(tx, vpc));
    assert_eq!(out(&lab), 2);
}
