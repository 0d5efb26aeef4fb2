//! The flows that a plane tells are those whose packets passed, as they came and as they left.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use atoll_fabric::flows::State;
use atoll_fabric::packet::protocol;
use atoll_fabric::{L4, Place, Port, Stage};
use atoll_model::Direction;
use atoll_plane::{Capacity, Ends, FlowQuery, LiveFlow, LiveFlows, Plane};
use rig::socket::{DEADLINE, carries, connected, delivers};
use rig::two_hosts::TwoHosts;
use rig::{OUTSIDE_V4, OUTSIDE_V6, Rig, kernel_scenario, rows, scenario};

fn ask(limit: usize, ports: Option<Vec<Port>>) -> FlowQuery {
    FlowQuery {
        limit,
        ports,
        hops: true,
    }
}

/// Asks until the answer is as it should be.
fn flows(plane: &Plane, query: &FlowQuery, wanted: impl Fn(&LiveFlows) -> bool) -> LiveFlows {
    let start = Instant::now();
    loop {
        let found = plane.live_flows(query).unwrap();
        if wanted(&found) {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{found:#?}");
        std::thread::yield_now();
    }
}

fn between(src: impl Into<SocketAddr>, dst: impl Into<SocketAddr>) -> Ends {
    let (src, dst) = (src.into(), dst.into());
    Ends {
        src: src.ip(),
        dst: dst.ip(),
        l4: L4::Ports {
            src: src.port(),
            dst: dst.port(),
            tcp_flags: 0,
        },
    }
}

fn has(state: Option<State>, bits: u8) -> bool {
    state.is_some_and(|state| state.has(bits))
}

/// Whether the kernel, if it takes part, has both directions and has counted packets of them.
fn counted(plane: &Plane, flow: &LiveFlow) -> bool {
    let ways = [Some(flow.forward), flow.back];
    let kernel = ways.map(|way| way.and_then(|way| way.kernel));
    match plane.counters().unwrap().kernel {
        None => kernel == [None, None],
        Some(_) => kernel
            .iter()
            .all(|way| way.is_some_and(|way| way.packets > 0 && way.bytes > 0 && way.last_seen.is_some())),
    }
}

#[test]
fn both_directions_of_both_families_are_one_flow_each() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        assert_eq!(
            rig.plane.live_flows(&ask(10, None)).unwrap(),
            LiveFlows::default()
        );
        assert_eq!(rig.plane.flows().unwrap().interfaces, 2);
        for (from, to) in [
            (IpAddr::from(a.v4), IpAddr::from(b.v4)),
            (a.v6.into(), b.v6.into()),
        ] {
            let (near, far) = (a.namespace.udp(from, 4000), b.namespace.udp(to, 53));
            for _ in 0..20 {
                delivers(&near, to, &far, b"x");
                delivers(&far, from, &near, b"y");
            }
            let there = between((from, 4000), (to, 53));
            let of_family = |found: &LiveFlows| {
                let mut flows = found.flows.iter().filter(|flow| flow.forward.came.src == from);
                let flow = flows.next().cloned();
                assert_eq!(flows.next(), None, "one");
                flow
            };
            let found = flows(&rig.plane, &ask(10, None), |found| {
                of_family(found).is_some_and(|flow| {
                    // A packet more for the kernel to count, should it have begun only now.
                    delivers(&near, to, &far, b"x");
                    delivers(&far, from, &near, b"y");
                    flow.back.is_some() && counted(&rig.plane, &flow)
                })
            });
            let flow = of_family(&found).unwrap();
            assert_eq!(flow.protocol, protocol::UDP);
            assert_eq!(
                (flow.forward.ingress, flow.forward.out),
                (Port::Eni(a.eni), Port::Eni(b.eni))
            );
            assert_eq!((flow.forward.came, flow.forward.leaves), (there, there));
            assert_eq!((flow.forward.hop_limit_decrement, flow.forward.mtu), (0, 9001));
            assert!(flow.forward.holds_for.is_some_and(|millis| millis <= 30_000));
            let back = flow.back.unwrap();
            assert_eq!((back.ingress, back.out), (Port::Eni(b.eni), Port::Eni(a.eni)));
            assert_eq!(back.came, between((to, 53), (from, 4000)));
            assert_eq!(flow.stage, Some(Stage::Delivered));
            assert_eq!(
                flow.hops.first().map(|hop| hop.place),
                Some(Place::Interface(a.eni))
            );
        }
    });
}

#[test]
fn what_a_nat_gateway_writes_is_told_both_ways() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, other, outside) = (
            rig.guest(1, 10, &[rows::OPEN]),
            rig.guest(2, 10, &[rows::OPEN]),
            rig.internet(),
        );
        rig.apply(&rows::nat_gateway());
        rig.apply(&rows::put(vec![rows::private_table()]));
        let listener = outside.listen(OUTSIDE_V4, 80);
        let (near, far) = connected(&a.namespace, &listener, OUTSIDE_V4);
        let (inside, translated) = (near.local_addr().unwrap(), far.peer_addr().unwrap());
        let query = ask(10, Some(vec![Port::Eni(a.eni)]));
        let found = flows(&rig.plane, &query, |found| {
            carries(&mut near.try_clone().unwrap(), &mut far.try_clone().unwrap(), 1);
            carries(&mut far.try_clone().unwrap(), &mut near.try_clone().unwrap(), 2);
            let tcp = found.flows.iter().find(|flow| flow.protocol == protocol::TCP);
            tcp.is_some_and(|flow| flow.back.is_some() && counted(&rig.plane, flow))
        });
        let [flow] = &found.flows[..] else {
            panic!("{found:#?}")
        };
        let remote = (OUTSIDE_V4, 80);
        assert_eq!(
            (flow.forward.ingress, flow.forward.out),
            (Port::Eni(a.eni), Port::Internet)
        );
        assert_eq!(flow.forward.came, between(inside, remote));
        assert_eq!(flow.forward.leaves, between(translated, remote));
        assert_eq!(flow.forward.mtu, 1500);
        let back = flow.back.unwrap();
        assert_eq!((back.ingress, back.out), (Port::Internet, Port::Eni(a.eni)));
        assert_eq!(
            (back.came, back.leaves),
            (between(remote, translated), between(remote, inside))
        );
        assert!(
            has(flow.tracked, State::FROM_OWNER | State::REPLIED),
            "{:?}",
            flow.tracked
        );
        assert!(!has(flow.tracked, State::FIN_OUT));
        let met = |wanted: fn(&Place) -> bool| flow.hops.iter().any(|hop| wanted(&hop.place));
        assert!(
            met(|place| matches!(place, Place::NatGateway(_))),
            "{:#?}",
            flow.hops
        );
        assert!(met(|place| matches!(place, Place::InternetGateway(_))));
        assert_eq!(flow.stage, Some(Stage::ExitsToInternet));

        // IPv6 by the egress-only gateway, begun inside; another interface has no part in it.
        let (six, far_six) = (a.namespace.udp(a.v6, 4000), outside.udp(OUTSIDE_V6, 53));
        for _ in 0..3 {
            delivers(&six, OUTSIDE_V6, &far_six, b"x");
            delivers(&far_six, a.v6, &six, b"y");
        }
        let found = flows(&rig.plane, &query, |found| found.flows.len() == 2);
        let six = found
            .flows
            .iter()
            .find(|flow| flow.protocol == protocol::UDP)
            .unwrap();
        assert_eq!(six.forward.came, between((a.v6, 4000), (OUTSIDE_V6, 53)));
        assert_eq!(six.forward.leaves, six.forward.came);
        let others = rig
            .plane
            .live_flows(&ask(10, Some(vec![Port::Eni(other.eni)])))
            .unwrap();
        assert_eq!(others, LiveFlows::default());

        // A rule that cuts them is told at once, before their next packets come.
        rig.apply(&rows::put(vec![rows::acl(
            &[(90, "deny", rows::tcp(80, 80), "0.0.0.0/0")],
            &[],
        )]));
        let found = rig.plane.live_flows(&query).unwrap();
        let tcp = found
            .flows
            .iter()
            .find(|flow| flow.protocol == protocol::TCP)
            .unwrap();
        assert_eq!(tcp.stage, Some(Stage::NaclIngress));
        assert_eq!((tcp.forward.holds_for, tcp.forward.kernel), (None, None));
    });
}

#[test]
fn many_flows_are_told_once_each_and_no_more_than_were_asked_for() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        let far = b.namespace.udp(b.v4, 53);
        let sockets: Vec<_> = (0..80).map(|n| a.namespace.udp(a.v4, 4000 + n)).collect();
        let exchange = || {
            for near in &sockets {
                delivers(near, b.v4, &far, b"x");
                delivers(&far, a.v4, near, b"y");
            }
        };
        let query = ask(1000, None);
        let found = flows(&rig.plane, &query, |found| {
            if found.flows.len() < sockets.len() {
                exchange();
            }
            found.flows.len() >= sockets.len()
        });
        assert!(!found.truncated);
        let mut sources: Vec<_> = found
            .flows
            .iter()
            .map(|flow| match flow.forward.came.l4 {
                L4::Ports { src, dst: 53, .. } => src,
                other => panic!("{other:?}"),
            })
            .collect();
        sources.sort_unstable();
        assert_eq!(sources, (4000..4080).collect::<Vec<_>>());
        let few = rig.plane.live_flows(&ask(7, None)).unwrap();
        assert_eq!((few.flows.len(), few.truncated), (7, true));
        let none = rig.plane.live_flows(&ask(0, None)).unwrap();
        assert_eq!((none.flows.len(), none.truncated), (0, true));
        assert!(!rig.plane.live_flows(&ask(80, None)).unwrap().truncated);
    });
}

#[test]
fn a_flow_between_hosts_is_told_once_at_each_with_the_other_and_its_way_here() {
    kernel_scenario(|| {
        let (two, near, far) = TwoHosts::with_guests(9100, false);
        for (from, to) in [
            (IpAddr::from(near.v4), IpAddr::from(far.v4)),
            (near.v6.into(), far.v6.into()),
        ] {
            let (client, server) = (near.namespace.udp(from, 4000), far.namespace.udp(to, 53));
            for _ in 0..5 {
                delivers(&client, to, &server, b"question");
                delivers(&server, from, &client, b"answer");
            }
            let whole = |found: &LiveFlow, plane: &Plane| found.back.is_some() && counted(plane, found);
            let mut told = [0, 1].map(|host| {
                let plane = &two.rigs[host].plane;
                let port = [Port::Eni(near.eni), Port::Eni(far.eni)][host];
                let found = flows(plane, &ask(10, Some(vec![port])), |found| {
                    // Some more for the kernels to count, should they have begun only now.
                    delivers(&client, to, &server, b"question");
                    delivers(&server, from, &client, b"answer");
                    let of_it = found
                        .flows
                        .iter()
                        .filter(|flow| flow.forward.came.src.is_ipv4() == from.is_ipv4());
                    of_it.clone().count() == 1 && of_it.clone().all(|flow| whole(flow, plane))
                });
                let mut of_it = found.flows.into_iter();
                of_it
                    .find(|flow| flow.forward.came.src.is_ipv4() == from.is_ipv4())
                    .unwrap()
            });
            // Whoever asks for the other host's port finds it, too.
            for (host, port) in [(0, far.eni), (1, near.eni)] {
                let query = ask(10, Some(vec![Port::Eni(port)]));
                let of_it = |flow: &LiveFlow| flow.forward.came.src.is_ipv4() == from.is_ipv4();
                flows(&two.rigs[host].plane, &query, |found| {
                    delivers(&client, to, &server, b"question");
                    delivers(&server, from, &client, b"answer");
                    found.flows.iter().any(of_it)
                });
                let nobody = ask(10, Some(vec![Port::Eni(atoll_model::EniId::new(4711))]));
                assert_eq!(two.rigs[host].plane.live_flows(&nobody).unwrap().flows.len(), 0);
            }
            for (host, flow) in told.iter_mut().enumerate() {
                let (forward, back) = (flow.forward, flow.back.unwrap());
                assert_eq!(forward.came, between((from, 4000), (to, 53)));
                assert_eq!(forward.leaves, forward.came);
                assert_eq!(back.came, between((to, 53), (from, 4000)));
                let ends = (Port::Eni(near.eni), Port::Eni(far.eni));
                assert_eq!((forward.ingress, forward.out), ends);
                assert_eq!((back.out, back.ingress), ends);
                let other = Some(two.addresses[1 - host]);
                let (goes, comes) = if host == 0 {
                    ((None, other), (other, None))
                } else {
                    ((other, None), (None, other))
                };
                assert_eq!((forward.from, forward.to), goes, "{flow:#?}");
                assert_eq!((back.from, back.to), comes);
                // What each host asks of its part of the way.
                let met = |place: Place| flow.hops.iter().any(|hop| hop.place == place);
                let groups = |eni, direction| met(Place::SecurityGroups(eni, direction));
                assert_eq!(groups(near.eni, Direction::Egress), host == 0, "{flow:#?}");
                assert_eq!(groups(far.eni, Direction::Ingress), host == 1, "{flow:#?}");
                assert_eq!(flow.stage, (host == 1).then_some(Stage::Delivered));
            }
        }
        // Each once, whoever is asked about.
        for rig in &two.rigs {
            assert_eq!(rig.plane.live_flows(&ask(10, None)).unwrap().flows.len(), 2);
        }
    });
}
