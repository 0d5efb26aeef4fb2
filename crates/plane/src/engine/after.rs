//! What the decision law walks over: flows as they would be, had a walk's effects been committed.

use atoll_fabric::flows::{Effect, FlowKey, Flows, Mapping, State};
use atoll_fabric::{Effects, FlowView, Slot};
use atoll_model::Timestamp;

/// The state of flows after walks whose effects nobody has committed.
pub(super) struct After<'a> {
    pub(super) flows: &'a Flows,
    pub(super) effects: Vec<Effects>,
}

impl After<'_> {
    /// The latest first.
    fn supposed_mappings(&self, of: Slot) -> impl Iterator<Item = (Mapping, State)> {
        let effects = self.effects.iter().rev().flat_map(Effects::iter);
        effects.filter_map(move |effect| match effect {
            Effect::Map {
                gateway,
                mapping,
                state,
                ..
            } if *gateway == of => Some((*mapping, *state)),
            _ => None,
        })
    }
}

impl FlowView for After<'_> {
    fn tracked(&self, owner: Slot, key: &FlowKey, now: Timestamp) -> Option<State> {
        let supposed = |effect: &Effect| match effect {
            Effect::Track {
                owner: o,
                key: k,
                state,
                ..
            } if (o, k) == (&owner, key) => Some(*state),
            _ => None,
        };
        let latest = self.effects.iter().rev();
        latest
            .flat_map(|effects| effects.iter())
            .find_map(supposed)
            .or_else(|| self.flows.tracked(owner, key, now))
    }

    fn has_room(&self, owner: Slot, key: &FlowKey) -> bool {
        self.flows.has_room(owner, key)
    }

    fn mapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        let (outside, outside_port) = (wanted.outside, wanted.outside_port);
        let supposed = self.supposed_mappings(gateway).find(|(mapping, _)| {
            let asked = Mapping {
                outside,
                outside_port,
                ..*mapping
            };
            asked == *wanted
        });
        supposed.or_else(|| self.flows.mapped(gateway, wanted, now))
    }

    fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        let (inside, inside_port) = (wanted.inside, wanted.inside_port);
        let supposed = self.supposed_mappings(gateway).find(|(mapping, _)| {
            let asked = Mapping {
                inside,
                inside_port,
                ..*mapping
            };
            asked == *wanted
        });
        supposed.or_else(|| self.flows.unmapped(gateway, wanted, now))
    }

    fn free_port(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<u16> {
        self.flows.free_port(gateway, wanted, now)
    }
}
