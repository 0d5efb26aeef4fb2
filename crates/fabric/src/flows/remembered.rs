//! The state of flows piece by piece, so that it can be written down as it changes and taken up again.

use atoll_model::Timestamp;
use atoll_net::Family;

use super::live::{Flows, Forgotten};
use super::{FlowKey, Mapping, Slot, State};

/// A table of [`Flows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// IPv4 connections.
    V4,
    /// IPv6 connections.
    V6,
    /// NAT gateways' mappings.
    Mappings,
}

/// A place where one thing is remembered: those of a table are numbered from 0 and filled from there, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The table.
    pub shelf: Shelf,
    /// Which place.
    pub number: u32,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// A connection of an interface or an egress-only gateway.
    Connection {
        /// Whose.
        owner: Slot,
        /// Which.
        key: FlowKey,
        /// What is known of it.
        state: State,
        /// When it is forgotten.
        until: Timestamp,
    },
    /// A NAT gateway's mapping.
    Mapping {
        /// Whose.
        owner: Slot,
        /// Which.
        mapping: Mapping,
        /// What is known of its connection.
        state: State,
        /// When it is forgotten.
        until: Timestamp,
    },
}

impl Remembered {
    /// Whose it is.
    pub fn owner(&self) -> Slot {
        let (Remembered::Connection { owner, .. } | Remembered::Mapping { owner, .. }) = self;
        *owner
    }

    /// When it is forgotten.
    pub fn until(&self) -> Timestamp {
        let (Remembered::Connection { until, .. } | Remembered::Mapping { until, .. }) = self;
        *until
    }

    /// The same under another number of its owner, and until another time.
    pub fn moved(mut self, to: Slot, new: Timestamp) -> Remembered {
        let (Remembered::Connection { owner, until, .. } | Remembered::Mapping { owner, until, .. }) =
            &mut self;
        (*owner, *until) = (to, new);
        self
    }
}

impl Flows {
    /// Has the places kept whose content changes, for [`Flows::take_touched`].
    pub fn watch(&mut self) {
        self.v4.watch();
        self.v6.watch();
        self.mappings.watch();
    }

    /// Moves out which places changed since the last call; one may come twice. What stands there now,
    /// [`Flows::remembered`] says.
    pub fn take_touched(&mut self, into: &mut Vec<Place>) {
        let mut of = |shelf, touched: Option<&mut Vec<u32>>| {
            let touched = touched.into_iter().flat_map(|touched| touched.drain(..));
            into.extend(touched.map(|number| Place { shelf, number }));
        };
        of(Shelf::V4, self.v4.touched());
        of(Shelf::V6, self.v6.touched());
        of(Shelf::Mappings, self.mappings.touched());
    }

    /// What stands at a place, if something does.
    pub fn remembered(&self, place: Place) -> Option<Remembered> {
        let at = place.number as usize;
        let connection = |(owner, key, state, deadline)| Remembered::Connection {
            owner,
            key,
            state,
            until: self.time(deadline),
        };
        match place.shelf {
            Shelf::V4 => self.v4.at(at).map(connection),
            Shelf::V6 => self.v6.at(at).map(connection),
            Shelf::Mappings => {
                self.mappings
                    .at(at)
                    .map(|(owner, mapping, state, deadline)| Remembered::Mapping {
                        owner,
                        mapping,
                        state,
                        until: self.time(deadline),
                    })
            }
        }
    }

    /// Takes up what an earlier one remembered, with the owner's slot here. False when it is over at `now` or finds no
    /// room.
    pub fn restore(&mut self, remembered: &Remembered, now: Timestamp) -> bool {
        let Some(left) = remembered.until().0.checked_sub(now.0).filter(|left| *left > 0) else {
            return false;
        };
        let forgotten = Forgotten::at(self.deadline(now, u32::try_from(left).unwrap_or(u32::MAX)));
        match remembered {
            Remembered::Connection {
                owner, key, state, ..
            } => {
                if Family::of(key.local) != Family::of(key.remote) {
                    return false;
                }
                self.put_connection(*owner, key, *state, now, forgotten).is_ok()
            }
            Remembered::Mapping {
                owner,
                mapping,
                state,
                ..
            } => {
                let tick = self.tick(now);
                self.mappings
                    .put(*owner, mapping, *state, tick, forgotten)
                    .is_ok()
            }
        }
    }
}
