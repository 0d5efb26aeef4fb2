//! The course of connections like one that was walked there and back: what their packets change of what is known of
//! flows, whatever the rules say by then.
//!
//! Whoever forwards connections by decisions, as the program in the kernel does, has them known a little later. Where the
//! rules have changed meanwhile, a walk would ask the new ones. But a connection that has been let in is tracked, and stays
//! so (semantics 43): what it is to leave was said when it was decided.

use atoll_model::Timestamp;

use crate::fabric::Fabric;
use crate::flows::{Effect, Effects, FlowKey, FlowView, Flows, Mapping, Slot, State};
use crate::packet::{L4, Packet, Port};
use crate::tracking::{self, Timeouts};

/// What connections to a service leave behind, all alike but for the client's port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    steps: Box<[Step]>,
    /// The client's port of the one that was walked.
    port: u16,
    /// The same as a NAT gateway has put it.
    seen: u16,
}

/// A packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it is of the side that did not begin.
    pub back: bool,
    /// Its TCP flags; 0 for UDP.
    pub flags: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    what: Known,
    /// Whether what opens the connection leaves the owner. What answers goes the other way.
    outbound: bool,
    /// Whether what answers comes by.
    back: bool,
    /// Whether it is what answers that begins it. What goes there comes by all the same: both have the same two ends.
    begins_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Track {
        owner: Slot,
        key: FlowKey,
        timeouts: Timeouts,
    },
    Map {
        gateway: Slot,
        mapping: Mapping,
    },
}

impl Fabric {
    /// The course of connections like one that `opening` opens, which goes out as `sent` at a port: by what the walks of
    /// that and of its answer would do.
    pub fn course(
        &self,
        opening: &Packet,
        sent: &Packet,
        out: Port,
        there: &Effects,
        back: &Effects,
    ) -> Course {
        let timeouts = |owner: Slot| {
            let ends = [opening.ingress, out].into_iter();
            let interfaces = ends.filter_map(|end| match end {
                Port::Eni(id) => self.interfaces.get(id),
                Port::Internet => None,
            });
            // Who is none of both is a gateway.
            let mut its = interfaces.filter(|interface| interface.slot == owner);
            its.next()
                .map_or(Timeouts::OF_GATEWAY, |interface| interface.timeouts)
        };
        let mut steps: Vec<Step> = Vec::new();
        for (effect, is_back) in there
            .iter()
            .map(|e| (e, false))
            .chain(back.iter().map(|e| (e, true)))
        {
            let same = |step: &&mut Step| match (&step.what, effect) {
                (
                    Known::Track { owner, key, .. },
                    Effect::Track {
                        owner: its, key: of, ..
                    },
                ) => (owner, key) == (its, of),
                (
                    Known::Map { gateway, mapping },
                    Effect::Map {
                        gateway: its,
                        mapping: of,
                        ..
                    },
                ) => (gateway, mapping) == (its, of),
                _ => false,
            };
            if let Some(step) = steps.iter_mut().find(same) {
                step.back |= is_back;
                continue;
            }
            let (what, outbound) = match effect {
                Effect::Track {
                    owner, key, state, ..
                } => {
                    let timeouts = timeouts(*owner);
                    let what = Known::Track {
                        owner: *owner,
                        key: *key,
                        timeouts,
                    };
                    // Who sent the first packet that it met.
                    (what, state.has(State::FROM_OWNER) != is_back)
                }
                Effect::Map { gateway, mapping, .. } => {
                    let what = Known::Map {
                        gateway: *gateway,
                        mapping: *mapping,
                    };
                    (what, true)
                }
            };
            steps.push(Step {
                what,
                outbound,
                back: is_back,
                begins_back: is_back,
            });
        }
        Course {
            steps: steps.into(),
            port: source_port(opening),
            seen: source_port(sent),
        }
    }
}

fn source_port(packet: &Packet) -> u16 {
    match packet.l4 {
        L4::Ports { src, .. } => src,
        _ => 0,
    }
}

impl Course {
    /// What a connection has changed with all the packets that it `said`, the first of them what opened it. Its client has
    /// the source port `port`, which is `seen` beyond a NAT gateway. `mapped` is whether such a gateway still has what it
    /// had. Owners that are gone know nothing any more.
    pub fn effects(
        &self,
        flows: &Flows,
        (port, seen): (u16, u16),
        said: &[Said],
        mapped: bool,
        now: Timestamp,
    ) -> Effects {
        let mut effects = Effects::default();
        let of_this_one = |number: u16| match number {
            _ if number == self.port => port,
            _ if number == self.seen => seen,
            _ => number,
        };
        for step in &self.steps {
            let effect = match &step.what {
                Known::Track { owner, .. } if flows.is_gone(*owner) => None,
                Known::Track { owner, key, timeouts } => {
                    let mut key = *key;
                    let number = if step.outbound {
                        &mut key.local_port
                    } else {
                        &mut key.remote_port
                    };
                    *number = of_this_one(*number);
                    let known = flows.tracked(*owner, &key, now);
                    let mut begins = known.is_none();
                    let state = step.after(said, known, |state, flags, outbound, may_begin| {
                        let next = state.and_then(|state| tracking::continued(state, flags, outbound));
                        if next.is_none() && may_begin {
                            begins = true;
                            return Some(tracking::begun(flags, outbound));
                        }
                        next.or(state)
                    });
                    state.map(|state| Effect::Track {
                        owner: *owner,
                        key,
                        state,
                        timeout: tracking::timeout(key.protocol, state, timeouts),
                        begins,
                    })
                }
                Known::Map { gateway, .. } if !mapped || flows.is_gone(*gateway) => None,
                Known::Map { gateway, mapping } => {
                    let mapping = Mapping {
                        inside_port: port,
                        outside_port: seen,
                        ..*mapping
                    };
                    let known = flows.mapped(*gateway, &mapping, now);
                    let known = known.filter(|(had, _)| *had == mapping).map(|(_, state)| state);
                    let state = step.after(said, known, |state, flags, outbound, may_begin| {
                        let state = state.or(may_begin.then_some(State(0)))?;
                        Some(tracking::mapping_after(state, flags, outbound))
                    });
                    state.map(|state| Effect::Map {
                        gateway: *gateway,
                        mapping,
                        state,
                        timeout: tracking::mapping_timeout(state),
                        begins: known.is_none(),
                    })
                }
            };
            if let Some(effect) = effect {
                effects.add(effect);
            }
        }
        effects
    }
}

impl Step {
    /// The state after the packets that meet it; `None` if it is not known then.
    fn after(
        &self,
        said: &[Said],
        known: Option<State>,
        mut next: impl FnMut(Option<State>, u8, bool, bool) -> Option<State>,
    ) -> Option<State> {
        said.iter().fold(known, |state, said| {
            if said.back && !self.back {
                return state;
            }
            next(
                state,
                said.flags,
                self.outbound != said.back,
                said.back == self.begins_back,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::component::Changed;
    use crate::flows::Limits;
    use crate::packet::{protocol, tcp};

    const NOW: Timestamp = Timestamp(1_000_000);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
    const OPENS: Said = Said {
        back: false,
        flags: tcp::SYN,
    };
    const ANSWERS: Said = Said {
        back: true,
        flags: tcp::SYN | tcp::ACK,
    };

    fn track(owner: u32, ends: [(Ipv4Addr, u16); 2], outbound: bool) -> Step {
        let [(local, local_port), (remote, remote_port)] = ends;
        let key = FlowKey {
            local: local.into(),
            remote: remote.into(),
            protocol: protocol::TCP,
            local_port,
            remote_port,
        };
        Step {
            what: Known::Track {
                owner: Slot(owner),
                key,
                timeouts: Timeouts::OF_GATEWAY,
            },
            outbound,
            back: true,
            begins_back: false,
        }
    }

    /// From a client by a gateway to a server, all of which know of it.
    fn translated() -> Course {
        let map = Step {
            what: Known::Map {
                gateway: Slot(2),
                mapping: Mapping {
                    protocol: protocol::TCP,
                    inside: CLIENT,
                    inside_port: 4000,
                    outside: GATEWAY,
                    outside_port: 9120,
                    remote: SERVER,
                    remote_port: 80,
                },
            },
            outbound: true,
            back: true,
            begins_back: false,
        };
        Course {
            steps: Box::new([
                track(1, [(CLIENT, 4000), (SERVER, 80)], true),
                map,
                track(3, [(SERVER, 80), (GATEWAY, 9120)], false),
            ]),
            port: 4000,
            seen: 9120,
        }
    }

    /// Owners with the ports and the state that they know.
    fn known(course: &Course, flows: &Flows, said: &[Said], mapped: bool) -> Vec<(u32, u16, u16, u8)> {
        let effects = course.effects(flows, (4001, 9121), said, mapped, NOW);
        let each = effects.iter().map(|effect| match effect {
            Effect::Track {
                owner, key, state, ..
            } => (owner.0, key.local_port, key.remote_port, state.0),
            Effect::Map {
                gateway,
                mapping,
                state,
                ..
            } => (gateway.0, mapping.inside_port, mapping.outside_port, state.0),
        });
        each.collect()
    }

    #[test]
    fn each_side_knows_the_port_that_it_sees() {
        let flows = Flows::new(Limits::SMALL, NOW);
        let (out, replied) = (State::FROM_OWNER, State::REPLIED);
        assert_eq!(
            known(&translated(), &flows, &[OPENS, ANSWERS], true),
            [
                (1, 4001, 80, out | replied),
                (2, 4001, 9121, 0),
                (3, 80, 9121, replied)
            ]
        );
    }

    #[test]
    fn who_is_gone_and_who_has_other_addresses_knows_nothing() {
        let mut flows = Flows::new(Limits::SMALL, NOW);
        let owners = |flows: &Flows, mapped| {
            let known = known(&translated(), flows, &[OPENS], mapped);
            known.into_iter().map(|(owner, ..)| owner).collect::<Vec<_>>()
        };
        assert_eq!(owners(&flows, false), [1, 3]);
        for (gone, left) in [(3, vec![1, 2]), (2, vec![1]), (1, vec![])] {
            let mut changed = Changed::default();
            changed.gone.push(Slot(gone));
            flows.forget(&changed);
            // However long ago.
            flows.expire(NOW, 100);
            assert_eq!(owners(&flows, true), left);
        }
    }

    #[test]
    fn what_comes_by_one_way_only_is_known_by_what_goes_there() {
        let flows = Flows::new(Limits::SMALL, NOW);
        let with = |back, begins_back| {
            let step = track(1, [(SERVER, 80), (CLIENT, 4000)], false);
            Course {
                steps: Box::new([Step {
                    back,
                    begins_back,
                    ..step
                }]),
                port: 4000,
                seen: 4000,
            }
        };
        let states = |course: &Course, said: &[Said]| {
            let effects = course.effects(&flows, (4001, 4001), said, true, NOW);
            let states = effects.iter().map(|effect| match effect {
                Effect::Track { state, .. } | Effect::Map { state, .. } => state.0,
            });
            states.collect::<Vec<_>>()
        };
        // Its answers leave another way.
        assert_eq!(states(&with(false, false), &[OPENS, ANSWERS, OPENS]), [0]);
        // Nothing is tracked before it answers: that begins it, from this side.
        assert_eq!(states(&with(true, true), &[OPENS]), [] as [u8; 0]);
        assert_eq!(states(&with(true, true), &[OPENS, ANSWERS]), [State::FROM_OWNER]);
        assert_eq!(
            states(&with(true, true), &[OPENS, ANSWERS, OPENS]),
            [State::FROM_OWNER | State::REPLIED]
        );
    }
}
