//! Answers that a change has made stale, looked at again in the background.
//!
//! A change makes stale what depends on it, at once; a stale answer is given to nobody, and the next packet of its flow is
//! walked. After a change that concerns many flows each of them would come up for that. So the engine goes over the table
//! in pieces between batches of packets and walks what the next packet of each stale flow would be.
//!
//! That is no packet. Nothing is committed, refreshed or counted as one: an answer that a walk still gives holds again,
//! exactly as long as it would have held before. Where a packet would do more than refresh what is known, begin a
//! connection above all, or would be dropped, the answer stays stale and that packet is walked: counted, logged and
//! told as every other one.

use atoll_fabric::flows::{Effect, Reserved};
use atoll_fabric::packet::protocol;
use atoll_fabric::{Ahead, Effects, Port};
use atoll_model::Timestamp;
use atoll_net::packet::tcp_flags;

use super::Engine;
use super::decide::{Decided, translation};
use super::walk::LONGEST_HOLD;
use crate::cache::{FlowCache, Found, Key, PortRole};

/// What is still to be looked at.
#[derive(Default)]
pub(super) struct Revalidation {
    /// Decisions' places to go: all of them after each change, the last one first.
    decisions: usize,
    /// Decisions that were found stale.
    asks: Vec<Key>,
    /// Where in the table it goes on.
    place: usize,
    /// Places to go: all of them after each change.
    left: usize,
    stale: Vec<(Key, Found)>,
}

impl Revalidation {
    /// A change has made answers stale.
    pub(super) fn begin(&mut self, cache: &FlowCache) {
        self.decisions = cache.decision_places();
        self.left = cache.places();
    }
}

/// Places that are looked at for each walk that may be made: most are free, or hold.
const PLACES_A_WALK: usize = 64;
/// Places of decisions that are looked at in a piece at most.
const DECISIONS: usize = 512;
/// So many walks ask for their memory together.
const TOGETHER: usize = 32;
/// As how many walks a decision counts.
const DEAR: usize = 4;
/// The source port that a decision is looked at with if it is about that one, as Linux would choose it.
const USUAL_PORT: u16 = 40_000;
/// What the times of connections may be rounded up by, in milliseconds.
const ROUNDED: u64 = 100;

impl Engine {
    /// Whether there are answers to be looked at again.
    pub fn is_revalidating(&self) -> bool {
        self.revalidation.left > 0 || self.revalidation.decisions > 0 || !self.revalidation.asks.is_empty()
    }

    /// Looks at a piece of what a change has made stale; `budget` bounds the work, in walks. To be called between
    /// batches of packets while [`Engine::is_revalidating`].
    pub fn revalidate(&mut self, now: Timestamp, budget: usize) {
        let at = now.0 as u32;
        // First decisions, since each lets the kernel make any number of flows.
        let Revalidation { decisions, asks, .. } = &mut self.revalidation;
        if asks.is_empty() && *decisions > 0 {
            let end = *decisions;
            *decisions = end.saturating_sub(DECISIONS);
            self.cache.stale_decisions(*decisions..end, &self.cells, at, asks);
        }
        let mut budget = budget.max(DEAR);
        while budget >= DEAR
            && let Some(ask) = self.revalidation.asks.pop()
        {
            self.decide_again(now, &ask);
            budget -= DEAR;
        }
        let Revalidation { decisions, left, .. } = &self.revalidation;
        if *decisions > 0 || *left == 0 || budget < DEAR {
            return;
        }
        let places = self.cache.places();
        let mut stale = std::mem::take(&mut self.revalidation.stale);
        let Revalidation { place, left, .. } = &mut self.revalidation;
        if *place >= places {
            *place = 0;
        }
        let from = *place;
        let end = places.min(from + (*left).min(budget * PLACES_A_WALK));
        // Where nothing is kept of a family nothing is looked for.
        let start = self.cache.worth_looking_at(from).clamp(from, places);
        let next = if start < end {
            self.cache.stale(start..end, &self.cells, at, budget, &mut stale)
        } else {
            start
        };
        *place = next;
        *left = left.saturating_sub(next - from);
        for together in stale.chunks(TOGETHER) {
            self.look_ahead_again(together);
            for (key, found) in together {
                self.answer_again(now, key, found);
            }
        }
        stale.clear();
        self.revalidation.stale = stale;
    }

    /// Asks for the memory that the walks of these flows' next packets will read.
    fn look_ahead_again(&self, stale: &[(Key, Found)]) {
        let ahead = stale
            .iter()
            .filter_map(|(key, _)| match self.ports.get(key.slot())?.attachment.port() {
                Port::Eni(sender) => Some(Ahead {
                    sender,
                    connection: key.connection(),
                }),
                Port::Internet => None,
            });
        self.fabric.look_ahead(&self.flows, ahead);
    }

    /// Walks what the next packet of a flow would be.
    fn answer_again(&mut self, now: Timestamp, key: &Key, found: &Found) {
        // What was put for one before it may have taken its place.
        if self.cache.peek(key) != Some(*found) {
            return;
        }
        let Some(path) = self.cache.path(found.path).0.copied() else {
            return;
        };
        let flags = match key.protocol() {
            protocol::TCP => tcp_flags::ACK,
            _ => 0,
        };
        let Some(packet) = self.imagine_of(key, path.macs, flags) else {
            return;
        };
        self.counters.revalidated += 1;
        let outcome = self.walk_from_here(&self.flows, &packet, now, &mut ());
        let at = now.0 as u32;
        let left = found.expires.wrapping_sub(at);
        if !outcome.cacheable() || !self.stays(&outcome.effects, now, left) {
            return;
        }
        let Some((led, number)) = self.leads_again(&packet, &outcome, path.cell) else {
            return;
        };
        let expires = at.wrapping_add(left.min(outcome.hold));
        if (led, number) == (path, found.number) {
            self.cache.renew(key, found, &self.cells, expires);
        } else {
            self.cache.keep(key, led, number, &self.cells, at, expires);
        }
    }

    /// Whether packets may be forwarded for so many milliseconds more without anything of these effects being done: what
    /// they are about is known just so, and for as long as after a packet at the end of that time, but no longer than a
    /// packet now would have it known.
    fn stays(&self, effects: &Effects, now: Timestamp, left: u32) -> bool {
        effects.iter().all(|effect| {
            let (Effect::Track { timeout, .. } | Effect::Map { timeout, .. }) = effect;
            let idle = u64::from(*timeout);
            let (least, most) = (u64::from(left), u64::from(LONGEST_HOLD) + ROUNDED);
            self.flows.known_until(effect, now).is_some_and(|until| {
                until >= now.plus_millis(idle + least) && until <= now.plus_millis(idle + most)
            })
        })
    }

    /// Walks what would open a connection that a decision is about, and what would answer.
    fn decide_again(&mut self, now: Timestamp, ask: &Key) {
        let at = now.0 as u32;
        let Some(before) = self.cache.decision(ask).cloned() else {
            return;
        };
        if self.cache.holds(&before, &self.cells, at) || (before.expires.wrapping_sub(at) as i32) <= 0 {
            return;
        }
        let Some(path) = self.cache.path(before.there.0).0 else {
            return;
        };
        let port = USUAL_PORT.clamp(*before.ports.start(), *before.ports.end());
        let flags = match ask.protocol() {
            protocol::TCP => tcp_flags::SYN,
            _ => 0,
        };
        let macs = path.macs;
        let Some(packet) = self.imagine_of(&ask.with_source_port(port), macs, flags) else {
            return;
        };
        self.counters.revalidated += 1;
        // What is set aside stays so: it goes over to the decision in its place.
        let reserved = before.translated.map(|translated| Reserved {
            id: translated.reserved,
            inside: before.ports.clone(),
            outside: translated.block,
        });
        let mapping = match &reserved {
            None => None,
            Some(_) => {
                let outcome = self.walk_from_here(&self.flows, &packet, now, &mut ());
                match translation(&outcome.effects) {
                    Some(Some(mapping)) => Some(mapping),
                    _ => return,
                }
            }
        };
        let Some(Decided {
            mut decision,
            course,
            there,
            back,
        }) = self.decided(now, &packet, None, mapping, reserved.as_ref())
        else {
            // It is stale, and soon swept away.
            return;
        };
        if decision.translated == before.translated {
            debug_assert!(before.translated.is_none() || there.role != PortRole::None);
            decision.expires = before.expires;
            self.cache
                .decide(*ask, decision, course, there, back, &self.cells);
        }
    }
}
