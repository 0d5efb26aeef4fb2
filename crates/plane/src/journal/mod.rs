//! The state of flows written down as it changes, so that it outlives the process that had it.
//!
//! The file has one place for each that the tables of [`Flows`] have, and each change is written to its place: so it
//! neither grows with time nor needs to be made anew, however often long-lived flows are refreshed. What changes together
//! (a commit) is first written as a whole to one spot, the transaction, and then to its places: whoever finds the file
//! finds all of a commit or nothing of it. It is memory shared with a file; a change is a few copies, without a call to the
//! kernel. It outlives the process and not the machine: the file says which start of the machine it belongs to.
//!
//! Flows are kept by the ids of their owners. Ids are not given twice, so what belongs to an owner that is gone finds none
//! after a restart and is forgotten.
//!
//! `format.rs` says how it lies there, `../sys/shared_file.rs` does the writing. See docs/decisions/0008.

mod format;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use atoll_fabric::flows::{Owner, Place, Slot};
use atoll_fabric::{Changed, Flows, Limits};
use atoll_model::Timestamp;

pub(crate) use format::Recovered;
use format::{ALIVE, HEADER, Header, MOST_PLACES, TABLES, TRANSACTION, TRANSACTION_HEAD, recover, width};

use crate::sys::shared_file::{SharedFile, boot_id, read_sparse};

/// What a journal is written to. Writes become visible in their order.
pub(crate) trait Memory: Send {
    /// Makes sure that bytes can be written there.
    ///
    /// # Errors
    /// When there is no room.
    fn reserve(&mut self, from: usize, to: usize) -> std::io::Result<()>;
    /// Writes bytes that were reserved.
    fn write(&mut self, at: usize, bytes: &[u8]);
    /// Writes two words, each at once.
    fn write_words(&mut self, at: usize, words: [u64; 2]);
}

/// Writes the state of flows down.
pub(crate) struct Journal {
    /// `None` once there was no room: an old state must not be taken for the latest one.
    memory: Option<Box<dyn Memory>>,
    header: Header,
    owners: HashMap<Slot, Owner>,
    touched: Vec<Place>,
    transaction: Vec<u8>,
    /// Takes the place of the file that was found, once all of that is written down here.
    moves: Option<(PathBuf, PathBuf)>,
}

impl Journal {
    /// Makes one at `path`, and reads what an earlier one left there. That stays in its place until [`Journal::begin`].
    ///
    /// # Errors
    /// When the file cannot be made or mapped.
    pub(crate) fn open(path: &Path, limits: &Limits, nonce: u64) -> std::io::Result<(Journal, Recovered)> {
        let boot = boot_id();
        // What cannot be read is as good as not there.
        let recovered = read_sparse(path)
            .ok()
            .and_then(|(bytes, ranges)| recover(&bytes, &ranges, boot))
            .unwrap_or_default();
        let header = Header::of(limits, boot, nonce);
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let memory = SharedFile::create(&new, header.length())?;
        let mut journal = Journal::on(Box::new(memory), header)?;
        journal.moves = Some((new, path.to_owned()));
        Ok((journal, recovered))
    }

    fn on(mut memory: Box<dyn Memory>, header: Header) -> std::io::Result<Journal> {
        memory.reserve(0, TABLES)?;
        memory.write(0, &header.write());
        Ok(Journal {
            memory: Some(memory),
            header,
            owners: HashMap::new(),
            touched: Vec::new(),
            transaction: Vec::new(),
            moves: None,
        })
    }

    /// To be called when what was found is written down anew: from then on this one will be found.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub(crate) fn begin(&mut self) -> std::io::Result<()> {
        match self.moves.take() {
            Some((from, to)) => std::fs::rename(from, to),
            None => Ok(()),
        }
    }

    /// Whether it goes on.
    pub(crate) fn is_kept(&self) -> bool {
        self.memory.is_some()
    }

    /// An owner has a slot.
    pub(crate) fn name(&mut self, owner: Owner, slot: Slot) {
        self.owners.insert(slot, owner);
    }

    /// Owners come and go.
    pub(crate) fn follow(&mut self, changed: &Changed) {
        for (owner, slot) in changed.came() {
            self.name(*owner, *slot);
        }
        for slot in changed.gone() {
            // Whatever of theirs is written again is written as nothing.
            self.owners.remove(slot);
        }
    }

    /// Says that the process lives: idle times are counted from then on when it does not any more.
    pub(crate) fn beat(&mut self, now: Timestamp) {
        if let Some(memory) = &mut self.memory {
            memory.write_words(ALIVE, self.header.alive(now));
        }
    }

    /// Writes down what changed.
    pub(crate) fn write(&mut self, flows: &mut Flows, now: Timestamp) {
        flows.take_touched(&mut self.touched);
        if self.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        if touched.len() > MOST_PLACES {
            // A sweep: what moved into the gaps is written before the places that it left are emptied, so that nothing
            // is missing in between. (It may be there twice.)
            touched.sort_unstable();
            touched.dedup();
            touched.sort_by_key(|place| flows.remembered(*place).is_none());
        }
        for places in touched.chunks(MOST_PLACES) {
            if self.transact(flows, places, now).is_err() {
                self.give_up();
            }
        }
        touched.clear();
        self.touched = touched;
    }

    fn transact(&mut self, flows: &Flows, places: &[Place], now: Timestamp) -> std::io::Result<()> {
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        self.transaction.clear();
        self.transaction.resize(TRANSACTION_HEAD, 0);
        let mut count = 0;
        for place in places {
            let Some(offset) = self.header.offset(*place) else {
                continue;
            };
            let remembered = flows.remembered(*place).and_then(|remembered| {
                let owner = self.owners.get(&remembered.owner())?;
                Some((*owner, remembered))
            });
            let width = width(place.shelf);
            memory.reserve(offset, offset + width)?;
            let content = self.header.write_place(offset, place.shelf, remembered);
            self.transaction.extend((offset as u64).to_le_bytes());
            self.transaction.extend(content.get(..width).unwrap_or_default());
            count += 1;
        }
        self.header.seal(&mut self.transaction, count, now);
        memory.write(TRANSACTION, &self.transaction);
        let mut rest = self.transaction.get(TRANSACTION_HEAD..).unwrap_or_default();
        for place in places {
            if self.header.offset(*place).is_none() {
                continue;
            }
            let Some((offset, content)) = rest.split_first_chunk::<8>() else {
                break;
            };
            let (content, others) = content.split_at(width(place.shelf).min(content.len()));
            memory.write(u64::from_le_bytes(*offset) as usize, content);
            rest = others;
        }
        Ok(())
    }

    /// Makes what is there unreadable.
    fn give_up(&mut self) {
        if let Some(mut memory) = self.memory.take() {
            memory.write(0, &[0; HEADER]);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some((new, _)) = self.moves.take() {
            let _ = std::fs::remove_file(new);
        }
    }
}

impl Header {
    fn of(limits: &Limits, boot: [u8; 16], nonce: u64) -> Header {
        let most = |n: usize| u32::try_from(n.min(1 << 24)).unwrap_or(1 << 24);
        Header {
            boot,
            nonce,
            capacity: [most(limits.ipv4), most(limits.ipv6), most(limits.mappings)],
        }
    }
}

/// How late a flow that was remembered until `until` by a process last alive at `alive` is forgotten by one that takes it
/// up at `now`: the time in between, in which nobody saw its packets, does not count.
pub(crate) fn prolonged(until: Timestamp, alive: Timestamp, now: Timestamp) -> Timestamp {
    now.plus_millis(until.0.saturating_sub(alive.0))
}
