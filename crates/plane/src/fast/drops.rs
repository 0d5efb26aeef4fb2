//! Drop verdicts in the kernel: what the engine has dropped twice alike ends there without it.
//!
//! A verdict is given to the kernel at its first use, not when it is made: a scan makes many that are never used. What
//! the kernel dropped by it is read back here, so that it is told with the drop that it repeats.

use hashbrown::HashMap as Map;

use atoll_fabric::{Drop, Packet};
use atoll_model::Timestamp;

use super::FastError;
use super::layout::Verdict;
use super::tables::Verdicts;
use crate::cache::Key;
use crate::drops::KeptDrop;

/// Most verdicts that the kernel has at a time.
pub(super) const MOST: usize = 1024;
/// Places in the kernel's tables, which evict what was not used lately when full: they are never.
pub(super) const PLACES: u32 = 16_384;

/// The kernel's copy of drop verdicts.
pub(super) struct Drops {
    verdicts: Verdicts,
    given: Map<Key, Given>,
}

/// A verdict that the kernel has.
struct Given {
    packet: Packet,
    drop: Drop,
    expires: Timestamp,
    /// Packets that were told already.
    told: u64,
}

impl Drops {
    pub(super) fn new(
        mut take: impl FnMut(&'static str) -> Result<aya::maps::Map, FastError>,
    ) -> Result<Drops, FastError> {
        Ok(Drops {
            verdicts: Verdicts::new(take("drops4")?, take("drops6")?)?,
            given: Map::new(),
        })
    }

    /// Gives the kernel a verdict.
    pub(super) fn put(&mut self, kept: &KeptDrop, tell: &mut impl FnMut(&Packet, &Drop, u64)) {
        if let Some(given) = self.given.remove(&kept.key) {
            self.end(&kept.key, given, tell);
        }
        if self.given.len() >= MOST {
            return;
        }
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&kept.packet.dst_mac.0);
        macs[6..].copy_from_slice(&kept.packet.src_mac.0);
        let verdict = Verdict {
            cell: kept.cell.0,
            generation: kept.generation,
            expires: kept.expires.0 as u32,
            longest: kept.packet.length,
            macs,
            hop_limit: kept.packet.hop_limit,
            reserved: [0; 3],
            packets: 0,
        };
        // Refused, the engine goes on dropping by it.
        if self.verdicts.put(&kept.key, verdict) {
            let given = Given {
                packet: kept.packet,
                drop: kept.drop,
                expires: kept.expires,
                told: 0,
            };
            self.given.insert(kept.key, given);
        }
    }

    /// Tells what was dropped since it was last asked, and takes back what is over.
    pub(super) fn read(&mut self, now: Timestamp, tell: &mut impl FnMut(&Packet, &Drop, u64)) {
        if self.given.is_empty() {
            return;
        }
        let over: Vec<Key> = self
            .given
            .iter()
            .filter(|(_, given)| given.expires <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in over {
            if let Some(given) = self.given.remove(&key) {
                self.end(&key, given, tell);
            }
        }
        for (key, given) in &mut self.given {
            if let Some(Verdict { packets, .. }) = self.verdicts.get(key) {
                let more = packets.saturating_sub(given.told);
                if more > 0 {
                    given.told = packets;
                    tell(&given.packet, &given.drop, more);
                }
            }
        }
    }

    fn end(&mut self, key: &Key, given: Given, tell: &mut impl FnMut(&Packet, &Drop, u64)) {
        let packets = self
            .verdicts
            .get(key)
            .map_or(given.told, |verdict| verdict.packets);
        let more = packets.saturating_sub(given.told);
        if more > 0 {
            tell(&given.packet, &given.drop, more);
        }
        // It may have been evicted.
        self.verdicts.remove(key);
    }
}
