//! The documentation's worked examples and tables (`tests/conformance/aws-docs.json`), as far as they are about
//! packets and about nouns that exist.

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_fabric::{Decision, L4, Packet, Place, RuleRef, Stage};
use atoll_model::nat_gateway::Connectivity;
use atoll_model::{EniId, RouteTarget};
use serde_json::Value;

use crate::scene::{OUT_ALL, OUTSIDE, Scene, VpcIds, acked, ip};

fn cases(group: &str) -> (Value, Vec<Value>) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/conformance/aws-docs.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<Value> = all["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["group"] == group)
        .cloned()
        .collect();
    assert!(!cases.is_empty(), "{group}");
    (all["named_configs"].clone(), cases)
}

fn named<'a>(cases: &'a [Value], name: &str) -> &'a Value {
    cases.iter().find(|c| c["name"] == name).unwrap()
}

fn acl_rules(direction: &str, rules: &Value) -> Vec<String> {
    let rule = |r: &Value| {
        let traffic = match (r["proto"].as_str().unwrap(), r["ports"].as_array()) {
            ("-1", _) => "all".to_owned(),
            (name, Some(ports)) => format!("{name}/{}-{}", ports[0], ports[1]),
            (name, None) => name.to_owned(),
        };
        let (number, action) = (r["rule"].as_u64().unwrap(), r["action"].as_str().unwrap());
        format!(
            "{direction} {number} {action} {traffic} {}",
            r["cidr"].as_str().unwrap()
        )
    };
    let stored = rules.as_array().unwrap().iter().filter(|r| r["rule"] != 32767);
    stored.map(rule).collect()
}

/// A VPC whose internet gateway stands before one instance that lets everything pass.
struct Edge {
    s: Scene,
    vpc: VpcIds,
    subnet: atoll_model::SubnetId,
    eni: EniId,
    public: IpAddr,
    igw: atoll_model::InternetGatewayId,
}

fn edge() -> Edge {
    let mut s = Scene::new();
    let vpc = s.vpc("10.0.0.0/16", Some("2001:db8:1234:1a00::/56"));
    let subnet = s.subnet(vpc, "10.0.0.0/24", Some("2001:db8:1234:1a00::/64"));
    let igw = s.igw(vpc);
    for all in ["0.0.0.0/0", "::/0"] {
        s.route(vpc.table, all, RouteTarget::InternetGateway(igw));
    }
    let open = s.group(vpc, &["in all 0.0.0.0/0", "in all ::/0", OUT_ALL[0], OUT_ALL[1]]);
    let eni = s.eni(subnet, &[open]);
    let public = s.elastic(eni);
    Edge {
        s,
        vpc,
        subnet,
        eni,
        public,
        igw,
    }
}

fn query_packet(e: &Edge, query: &Value) -> Packet {
    let port = query["dst_port"].as_u64().unwrap_or(0) as u16;
    let mut packet = match (&query["src_ip"], &query["dst_ip"]) {
        (Value::String(src), _) => {
            let dst = if ip(src).is_ipv4() {
                e.public
            } else {
                e.s.addr6(e.eni)
            };
            e.s.syn_in(src, dst, 51000, port)
        }
        (_, Value::String(dst)) => e.s.syn(e.eni, ip(dst), 51000, port),
        other => panic!("{other:?}"),
    };
    match query["proto"].as_str().unwrap() {
        "tcp" => {}
        "udp" => packet.protocol = 17,
        "icmp" => {
            packet.protocol = 1;
            packet.l4 = L4::Icmp {
                kind: 8,
                code: 0,
                id: 1,
            };
        }
        other => panic!("{other}"),
    }
    packet
}

fn assert_acl_case(e: &mut Edge, case: &Value) {
    let (query, expected) = (&case["query"], &case["expected"]);
    let mut packet = query_packet(e, query);
    if query["src_ip"].as_str().is_some_and(|src| is_inside(ip(src))) {
        // From inside the VPC: by a neighbour in another subnet.
        let beside = e.s.subnet(e.vpc, "10.0.9.0/24", None);
        let group = e.s.eni_row(e.eni).groups[0];
        let neighbour = e.s.eni(beside, &[group]);
        packet = e.s.syn(neighbour, e.s.addr(e.eni), 51000, 80);
    }
    let stage = e.s.stage(&packet);
    let denied = matches!(stage, Stage::NaclIngress | Stage::NaclEgress);
    assert_eq!(denied, expected["action"] == "deny", "{case}");
    let number = e.s.hops.iter().rev().find_map(|hop| match (hop.place, hop.rule) {
        (Place::NetworkAcl(_, subnet, _), Some(RuleRef::NetworkAcl { number, .. })) if subnet == e.subnet => {
            Some(number.map_or(Value::from("*"), Value::from))
        }
        _ => None,
    });
    assert_eq!(number.as_ref(), Some(&expected["rule"]), "{case}");
}

fn is_inside(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V4(a) if a.is_private())
}

#[test]
fn nacl_custom_example() {
    // semantics 22, 24, 25
    let (configs, cases) = cases("nacl-custom-example");
    let mut e = edge();
    let nacl = &configs["NACL-1"]["nacl"];
    let mut rules = acl_rules("in", &nacl["inbound"]);
    rules.extend(acl_rules("out", &nacl["outbound"]));
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let (vpc, subnet) = (e.vpc, e.subnet);
    e.s.acl(vpc, &[subnet], &rules);
    // Sources of the example are documentation addresses, which nobody inside has.
    for case in &cases {
        assert_acl_case(&mut e, case);
    }
}

#[test]
fn nacl_default() {
    // semantics 26, 27
    let (_, cases) = cases("nacl-default");
    let mut e = edge();
    let (vpc, subnet) = (e.vpc, e.subnet);
    let v6 = named(&cases, "v6-not-covered-by-v4-rule");
    let rules = acl_rules("in", &v6["config"]["nacl_inbound"]);
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let acl = e.s.acl(vpc, &[subnet], &rules);
    assert_acl_case(&mut e, v6);
    let fresh = named(&cases, "new-custom-nacl-denies-all");
    e.s.set_acl(acl, &[]);
    assert_acl_case(&mut e, fresh);
}

fn group_rules(direction: &str, rules: &Value) -> Vec<String> {
    rules
        .as_array()
        .unwrap()
        .iter()
        .map(|r| format!("{direction} {}", r.as_str().unwrap()))
        .collect()
}

#[test]
fn sg_tracking() {
    // semantics 43, 44, 45
    let (configs, cases) = cases("sg-tracking");
    let sg = &configs["SG-1"]["sg"];
    let inbound = group_rules("in", &sg["inbound"]);
    let outbound = group_rules("out", &sg["outbound"]);
    for case in cases.iter().filter(|c| c["config"].is_string()) {
        let mut e = edge();
        let without = case["config"] == "SG-1 without outbound all 0.0.0.0/0";
        assert!(without || case["config"] == "SG-1", "{case}");
        let rules: Vec<&str> = inbound
            .iter()
            .chain(&outbound)
            .map(String::as_str)
            .filter(|r| !(without && *r == "out all 0.0.0.0/0"))
            .collect();
        let group = e.s.eni_row(e.eni).groups[0];
        e.s.set_group(group, &rules);
        let packet = query_packet(&e, &case["query"]);
        let outcome = e.s.send(&packet);
        let expected = &case["expected"];
        assert_eq!(
            outcome.stage() == Stage::Delivered,
            expected["allowed"] == true,
            "{case}"
        );
        let tracked = e.s.hops.iter().find_map(|h| match (h.place, h.decision) {
            (Place::SecurityGroups(..), Decision::Allowed { tracked }) => Some(tracked),
            _ => None,
        });
        assert_eq!(tracked, expected["tracked"].as_bool(), "{case}");
        if expected["reply_allowed"] == true {
            let reply = e.s.answer(&packet, &outcome);
            assert_eq!(e.s.stage(&reply), Stage::ExitsToInternet, "{case}");
        }
    }
}

#[test]
fn sg_tracking_when_a_rule_goes() {
    // semantics 43, 44
    let (_, cases) = cases("sg-tracking");
    for (name, rule) in [
        ("remove-rule-cuts-untracked", "in tcp/22 0.0.0.0/0"),
        ("remove-rule-keeps-tracked", "in tcp/22 203.0.113.1/32"),
    ] {
        let case = named(&cases, name);
        let mut e = edge();
        let group = e.s.eni_row(e.eni).groups[0];
        e.s.set_group(group, &[rule, OUT_ALL[0]]);
        let syn = e.s.syn_in("203.0.113.1", e.public, 50000, 22);
        assert_eq!(e.s.exchange(&syn), (Stage::Delivered, Stage::ExitsToInternet));
        e.s.set_group(group, &[OUT_ALL[0]]);
        let passes = e.s.stage(&acked(&syn)) == Stage::Delivered;
        assert_eq!(Value::from(passes), case["expected"]["allowed"], "{name}");
    }
}

#[test]
fn sg_tracking_of_other_protocols() {
    // semantics 47
    let (_, cases) = cases("sg-tracking");
    for name in ["other-protocol-600s-window", "other-protocol-after-600s"] {
        let case = named(&cases, name);
        let mut e = edge();
        let group = e.s.eni_row(e.eni).groups[0];
        e.s.set_group(group, &[OUT_ALL[0]]);
        let gre = e.s.other(e.eni, ip(OUTSIDE), 47);
        let outcome = e.s.send(&gre);
        let back = e.s.answer(&gre, &outcome);
        e.s.after(case["query"]["at_s"].as_u64().unwrap());
        let passes = e.s.stage(&back) == Stage::Delivered;
        assert_eq!(Value::from(passes), case["expected"]["allowed"], "{name}");
    }
}

#[test]
fn sg_timeouts_are_what_the_documentation_says() {
    // semantics 46: below the default a connection still stands, after it it is gone
    let (_, cases) = cases("sg-tracking");
    for (name, stream, tcp) in [
        ("timeout-tcp-established", false, true),
        ("timeout-udp", false, false),
        ("timeout-udp-stream", true, false),
    ] {
        let default = named(&cases, name)["expected"]["default"].as_u64().unwrap();
        for (seconds, passes) in [(default - 1, true), (default + 1, false)] {
            let mut e = edge();
            let group = e.s.eni_row(e.eni).groups[0];
            e.s.set_group(group, &[OUT_ALL[0]]);
            let packet = if tcp {
                e.s.syn(e.eni, ip(OUTSIDE), 1, 2)
            } else {
                e.s.udp(e.eni, ip(OUTSIDE), 1, 2)
            };
            let outcome = e.s.send(&packet);
            let answer = e.s.answer(&packet, &outcome);
            if stream || tcp {
                assert_eq!(e.s.stage(&answer), Stage::Delivered);
                e.s.send(&acked(&packet));
            }
            e.s.after(seconds);
            assert_eq!(
                e.s.stage(&acked(&answer)) == Stage::Delivered,
                passes,
                "{name} {seconds}"
            );
        }
    }
}

/// The route that a packet of the case takes: the target's word in the documentation.
fn route_case(case: &Value) {
    let mut e = edge();
    let mut words: BTreeMap<String, RouteTarget> = BTreeMap::new();
    let mut row = e.s.table_row(e.vpc.table);
    row.routes.clear();
    for route in case["config"]["routes"].as_array().unwrap() {
        let (to, word) = (route[0].as_str().unwrap(), route[1].as_str().unwrap());
        let number = words.len() as u64 + 1;
        // Targets of nouns that do not exist yet are interfaces here: what is asked is which route is chosen.
        let target = *words.entry(word.to_owned()).or_insert_with(|| match word {
            "local" => RouteTarget::Local,
            "igw" => RouteTarget::InternetGateway(e.igw),
            _ => RouteTarget::NetworkInterface(EniId::new(0xf000 + number)),
        });
        let origin = if route[2]["propagated"] == true {
            atoll_model::route_table::RouteOrigin::EnableVgwRoutePropagation
        } else {
            atoll_model::route_table::RouteOrigin::CreateRoute
        };
        let replaced = row
            .routes
            .insert(crate::scene::block(to), atoll_model::Route { target, origin });
        assert_eq!(replaced, None, "{case}");
    }
    e.s.put(row.clone());
    let syn =
        e.s.syn(e.eni, ip(case["query"]["dst_ip"].as_str().unwrap()), 1, 2);
    let stage = e.s.stage(&syn);
    let expected = case["expected"].as_str().unwrap();
    let taken = e.s.hops.iter().find_map(|h| match h.rule {
        Some(RuleRef::Route { destination, .. }) => Some(row.routes[&destination].target),
        _ => None,
    });
    if expected == "no-route" {
        assert_eq!((stage, taken), (Stage::NoRoute, None), "{case}");
    } else {
        assert_eq!(taken, words.get(expected).copied(), "{case}");
    }
}

#[test]
fn route_choice() {
    // semantics 1, 3
    for group in ["route-lpm", "route-v4-v6", "route-local-over-propagated"] {
        for case in &cases(group).1 {
            route_case(case);
        }
    }
    // semantics 2: of one block a table of ours holds one route, so ties cannot be; the longer prefix is.
    route_case(named(
        &cases("route-static-over-propagated").1,
        "more-specific-propagated-wins",
    ));
}

#[test]
fn route_reserved() {
    // semantics 8
    let (_, cases) = cases("route-reserved");
    let case = named(&cases, "imds-not-forwarded");
    let mut e = edge();
    let (eni, table) = (e.eni, e.vpc.table);
    e.s.route(table, "169.254.0.0/16", RouteTarget::NetworkInterface(eni));
    let syn =
        e.s.syn(e.eni, ip(case["query"]["dst_ip"].as_str().unwrap()), 1, 80);
    assert_eq!(e.s.stage(&syn), Stage::LinkLocalRange);
}

#[test]
fn gateway_route_table() {
    // semantics 14, 15, 16
    let (_, cases) = cases("gateway-route-table");
    for case in cases.iter().filter(|c| c["query"]["from_"] == "internet") {
        let mut s = Scene::new();
        let vpc = s.vpc("172.31.0.0/16", None);
        let igw = s.igw(vpc);
        let appliance_subnet = s.subnet(vpc, "172.31.240.0/24", None);
        let open = s.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
        let appliance = s.eni(appliance_subnet, &[open]);
        s.change_eni(appliance, |eni| eni.source_dest_check = false);
        s.elastic(appliance);
        let dst = ip(case["query"]["dst_ip"].as_str().unwrap());
        let around = atoll_net::Prefix::containing(dst, 24).to_string();
        let subnet = s.subnet(vpc, &around, None);
        let target = s.eni(subnet, &[open]);
        s.change_eni(target, |eni| {
            eni.private_addresses[0].ip = crate::scene::as_v4(dst)
        });
        let public = s.elastic(target);
        let edge = s.edge_table(igw, vpc.id);
        for route in case["config"]["igw_route_table"].as_array().unwrap() {
            let to = match route[1].as_str().unwrap() {
                "local" => RouteTarget::Local,
                "eni-mb" => RouteTarget::NetworkInterface(appliance),
                other => panic!("{other}"),
            };
            s.route(edge, route[0].as_str().unwrap(), to);
        }
        let syn = s.syn_in(OUTSIDE, public, 1, 80);
        let outcome = s.send(&syn);
        let at = match outcome.verdict {
            atoll_fabric::Verdict::Forward(a) => a.out,
            atoll_fabric::Verdict::Drop(d) => panic!("{case} {d:?}"),
        };
        let expected = if case["expected"] == "local" {
            target
        } else {
            appliance
        };
        assert_eq!(at, atoll_fabric::Port::Eni(expected), "{case}");
    }
    // `igw-to-eni-without-public-ip-drops` is gateways.rs's an_edge_table_leads_what_comes_in_to_an_appliance.
    assert_eq!(
        named(&cases, "igw-to-eni-without-public-ip-drops")["expected"],
        "drop"
    );
}

#[test]
fn nat_gateway() {
    // semantics 70, 78
    let (_, cases) = cases("nat-gateway");
    let mut e = edge();
    let vpc = e.vpc;
    let inside = e.s.subnet(vpc, "10.0.1.0/24", None);
    let own = e.s.table_for(inside);
    let group = e.s.eni_row(e.eni).groups[0];
    let eni = e.s.eni(inside, &[group]);
    let (nat, _) = e.s.nat(e.subnet, Connectivity::Public);
    e.s.route(own, "0.0.0.0/0", RouteTarget::NatGateway(nat));
    for (name, packet, stage) in [
        ("icmp-ok", e.s.ping(eni, ip(OUTSIDE), 4), Stage::ExitsToInternet),
        (
            "esp-dropped",
            e.s.other(eni, ip(OUTSIDE), 50),
            Stage::NatUnsupportedProtocol,
        ),
        (
            "gre-dropped",
            e.s.other(eni, ip(OUTSIDE), 47),
            Stage::NatUnsupportedProtocol,
        ),
    ] {
        let expected = &named(&cases, name)["expected"];
        assert_eq!(e.s.stage(&packet), stage, "{name}");
        assert_eq!(
            stage == Stage::ExitsToInternet,
            expected == "translated",
            "{name}"
        );
    }
    assert_eq!(named(&cases, "private-nat-to-igw-dropped")["expected"], "drop");
    let (private, _) = e.s.nat(e.subnet, Connectivity::Private);
    e.s.route(own, "0.0.0.0/0", RouteTarget::NatGateway(private));
    let syn = e.s.syn(eni, ip(OUTSIDE), 4, 5);
    assert_eq!(e.s.stage(&syn), Stage::IgwNoPublicAddress);
}

#[test]
fn middlebox() {
    // semantics 20, 21
    let (_, cases) = cases("middlebox");
    let mut s = Scene::new();
    let vpc = s.vpc("10.0.0.0/16", None);
    let (a_net, mb_net, b_net) = (
        s.subnet(vpc, "10.0.0.0/24", None),
        s.subnet(vpc, "10.0.1.0/24", None),
        s.subnet(vpc, "10.0.2.0/24", None),
    );
    let a_group = s.group(vpc, &[OUT_ALL[0]]);
    let open = s.group(vpc, &["in all 0.0.0.0/0", OUT_ALL[0]]);
    let b_group = s.group(vpc, &[&format!("in all {a_group}")]);
    let (a, mb, b) = (
        s.eni(a_net, &[a_group]),
        s.eni(mb_net, &[open]),
        s.eni(b_net, &[b_group]),
    );
    s.change_eni(mb, |eni| eni.source_dest_check = false);
    let table = s.table_for(a_net);
    s.route(table, "10.0.2.0/24", RouteTarget::NetworkInterface(mb));
    for (name, rule) in [
        ("sg-reference-through-appliance", format!("in all {a_group}")),
        ("sg-cidr-through-appliance", "in all 10.0.0.0/24".to_owned()),
    ] {
        s.set_group(b_group, &[&rule]);
        let syn = s.syn(a, s.addr(b), 1, 80);
        let outcome = s.send(&syn);
        let mut on = outcome.forwarded(&syn).unwrap();
        let link = s.fabric.link(mb).unwrap();
        on.ingress = atoll_fabric::Port::Eni(mb);
        (on.src_mac, on.dst_mac) = (link.mac, link.router_mac);
        let delivered = s.stage(&on) == Stage::Delivered;
        let expected = &named(&cases, name)["expected"];
        assert_eq!(delivered, expected == "delivered", "{name}");
    }
}
