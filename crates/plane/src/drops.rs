//! Dropped packets: the recent ones for people to look at, and verdicts kept for a moment so that a flood is not
//! walked packet by packet.

use std::collections::VecDeque;

use atoll_fabric::{CellId, Cells, Drop, L4, Packet, Port, Stage};
use atoll_model::Timestamp;

use crate::cache::Key;

/// A dropped packet, or several alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropRecord {
    /// The latest one's time.
    pub time: Timestamp,
    /// Where it came in.
    pub ingress: Port,
    /// Its headers, as it came in; `None` for what could not be read (stage `malformed`), and for what was not: because
    /// its port had sent more than its share (stage `table-full`), or because it is a fragment that no rule was asked
    /// about (`fragment-alone`, `fragment-overlap`).
    pub packet: Option<Packet>,
    /// Why and where.
    pub drop: Drop,
    /// How many alike: same port, stage, place, rule, addresses, protocol and ports.
    pub count: u64,
}

/// The latest drops; the oldest ones make room.
#[derive(Debug)]
pub(crate) struct RecentDrops {
    records: VecDeque<DropRecord>,
    most: usize,
}

/// How many of the latest records are looked at for one alike.
const ALIKE: usize = 16;

impl RecentDrops {
    pub(crate) fn new(most: usize) -> RecentDrops {
        RecentDrops {
            records: VecDeque::with_capacity(most),
            most,
        }
    }

    /// Adds `count` drops alike.
    pub(crate) fn add(
        &mut self,
        time: Timestamp,
        ingress: Port,
        packet: Option<&Packet>,
        drop: &Drop,
        count: u64,
    ) {
        let what = |packet: &Packet| {
            let l4 = match packet.l4 {
                // A repeated SYN and a RST of one flow are alike.
                L4::Ports { src, dst, .. } => L4::Ports {
                    src,
                    dst,
                    tcp_flags: 0,
                },
                other => other,
            };
            (packet.src, packet.dst, packet.protocol, l4)
        };
        let alike = self.records.iter_mut().rev().take(ALIKE).find(|record| {
            record.ingress == ingress
                && (record.drop.stage, record.drop.at, record.drop.rule) == (drop.stage, drop.at, drop.rule)
                && record.packet.as_ref().map(what) == packet.map(what)
        });
        match alike {
            Some(record) => {
                record.count += count;
                record.time = time;
            }
            None => {
                if self.records.len() >= self.most {
                    self.records.pop_front();
                }
                self.records.push_back(DropRecord {
                    time,
                    ingress,
                    packet: packet.copied(),
                    drop: *drop,
                    count,
                });
            }
        }
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &DropRecord> {
        self.records.iter()
    }
}

/// A verdict kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptDrop {
    pub key: Key,
    /// The headers that the verdict was about; its MACs are compared, its length and hop limit bound it.
    pub packet: Packet,
    pub drop: Drop,
    pub cell: CellId,
    pub generation: u32,
    pub expires: Timestamp,
    /// Whether it was given to another packet already.
    pub shared: bool,
    used: u64,
}

/// A small table of drop verdicts, four to a set, the least recently used one making room. Apart from the flow
/// cache, so that a port scan fills nobody's table.
#[derive(Debug)]
pub(crate) struct DropVerdicts {
    sets: Vec<[Option<KeptDrop>; DropVerdicts::WAYS]>,
    clock: u64,
}

impl DropVerdicts {
    const WAYS: usize = 4;
    /// Longest that a drop verdict is given to other packets, in milliseconds.
    pub(crate) const LONGEST: u32 = 1000;

    pub(crate) fn new(most: usize) -> DropVerdicts {
        let sets = (most / DropVerdicts::WAYS).max(1).next_power_of_two();
        DropVerdicts {
            sets: vec![[None; DropVerdicts::WAYS]; sets],
            clock: 0,
        }
    }

    fn set(&mut self, hash: u64) -> Option<&mut [Option<KeptDrop>; DropVerdicts::WAYS]> {
        let at = (hash >> 32) as usize & (self.sets.len() - 1);
        self.sets.get_mut(at)
    }

    /// The verdict for a packet, if one is kept that holds for it.
    pub(crate) fn find(
        &mut self,
        key: &Key,
        hash: u64,
        packet: &Packet,
        cells: &Cells,
        now: Timestamp,
    ) -> Option<&mut KeptDrop> {
        self.clock += 1;
        let clock = self.clock;
        let kept = self
            .set(hash)?
            .iter_mut()
            .flatten()
            .find(|kept| kept.key == *key)?;
        let holds = now < kept.expires
            && kept.generation == cells.generation(kept.cell)
            && (packet.src_mac, packet.dst_mac) == (kept.packet.src_mac, kept.packet.dst_mac)
            // What was dropped for another reason than length and hop limit is dropped for it again, unless it is
            // now longer or older and another check comes first.
            && packet.length <= kept.packet.length
            && packet.hop_limit >= kept.packet.hop_limit;
        if !holds {
            return None;
        }
        kept.used = clock;
        Some(kept)
    }

    /// Keeps a verdict for up to `hold` milliseconds, if it is one that others may share.
    pub(crate) fn keep(
        &mut self,
        (key, hash): (Key, u64),
        packet: &Packet,
        drop: &Drop,
        (cell, generation): (CellId, u32),
        now: Timestamp,
        hold: u32,
    ) {
        let own = matches!(
            drop.stage,
            Stage::MtuExceeded | Stage::HopLimit | Stage::TableFull | Stage::NatPortExhausted
        );
        if hold == 0 || own || drop.answer.is_some() || packet.always_walks() {
            return;
        }
        self.clock += 1;
        let clock = self.clock;
        let Some(set) = self.set(hash) else {
            return;
        };
        let victim = set
            .iter_mut()
            .min_by_key(|kept| kept.map_or((1, 0), |k| if k.key == key { (0, 0) } else { (2, k.used) }));
        if let Some(victim) = victim {
            *victim = Some(KeptDrop {
                key,
                packet: *packet,
                drop: *drop,
                cell,
                generation,
                expires: now.plus_millis(u64::from(hold.min(DropVerdicts::LONGEST))),
                shared: false,
                used: clock,
            });
        }
    }
}
