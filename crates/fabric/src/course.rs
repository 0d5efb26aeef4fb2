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
