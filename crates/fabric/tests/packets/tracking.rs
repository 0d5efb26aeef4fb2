//! Connection tracking (semantics 43-49).

use atoll_fabric::packet::tcp;
use atoll_fabric::{Decision, Limits, Packet, Stage};

use crate::scene::{OUT_ALL, OUTSIDE, Scene, TwoTier, acked, flagged, ip, two_tier};

/// Whether the last packet's last group decision tracks.
fn tracks(s: &Scene) -> bool {
    let decision = s.hops.iter().rev().find_map(|h| match h.decision {
        Decision::Allowed { tracked } if matches!(h.place, atoll_fabric::Place::SecurityGroups(..)) => {
            Some(tracked)
        }
        Decision::Established => Some(true),
        _ => None,
    });
    decision.unwrap()
}

#[test]
fn a_tracked_connection_survives_the_removal_of_its_rule_and_new_ones_do_not_begin() {
    // semantics 43
    let mut t = two_tier();
    let group = t.db_group;
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::Delivered));
    t.scene.set_group(group, &[]);
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::Delivered);
    let outcome = t.scene.send(&acked(&syn));
    let reply = acked(&t.scene.answer(&syn, &outcome));
    assert_eq!(t.scene.stage(&reply), Stage::Delivered);
    let second = t.scene.syn(t.web, t.scene.addr(t.db), 40001, 5432);
    assert_eq!(t.scene.stage(&second), Stage::SecurityGroupEmpty);
}

#[test]
fn an_untracked_flow_is_cut_when_its_rule_goes() {
    // semantics 44
    let mut t = two_tier();
    let group = t.web_group;
    let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
    assert_eq!(t.scene.stage(&syn), Stage::Delivered);
    assert!(!tracks(&t.scene));
    let outcome = t.scene.send(&syn);
    let reply = t.scene.answer(&syn, &outcome);
    assert_eq!(t.scene.stage(&reply), Stage::ExitsToInternet);
    assert!(
        !tracks(&t.scene),
        "the reply passes by rule and tracks nothing either"
    );
    assert_eq!(t.scene.flows.connections(), 0);
    t.scene.set_group(group, &OUT_ALL);
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::SecurityGroupEmpty);
}

#[test]
fn open_this_way_only_is_tracked() {
    // semantics 44: the other direction must allow all addresses on all ports
    let mut t = two_tier();
    let group = t.web_group;
    for (rules, tracked) in [
        (&["in tcp/80 0.0.0.0/0", "out all 0.0.0.0/0"][..], false),
        (&["in tcp/80 0.0.0.0/0", "out tcp 0.0.0.0/0"], false),
        (&["in tcp/80 0.0.0.0/0", "out tcp/0-65534 0.0.0.0/0"], true),
        (&["in tcp/80 0.0.0.0/0", "out all 198.51.100.0/24"], true),
        (&["in tcp/80 0.0.0.0/0", "out udp 0.0.0.0/0"], true),
        (&["in tcp/80 198.51.100.0/24", "out all 0.0.0.0/0"], true),
        (&["in all 0.0.0.0/0", "out all 0.0.0.0/0"], false),
    ] {
        t.scene.set_group(group, rules);
        t.scene.after(1_000_000);
        let syn = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 80);
        assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::ExitsToInternet));
        assert_eq!(tracks(&t.scene), tracked, "{rules:?}");
    }
}

#[test]
fn icmp_is_always_tracked() {
    // semantics 45
    let mut t = two_tier();
    let group = t.db_group;
    t.scene
        .set_group(group, &["in all 0.0.0.0/0", "out all 0.0.0.0/0"]);
    let ping = t.scene.ping(t.web, t.scene.addr(t.db), 7);
    assert_eq!(t.scene.stage(&ping), Stage::Delivered);
    assert!(tracks(&t.scene));
    t.scene.set_group(group, &[]);
    assert_eq!(t.scene.exchange(&ping), (Stage::Delivered, Stage::Delivered));
}

#[test]
fn flows_through_nat_and_egress_only_gateways_are_always_tracked() {
    // semantics 45
    let mut t = two_tier();
    let group = t.db_group;
    t.scene.set_group(
        group,
        &["in all 0.0.0.0/0", "in all ::/0", OUT_ALL[0], OUT_ALL[1]],
    );
    for dst in [OUTSIDE, crate::scene::OUTSIDE_V6] {
        let syn = t.scene.syn(t.db, ip(dst), 40000, 443);
        let outcome = t.scene.send(&syn);
        assert!(tracks(&t.scene), "{dst}");
        t.scene.set_group(group, &[]);
        let answer = t.scene.answer(&syn, &outcome);
        assert_eq!(t.scene.stage(&answer), Stage::Delivered, "{dst}");
        t.scene.set_group(
            group,
            &["in all 0.0.0.0/0", "in all ::/0", OUT_ALL[0], OUT_ALL[1]],
        );
    }
    let direct = t.scene.syn(t.db, t.scene.addr(t.web), 40000, 80);
    t.scene.send(&direct);
    assert!(!tracks(&t.scene), "not so within the VPC");
}

#[test]
fn an_echo_answer_passes_and_a_question_from_the_other_side_does_not() {
    // semantics 43, 45
    let mut t = two_tier();
    let ping = t.scene.ping(t.db, t.scene.addr(t.web), 7);
    let group = t.web_group;
    t.scene.set_group(group, &["in icmp/8:0 0.0.0.0/0"]);
    assert_eq!(t.scene.exchange(&ping), (Stage::Delivered, Stage::Delivered));
    let back = t.scene.ping(t.web, t.scene.addr(t.db), 7);
    assert_eq!(t.scene.stage(&back), Stage::SecurityGroupEmpty);
    t.scene
        .set_group(group, &["in icmp/8:0 0.0.0.0/0", "out icmp 0.0.0.0/0"]);
    assert_eq!(
        t.scene.stage(&back),
        Stage::SecurityGroupIngress,
        "same identifier, other way"
    );
}

/// Sends `first` from the database at once, then, after so many seconds, its answer by the web tier.
fn answered_after(t: &mut TwoTier, first: &Packet, seconds: u64) -> Stage {
    let outcome = t.scene.send(first);
    let answer = t.scene.answer(first, &outcome);
    t.scene.after(seconds);
    t.scene.stage(&answer)
}

#[test]
fn udp_is_remembered_30_seconds_and_a_stream_180() {
    // semantics 46
    let mut t = two_tier();
    let (web, web_group) = (t.scene.addr(t.web), t.web_group);
    t.scene.set_group(web_group, &["in udp 10.0.0.0/16", OUT_ALL[0]]);
    let db_group = t.db_group;
    t.scene.set_group(db_group, &["out all 0.0.0.0/0"]);
    let udp = |t: &TwoTier, port| t.scene.udp(t.db, web, port, 5000);
    let packet = udp(&t, 1);
    assert_eq!(answered_after(&mut t, &packet, 29), Stage::Delivered);
    let packet = udp(&t, 2);
    assert_eq!(answered_after(&mut t, &packet, 31), Stage::SecurityGroupEmpty);
    // An exchange and another question make a stream.
    let packet = udp(&t, 3);
    assert_eq!(answered_after(&mut t, &packet, 1), Stage::Delivered);
    assert_eq!(answered_after(&mut t, &packet, 179), Stage::Delivered);
    assert_eq!(answered_after(&mut t, &packet, 181), Stage::SecurityGroupEmpty);
}

#[test]
fn each_interface_may_have_its_own_timeouts() {
    // semantics 46: 30-60, 60-180 and 60-432000 seconds
    let mut t = two_tier();
    let web = t.scene.addr(t.web);
    let web_group = t.web_group;
    t.scene.set_group(
        web_group,
        &["in udp 10.0.0.0/16", "in tcp 10.0.0.0/16", OUT_ALL[0]],
    );
    let db_group = t.db_group;
    t.scene.set_group(db_group, &["out all 0.0.0.0/0"]);
    t.scene.change_eni(t.db, |eni| {
        eni.connection_tracking.udp_timeout = Some(60);
        eni.connection_tracking.tcp_established = Some(60);
    });
    let udp = t.scene.udp(t.db, web, 1, 5000);
    // The web tier's own end has forgotten after 30 seconds, and lets the answer out by rule.
    assert_eq!(answered_after(&mut t, &udp, 59), Stage::Delivered);
    let syn = t.scene.syn(t.db, web, 1, 5000);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::Delivered));
    assert_eq!(answered_after(&mut t, &acked(&syn), 59), Stage::Delivered);
    assert_eq!(
        answered_after(&mut t, &acked(&syn), 61),
        Stage::SecurityGroupEmpty
    );
}

#[test]
fn established_tcp_is_remembered_five_days() {
    // semantics 46
    let mut t = two_tier();
    let web = t.scene.addr(t.web);
    let web_group = t.web_group;
    t.scene.set_group(web_group, &["in tcp 10.0.0.0/16", OUT_ALL[0]]);
    let db_group = t.db_group;
    t.scene.set_group(db_group, &["out all 0.0.0.0/0"]);
    let syn = t.scene.syn(t.db, web, 1, 5000);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::Delivered));
    assert_eq!(answered_after(&mut t, &acked(&syn), 431_999), Stage::Delivered);
    assert_eq!(
        answered_after(&mut t, &acked(&syn), 432_001),
        Stage::SecurityGroupEmpty
    );
}

#[test]
fn a_finished_connection_lingers_a_minute_and_a_new_one_is_judged_afresh() {
    // semantics 43: what survives a rule's removal is the connection, not its ports
    let mut t = two_tier();
    let db = t.scene.addr(t.db);
    let group = t.db_group;
    let syn = t.scene.syn(t.web, db, 40000, 5432);
    let outcome = t.scene.send(&syn);
    let answer = t.scene.answer(&syn, &outcome);
    t.scene.send(&answer);
    t.scene.set_group(group, &[]);
    assert_eq!(
        t.scene.stage(&flagged(&syn, tcp::FIN | tcp::ACK)),
        Stage::Delivered
    );
    assert_eq!(
        t.scene.stage(&flagged(&answer, tcp::FIN | tcp::ACK)),
        Stage::Delivered
    );
    assert_eq!(
        t.scene.stage(&acked(&syn)),
        Stage::Delivered,
        "the last acknowledgement"
    );
    assert_eq!(t.scene.stage(&syn), Stage::SecurityGroupEmpty);
    t.scene.after(61);
    assert_eq!(t.scene.stage(&acked(&syn)), Stage::SecurityGroupEmpty);
}

#[test]
fn other_protocols_are_tracked_by_address_for_600_seconds() {
    // semantics 47
    let mut t = two_tier();
    let web = t.scene.addr(t.web);
    let web_group = t.web_group;
    t.scene.set_group(web_group, &["in 47 10.0.0.0/16", OUT_ALL[0]]);
    let db_group = t.db_group;
    t.scene.set_group(db_group, &["out all 0.0.0.0/0"]);
    let gre = t.scene.other(t.db, web, 47);
    assert_eq!(answered_after(&mut t, &gre, 599), Stage::Delivered);
    t.scene.after(10_000);
    assert_eq!(answered_after(&mut t, &gre, 601), Stage::SecurityGroupEmpty);
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_the_old_ones() {
    // semantics 48
    let mut t = two_tier();
    t.scene.flows = atoll_fabric::Flows::new(
        Limits {
            per_owner: 2,
            ..Limits::SMALL
        },
        t.scene.now,
    );
    let db = t.scene.addr(t.db);
    let syn = |t: &TwoTier, port| t.scene.syn(t.web, db, port, 5432);
    for (port, stage) in [
        (1, Stage::Delivered),
        (2, Stage::Delivered),
        (3, Stage::TableFull),
        (1, Stage::Delivered),
    ] {
        let packet = syn(&t, port);
        assert_eq!(t.scene.stage(&packet), stage, "{port}");
    }
    let other = t.scene.eni(t.public, &[t.web_group]);
    let from_other = t.scene.syn(other, db, 1, 5432);
    assert_eq!(
        t.scene.stage(&from_other),
        Stage::TableFull,
        "the database's own end is full"
    );
    t.scene.after(61);
    let now = t.scene.now;
    t.scene.flows.expire(now, 100);
    assert_eq!(t.scene.flows.connections(), 0);
    let packet = syn(&t, 3);
    assert_eq!(t.scene.stage(&packet), Stage::Delivered);
}

#[test]
fn a_full_table_says_so_before_anything_is_committed() {
    // semantics 48
    let mut t = two_tier();
    t.scene.flows = atoll_fabric::Flows::new(
        Limits {
            ipv4: 1,
            ..Limits::SMALL
        },
        t.scene.now,
    );
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 1, 5432);
    t.scene.hops.clear();
    let outcome = atoll_fabric::walk(&t.scene.fabric, &t.scene.flows, &syn, t.scene.now, &mut ());
    // The walk sees room for one; its two ends need two.
    assert_eq!(outcome.stage(), Stage::Delivered);
    assert_eq!(
        t.scene.flows.commit(&outcome.effects, t.scene.now, 0),
        Err(atoll_fabric::LostRace::TableFull)
    );
    assert_eq!(t.scene.flows.connections(), 1);
    let again = t.scene.send(&syn);
    assert_eq!(again.stage(), Stage::TableFull);
}

#[test]
fn connections_end_with_their_interface() {
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 1, 5432);
    t.scene.send(&syn);
    assert_eq!(t.scene.flows.connections(), 2);
    t.scene.delete(atoll_model::Key::NetworkInterface(t.db));
    let now = t.scene.now;
    t.scene.flows.expire(now, 100);
    assert_eq!(t.scene.flows.connections(), 1, "the other end is still there");
}

#[test]
fn a_walk_without_an_answer_to_keep_lets_no_connection_be_forgotten_sooner() {
    // semantics 46: the packets that an answer is still given to begin its idle time anew, too
    let mut t = two_tier();
    let syn = t.scene.syn(t.web, t.scene.addr(t.db), 40000, 5432);
    assert_eq!(t.scene.exchange(&syn), (Stage::Delivered, Stage::Delivered));
    let ack = acked(&syn);
    t.scene.send(&ack);
    let sent = |t: &mut TwoTier, packet: &Packet, held: u32| {
        let outcome = atoll_fabric::walk(&t.scene.fabric, &t.scene.flows, packet, t.scene.now, &mut ());
        t.scene.flows.commit(&outcome.effects, t.scene.now, held).unwrap();
        let known = |effect| t.scene.flows.known_until(effect, t.scene.now).unwrap();
        let until: Vec<_> = outcome.effects.iter().map(known).collect();
        assert_eq!(until.len(), 2, "both ends");
        until
    };
    let held = sent(&mut t, &ack, 20_000);
    t.scene.after(1);
    assert_eq!(sent(&mut t, &ack, 0), held);
    t.scene.after(30);
    let later = sent(&mut t, &ack, 0);
    assert!(later > held, "its own idle time is longer by then");
    // No answer is given that long: it was another idle time.
    sent(&mut t, &ack, 100_000);
    assert_eq!(sent(&mut t, &ack, 0), later);
    assert!(sent(&mut t, &flagged(&ack, tcp::RST), 0) < later, "it has ended");
}
