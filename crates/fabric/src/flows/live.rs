//! The live state of flows.

use atoll_model::Timestamp;
use atoll_net::Family;

use super::nat::{Mappings, Refused};
use super::reserved::{Reserved, ReservedId};
use super::share::Shares;
use super::table::Table;
use super::{Effect, Effects, FlowKey, FlowView, Mapping, Slot, State, index};
use crate::component::Changed;
use crate::tracking::HOLD_MOST;

/// How much a host remembers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// IPv4 connections, all interfaces together (each end of a connection counts), at most 2^24 - 2.
    pub ipv4: usize,
    /// IPv6 connections, all interfaces together, at most 2^24 - 2.
    pub ipv6: usize,
    /// Connections of one interface or egress-only gateway, both families.
    pub per_owner: u32,
    /// Mappings, all NAT gateways together, at most 2^24 - 2.
    pub mappings: usize,
    /// Mappings of one NAT gateway, so that one tenant's flood leaves the others theirs.
    pub per_gateway: u32,
    /// What makes the tables' order unforeseeable to tenants.
    pub seed: u64,
}

impl Limits {
    /// Enough for two million connections within the host, half of them IPv6's, and a million mappings.
    pub const HOST: Limits = Limits {
        ipv4: 2_000_000,
        ipv6: 1_000_000,
        per_owner: 500_000,
        mappings: 1_000_000,
        per_gateway: 250_000,
        seed: 0,
    };

    /// Enough for a test or one question.
    pub const SMALL: Limits = Limits {
        ipv4: 4096,
        ipv6: 4096,
        per_owner: 4096,
        mappings: 4096,
        per_gateway: 4096,
        seed: 0,
    };
}

/// A commit that came too late: nothing of it was done that another packet's walk could contradict. Walk again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostRace {
    /// Another connection has the NAT port by now, or this one has another port.
    PortTaken,
    /// A table has filled up meanwhile.
    TableFull,
}

/// The live state of flows on one host; goes with one [`crate::Fabric`].
///
/// Times are kept in ticks of 100 ms since its making, good for 13 years.
#[derive(Debug)]
pub struct Flows {
    base: Timestamp,
    per_owner: u32,
    pub(super) v4: Table<[u8; 4]>,
    pub(super) v6: Table<[u8; 16]>,
    pub(super) mappings: Mappings,
    /// Connections by owner's slot.
    owned: Vec<u32>,
    /// And by VPC.
    shares: Shares,
    /// By slot: which owners are gone, however long ago. Slots are never given twice.
    gone: Vec<bool>,
}

const TICK: u64 = 100;

/// The tick at which something is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    /// This one, if nothing is known of it.
    at: u32,
    /// Up to this one it stays what it was, if its state does: an answer that was left before is given until then.
    latest: u32,
}

impl Forgotten {
    /// This one, whatever is known.
    pub(super) fn at(tick: u32) -> Forgotten {
        Forgotten { at: tick, latest: 0 }
    }

    /// The tick for what was `known`, with its tick, and has this state now.
    pub(super) fn after(self, known: Option<(State, u32)>, state: State) -> u32 {
        match known {
            // What lies beyond was configured otherwise.
            Some((before, until)) if before == state && until <= self.latest => self.at.max(until),
            _ => self.at,
        }
    }
}

fn is_in(gone: &[bool], owner: Slot) -> bool {
    gone.get(owner.0 as usize).is_some_and(|gone| *gone)
}

impl Flows {
    /// Empty, with all its memory reserved.
    pub fn new(limits: Limits, now: Timestamp) -> Flows {
        let at_most = |n: usize| n.min(index::MOST);
        Flows {
            base: now,
            per_owner: limits.per_owner,
            v4: Table::new(at_most(limits.ipv4), limits.seed),
            v6: Table::new(at_most(limits.ipv6), limits.seed),
            mappings: Mappings::new(at_most(limits.mappings), limits.per_gateway, limits.seed),
            owned: Vec::new(),
            shares: Shares::default(),
            gone: Vec::new(),
        }
    }

    pub(super) fn tick(&self, now: Timestamp) -> u32 {
        u32::try_from(now.0.saturating_sub(self.base.0) / TICK).unwrap_or(u32::MAX)
    }

    /// The first tick at which something that is idle from `now` for so many milliseconds is forgotten.
    pub(super) fn deadline(&self, now: Timestamp, timeout: u32) -> u32 {
        let at = now
            .0
            .saturating_sub(self.base.0)
            .saturating_add(u64::from(timeout));
        u32::try_from(at.div_ceil(TICK)).unwrap_or(u32::MAX)
    }

    /// When something is forgotten that has just been met, and of which answers are held.
    fn forgotten(&self, now: Timestamp, timeout: u32, held: u32) -> Forgotten {
        Forgotten {
            at: self.deadline(now, timeout.saturating_add(held)),
            latest: self.deadline(now, timeout.saturating_add(HOLD_MOST)),
        }
    }

    /// When a tick begins.
    pub(super) fn time(&self, tick: u32) -> Timestamp {
        self.base.plus_millis(u64::from(tick) * TICK)
    }

    /// Does what a walk asked for. `held` is for how many milliseconds its answer will be given to later packets
    /// of the flow without a walk (see [`crate::Outcome::hold`]): their time counts as this packet's. So does the time of
    /// those that an earlier answer is still given to: what nothing has changed is not forgotten sooner than it would have been.
    pub fn commit(&mut self, effects: &Effects, now: Timestamp, held: u32) -> Result<(), LostRace> {
        let tick = self.tick(now);
        for effect in effects.iter() {
            match effect {
                Effect::Track {
                    owner,
                    key,
                    state,
                    timeout,
                    begins: _,
                } => {
                    let forgotten = self.forgotten(now, *timeout, held);
                    self.put_connection(*owner, key, *state, now, forgotten)?;
                }
                Effect::Map {
                    gateway,
                    mapping,
                    state,
                    timeout,
                    begins: _,
                } => {
                    let forgotten = self.forgotten(now, *timeout, held);
                    self.mappings
                        .put(*gateway, mapping, *state, tick, forgotten)
                        .map_err(|refused| match refused {
                            Refused::Full => LostRace::TableFull,
                            Refused::PortTaken => LostRace::PortTaken,
                        })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn put_connection(
        &mut self,
        owner: Slot,
        key: &FlowKey,
        state: State,
        now: Timestamp,
        forgotten: Forgotten,
    ) -> Result<(), LostRace> {
        let known = self.known(owner, key, self.tick(now));
        if known.is_none() && !self.has_room(owner, key) {
            return Err(LostRace::TableFull);
        }
        let deadline = forgotten.after(known, state);
        let put = match Family::of(key.local) {
            Family::V4 => self.v4.put(owner, key, state, deadline),
            Family::V6 => self.v6.put(owner, key, state, deadline),
        };
        match put {
            Ok(true) => {
                self.own(owner, 1);
                self.shares.begun(owner, Family::of(key.local));
            }
            Ok(false) => {}
            Err(()) => return Err(LostRace::TableFull),
        }
        Ok(())
    }

    /// When what an effect would have remembered is forgotten as things are; `None` if it is not known just so already:
    /// then committing it would do more than refresh.
    pub fn known_until(&self, effect: &Effect, now: Timestamp) -> Option<Timestamp> {
        let tick = self.tick(now);
        let (wanted, known) = match effect {
            Effect::Track {
                owner, key, state, ..
            } => (state, self.known(*owner, key, tick)),
            Effect::Map {
                gateway,
                mapping,
                state,
                ..
            } => (state, self.mappings.known(*gateway, mapping, tick)),
        };
        let (state, deadline) = known?;
        (state == *wanted).then(|| self.time(deadline))
    }

    /// What is known of a connection, and the tick at which it is forgotten.
    fn known(&self, owner: Slot, key: &FlowKey, tick: u32) -> Option<(State, u32)> {
        match Family::of(key.local) {
            Family::V4 => self.v4.known(owner, key, tick),
            Family::V6 => self.v6.known(owner, key, tick),
        }
    }

    fn own(&mut self, owner: Slot, more: u32) {
        let at = owner.0 as usize;
        if at >= self.owned.len() {
            self.owned.resize((at + 1).next_power_of_two(), 0);
        }
        if let Some(count) = self.owned.get_mut(at) {
            *count += more;
        }
    }

    /// Forgets what has been idle too long, looking at up to `budget` connections and as many mappings. To be
    /// called often enough to go round within minutes.
    pub fn expire(&mut self, now: Timestamp, budget: usize) {
        let tick = self.tick(now);
        let (gone, owned, shares) = (&self.gone, &mut self.owned, &mut self.shares);
        let mut forgotten = |owner: Slot, family: Family| {
            if let Some(count) = owned.get_mut(owner.0 as usize) {
                *count = count.saturating_sub(1);
            }
            shares.ended(owner, family);
        };
        self.v4
            .expire(tick, budget, |o| is_in(gone, o), |o| forgotten(o, Family::V4));
        self.v6
            .expire(tick, budget, |o| is_in(gone, o), |o| forgotten(o, Family::V6));
        self.mappings.expire(tick, budget, |o| is_in(gone, o));
    }

    /// Notes which owners are gone for good, so that the next sweeps forget their flows.
    pub fn forget(&mut self, changed: &Changed) {
        for owner in &changed.gone {
            let at = owner.0 as usize;
            if at >= self.gone.len() {
                self.gone.resize((at + 1).next_power_of_two(), false);
            }
            if let Some(gone) = self.gone.get_mut(at) {
                *gone = true;
            }
        }
        for gateway in changed.gone.iter().chain(&changed.readdressed) {
            self.mappings.end_reserved(*gateway);
        }
    }

    /// Notes which VPCs owners that have come belong to: from then on a VPC has at most three quarters of each table,
    /// so that a flood within one leaves the others a part (semantics 48).
    pub fn join(&mut self, changed: &Changed) {
        for (owner, vpc) in &changed.homes {
            self.shares.join(*owner, *vpc);
        }
    }

    /// Sets ports aside around a mapping that a NAT gateway has or could have: of its source, towards its destination, for whoever
    /// maps connections without a walk. A walk gives these connections the same ports, and nobody else gets them. `None`
    /// where the mapping's neighbours are others', or the gateway has not enough to spare. Asked for again, it is what is
    /// set aside already; it is to be given back as often as it was given.
    pub fn reserve(&mut self, gateway: Slot, mapping: &Mapping, now: Timestamp) -> Option<Reserved> {
        let tick = self.tick(now);
        self.mappings.reserve(gateway, mapping, tick)
    }

    /// Who has these ports maps no more connections to them. Where nobody has, they stay set aside for so many milliseconds: until what was
    /// mapped before is known here.
    pub fn give_back(&mut self, id: ReservedId, now: Timestamp, linger: u32) {
        let until = self.deadline(now, linger);
        self.mappings.give_back(id, until);
    }

    /// Whether an owner is gone for good.
    pub(crate) fn is_gone(&self, owner: Slot) -> bool {
        is_in(&self.gone, owner)
    }

    /// Whether ports are set aside still, as they were given: the gateway is there, and has the address.
    pub fn is_reserved(&self, id: ReservedId) -> bool {
        self.mappings.is_reserved(id)
    }

    /// Whether so much of the destination, the gateway or the table is used that these ports are to be given back, or
    /// they are not set aside any more.
    pub fn is_crowded(&self, id: ReservedId) -> bool {
        self.mappings.is_crowded(id)
    }

    /// Connections tracked, both ends counted, those included that are idle too long but not yet swept.
    pub fn connections(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// NAT mappings, those included that are idle too long but not yet swept.
    pub fn mappings(&self) -> usize {
        self.mappings.len()
    }
}

impl FlowView for Flows {
    #[inline]
    fn tracked(&self, owner: Slot, key: &FlowKey, now: Timestamp) -> Option<State> {
        match Family::of(key.local) {
            Family::V4 => self.v4.get(owner, key, self.tick(now)),
            Family::V6 => self.v6.get(owner, key, self.tick(now)),
        }
    }

    fn ask_for(&self, owner: Slot, key: &FlowKey) {
        match Family::of(key.local) {
            Family::V4 => self.v4.ask_for(owner, key),
            Family::V6 => self.v6.ask_for(owner, key),
        }
    }

    fn has_room(&self, owner: Slot, key: &FlowKey) -> bool {
        let family = Family::of(key.local);
        let (full, capacity) = match family {
            Family::V4 => (self.v4.is_full(), self.v4.capacity()),
            Family::V6 => (self.v6.is_full(), self.v6.capacity()),
        };
        let owned = self.owned.get(owner.0 as usize).copied().unwrap_or(0);
        !full && owned < self.per_owner && self.shares.has_room(owner, family, capacity)
    }

    fn mapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        self.mappings.mapped(gateway, wanted, self.tick(now))
    }

    fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        self.mappings.unmapped(gateway, wanted, self.tick(now))
    }

    fn free_port(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<u16> {
        self.mappings.free_port(gateway, wanted, self.tick(now))
    }
}
