//! The way of a piece of a packet: it is judged by what the first one says, and waits for that where it came before.

use atoll_fabric::{L4, Stage};
use atoll_model::Timestamp;

use super::walk::describe;
use super::{Engine, Ip, Outbox, l4, unread};
use crate::fragments::{Arrival, Lost};
use crate::vnet;

/// A piece that waits.
pub(super) struct Held {
    ip: Ip,
    /// Vnet header and frame.
    data: Vec<u8>,
}

impl Engine {
    /// Walks a piece, and if it is the first those that waited for it. `data` is the vnet header and the frame.
    pub(super) fn walk_fragment(
        &mut self,
        now: Timestamp,
        ip: &Ip,
        data: &mut [u8],
        index: usize,
        out: &mut Outbox,
    ) {
        let Some(fragment) = &ip.headers.fragment else {
            return;
        };
        let from = (ip.standing.slot, ip.standing.attachment.port());
        if !self.misses.take(ip.sender(), now) {
            self.refused(now, from.1, 1);
            return;
        }
        let own = l4(ip.headers.transport);
        let length = vnet::LENGTH + ip.headers.end;
        let arrival = self
            .fragments
            .arrives(from, (&ip.headers, fragment), own, now, length, || Held {
                ip: *ip,
                data: data.get(..length).unwrap_or_default().to_vec(),
            });
        match arrival {
            Arrival::First(first, waited) => {
                self.walk_piece(now, ip, (ip.headers.protocol, own), data, Some(index), out);
                for mut piece in waited {
                    let said = (first.protocol, first.l4);
                    self.walk_piece(now, &piece.ip, said, &mut piece.data, None, out);
                }
            }
            Arrival::Follows(first) => {
                self.walk_piece(now, ip, (first.protocol, first.l4), data, Some(index), out);
            }
            Arrival::Waits => self.counters.fragments_waited += 1,
            Arrival::Dropped => {}
        }
        self.count_lost_fragments(now);
    }

    fn walk_piece(
        &mut self,
        now: Timestamp,
        ip: &Ip,
        (protocol, l4): (u8, L4),
        data: &mut [u8],
        index: Option<usize>,
        out: &mut Outbox,
    ) {
        let packet = describe(ip, data.get(vnet::LENGTH..).unwrap_or_default(), protocol, l4);
        self.take_up_of(now, ip.standing.slot, &packet);
        self.walk_packet(now, ip, &packet, data, index, out);
    }

    /// Counts the pieces that were dropped before any rule was asked.
    pub(super) fn count_lost_fragments(&mut self, now: Timestamp) {
        for (ingress, why, count) in self.fragments.take_lost() {
            let stage = match why {
                Lost::Alone => Stage::FragmentAlone,
                Lost::Overlaps => Stage::FragmentOverlap,
            };
            self.counters.ended(stage, count);
            self.recent
                .add(now, ingress, None, &unread(ingress, stage), count);
        }
    }
}
