//! One state of flows laid over another, for questions: "what would come back, had this been sent?"

use atoll_model::Timestamp;

use super::{FlowKey, FlowView, Mapping, Slot, State};

/// Reads `over` first and `under` where that knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Layered<'a, O, U> {
    /// What was supposed.
    pub over: &'a O,
    /// What is.
    pub under: &'a U,
}

impl<O: FlowView, U: FlowView> FlowView for Layered<'_, O, U> {
    fn tracked(&self, owner: Slot, key: &FlowKey, now: Timestamp) -> Option<State> {
        self.over
            .tracked(owner, key, now)
            .or_else(|| self.under.tracked(owner, key, now))
    }

    fn has_room(&self, owner: Slot, key: &FlowKey) -> bool {
        self.under.has_room(owner, key)
    }

    fn mapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        self.over
            .mapped(gateway, wanted, now)
            .or_else(|| self.under.mapped(gateway, wanted, now))
    }

    fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        self.over
            .unmapped(gateway, wanted, now)
            .or_else(|| self.under.unmapped(gateway, wanted, now))
    }

    fn free_port(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<u16> {
        self.under.free_port(gateway, wanted, now)
    }
}
