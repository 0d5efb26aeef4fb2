//! The cache law: what a kept answer says equals what a fresh walk says with the same tracking state.
//!
//! A small flow cache is run as the data plane runs its own: answers kept by flow, each with its cell's
//! generation and the time for which it holds.

use std::collections::HashMap;

use atoll_fabric::packet::tcp;
use atoll_fabric::{CellId, L4, Outcome, Packet, Port, Stage, Verdict, walk};
use atoll_model::{InstanceState, RouteTarget};
use proptest::prelude::*;

use crate::scene::{OUT_ALL, OUTSIDE, OUTSIDE_V6, Scene, TwoTier, flagged, ip, two_tier};

type FlowId = (Port, std::net::IpAddr, std::net::IpAddr, u8, L4);

fn flow_of(packet: &Packet) -> FlowId {
    let l4 = match packet.l4 {
        L4::Ports { src, dst, .. } => L4::Ports {
            src,
            dst,
            tcp_flags: 0,
        },
        other => other,
    };
    (packet.ingress, packet.src, packet.dst, packet.protocol, l4)
}

struct Kept {
    verdict: Verdict,
    cell: CellId,
    generation: u32,
    until: u64,
}

#[derive(Default)]
struct Cache {
    kept: HashMap<FlowId, Kept>,
    hits: usize,
}

impl Cache {
    /// What the data plane does with a packet; checks each hit against a fresh walk.
    fn forward(&mut self, s: &mut Scene, packet: &Packet) -> Result<Outcome, String> {
        let fresh = walk(&s.fabric, &s.flows, packet, s.now, &mut ());
        let kept = self.kept.get(&flow_of(packet)).filter(|kept| {
            s.cells.generation(kept.cell) == kept.generation && s.now.0 < kept.until && !packet.always_walks()
        });
        let usable = kept.filter(|kept| match &kept.verdict {
            Verdict::Forward(a) => packet.hop_limit > a.hop_limit_decrement && packet.length <= a.mtu,
            Verdict::Drop(_) => true,
        });
        if let Some(kept) = usable {
            self.hits += 1;
            if kept.verdict != fresh.verdict {
                return Err(format!(
                    "{packet:?}\nkept  {:?}\nfresh {:?}",
                    kept.verdict, fresh.verdict
                ));
            }
            return Ok(fresh);
        }
        s.flows
            .commit(&fresh.effects, s.now, fresh.hold)
            .map_err(|e| format!("{e:?}"))?;
        s.cells.begin(&fresh.effects);
        if fresh.cacheable() {
            let cell = s.cells.intern(&fresh.dependencies);
            let kept = Kept {
                verdict: fresh.verdict,
                cell,
                generation: s.cells.generation(cell),
                until: s.now.0 + u64::from(fresh.hold),
            };
            self.kept.insert(flow_of(packet), kept);
        }
        Ok(fresh)
    }
}

/// The packets that the steps choose among: each with its answer, when it was forwarded lately.
fn questions(t: &TwoTier) -> Vec<Packet> {
    let s = &t.scene;
    let (web, db) = (s.addr(t.web), s.addr(t.db));
    vec![
        s.syn(t.web, db, 4000, 5432),
        s.syn(t.db, web, 4000, 80),
        s.syn(t.web, ip(OUTSIDE), 4000, 80),
        s.syn(t.db, ip(OUTSIDE), 4000, 80),
        s.syn(t.db, ip(OUTSIDE_V6), 4000, 80),
        s.syn_in(OUTSIDE, t.web_public, 4000, 80),
        s.syn_in(OUTSIDE, t.web_public, 4000, 22),
        s.syn_in(OUTSIDE_V6, s.addr6(t.web), 4000, 80),
        s.udp(t.web, db, 5000, 6000),
        s.udp(t.db, web, 6000, 5000),
        s.udp(t.db, ip(OUTSIDE), 6000, 53),
        s.ping(t.web, db, 3),
        s.ping(t.db, web, 3),
        s.ping(t.db, ip(OUTSIDE), 3),
        s.other(t.web, db, 47),
        s.other(t.db, web, 47),
    ]
}

fn change(t: &mut TwoTier, which: usize, how: usize) {
    let (web_group, db_group, vpc) = (t.web_group, t.db_group, t.vpc);
    match which {
        0 => {
            let rules: [&[&str]; 4] = [
                &[],
                &["in tcp/80 0.0.0.0/0", OUT_ALL[0]],
                &["in all 0.0.0.0/0", "in all ::/0", OUT_ALL[0], OUT_ALL[1]],
                &["in udp 10.0.0.0/16", "in icmp 0.0.0.0/0", "out tcp 0.0.0.0/0"],
            ];
            t.scene.set_group(web_group, rules[how % 4]);
        }
        1 => {
            let reference = format!("in all {web_group}");
            let rules: [&[&str]; 4] = [
                &[OUT_ALL[0], OUT_ALL[1]],
                &[&reference, OUT_ALL[0]],
                &[
                    "in tcp/5432 0.0.0.0/0",
                    "in udp 0.0.0.0/0",
                    OUT_ALL[0],
                    OUT_ALL[1],
                ],
                &["in tcp/5432 0.0.0.0/0"],
            ];
            t.scene.set_group(db_group, rules[how % 4]);
        }
        2 => {
            let rules: [&[&str]; 3] = [
                &["in 100 allow all 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
                &[
                    "in 100 deny tcp 0.0.0.0/0",
                    "in 110 allow all 0.0.0.0/0",
                    "out 100 allow all 0.0.0.0/0",
                ],
                &[
                    "in 100 allow all 0.0.0.0/0",
                    "in 101 allow all ::/0",
                    "out 100 allow all 0.0.0.0/0",
                    "out 101 allow all ::/0",
                ],
            ];
            t.scene.set_acl(vpc.acl, rules[how % 3]);
        }
        3 => {
            let (table, igw, nat) = (t.private_table, t.igw, t.nat);
            let target = match how % 3 {
                0 => RouteTarget::NatGateway(nat),
                1 => RouteTarget::InternetGateway(igw),
                _ => RouteTarget::Local,
            };
            t.scene.route(table, "0.0.0.0/0", target);
        }
        4 => {
            let state = [InstanceState::Running, InstanceState::Stopped][how % 2];
            t.scene.set_state(t.db, state);
        }
        _ => {
            t.scene.change_eni(t.db, |eni| {
                eni.groups = match how % 3 {
                    0 => vec![db_group],
                    1 => vec![web_group],
                    _ => vec![db_group, web_group],
                };
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_kept_answer_is_what_a_fresh_walk_says(
        steps in proptest::collection::vec((0usize..100, 0usize..64, 0u64..400), 1..150)
    ) {
        let mut t = two_tier();
        let mut cache = Cache::default();
        let mut answers: Vec<Option<Packet>> = vec![None; 64];
        for (what, which, time) in steps {
            match what {
                0..50 => {
                    let all = questions(&t);
                    let which = which % all.len();
                    let packet = match time % 4 {
                        0 => all[which],
                        1 => flagged(&all[which], tcp::FIN | tcp::ACK),
                        _ => flagged(&all[which], tcp::ACK),
                    };
                    let outcome = cache.forward(&mut t.scene, &packet).map_err(TestCaseError::fail)?;
                    if matches!(outcome.verdict, Verdict::Forward(_)) {
                        answers[which] = Some(t.scene.answer(&packet, &outcome));
                    }
                }
                50..80 => {
                    if let Some(answer) = answers[which] {
                        let answer = if time % 2 == 0 { answer } else { flagged(&answer, tcp::ACK) };
                        cache.forward(&mut t.scene, &answer).map_err(TestCaseError::fail)?;
                    }
                }
                80..88 => change(&mut t, which % 6, time as usize),
                88..98 => {
                    t.scene.now = t.scene.now.plus_millis(time * 10);
                }
                _ => {
                    t.scene.now = t.scene.now.plus_millis(time * 1000);
                    let now = t.scene.now;
                    t.scene.flows.expire(now, 50);
                }
            }
        }
    }
}

#[test]
fn established_flows_of_every_kind_are_answered_from_the_cache() {
    let mut t = two_tier();
    let mut cache = Cache::default();
    for question in questions(&t) {
        let mut forwarded = None;
        for _ in 0..4 {
            let outcome = cache.forward(&mut t.scene, &question).unwrap();
            if matches!(outcome.verdict, Verdict::Forward(_)) {
                let answer = t.scene.answer(&question, &outcome);
                cache.forward(&mut t.scene, &answer).unwrap();
                forwarded = Some(answer);
            }
        }
        let before = cache.hits;
        let later = flagged(&question, tcp::ACK);
        cache.forward(&mut t.scene, &later).unwrap();
        assert_eq!(cache.hits, before + 1, "{question:?}");
        if let Some(answer) = forwarded {
            let later = flagged(&answer, tcp::ACK);
            cache.forward(&mut t.scene, &later).unwrap();
            assert_eq!(cache.hits, before + 2, "{answer:?}");
        }
    }
}

#[test]
fn what_is_decided_by_more_than_the_flow_is_never_kept() {
    let mut t = two_tier();
    let mut spoofed = t.scene.syn(t.web, ip(OUTSIDE), 1, 2);
    spoofed.src_mac = atoll_net::Mac([2, 9, 9, 9, 9, 9]);
    let outcome = t.scene.send(&spoofed);
    assert_eq!((outcome.stage(), outcome.hold), (Stage::MacSpoofed, 0));
    let mut spent = t.scene.syn(t.web, ip(OUTSIDE), 1, 2);
    spent.hop_limit = 1;
    let outcome = t.scene.send(&spent);
    assert_eq!((outcome.stage(), outcome.hold), (Stage::HopLimit, 0));
}
