//! How the state of flows lies in the file: numbers are little-endian, every piece carries a check over its content and
//! its place, so that what is torn, misplaced or of another file counts as not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::flows::{FlowKey, Mapping, Owner, Place, Remembered, Shelf, Slot, State};
use atoll_model::Timestamp;

/// Bytes and the place where they belong.
type Piece<'a> = (usize, &'a [u8]);

/// "ATOLLFLO".
const MAGIC: u64 = u64::from_le_bytes(*b"ATOLLFLO");
/// Another layout has another version; it is never read as this one.
const VERSION: u32 = 1;

/// Bytes of the header.
pub(super) const HEADER: usize = 64;
/// Where two words stand that say when its writer was last alive.
pub(super) const ALIVE: usize = HEADER;
/// Where the latest transaction stands.
pub(super) const TRANSACTION: usize = 4096;
/// Most places of one transaction.
pub(super) const MOST_PLACES: usize = 64;
/// Check, time, number of places, and bytes behind it.
pub(super) const TRANSACTION_HEAD: usize = 24;
/// What a place takes in a transaction beside its content: where it is.
pub(super) const ENTRY_HEAD: usize = 8;
/// Where the tables begin.
pub(super) const TABLES: usize = 16_384;

const _: () = assert!(TRANSACTION + TRANSACTION_HEAD + MOST_PLACES * (ENTRY_HEAD + WIDEST) <= TABLES);

/// Bytes of a place.
pub(super) const fn width(shelf: Shelf) -> usize {
    match shelf {
        Shelf::V4 => 40,
        Shelf::V6 => WIDEST,
        Shelf::Mappings => 48,
    }
}

/// Bytes of the widest place.
pub(super) const WIDEST: usize = 64;

fn mix(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word).wrapping_mul(0xa076_1d64_78bd_642f_e703_7ed1_a0b4_28db);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// A check over bytes, of which there is a multiple of eight: never 0.
fn check(seed: u64, bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(mix(seed, bytes.len() as u64), |sum, word| {
        mix(sum, u64::from_le_bytes(*word))
    });
    sum.max(1)
}

/// Reads numbers one after the other.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The machine's start that it belongs to: flows do not outlive the machine.
    pub boot: [u8; 16],
    /// Tells files apart.
    pub nonce: u64,
    /// Places of each table.
    pub capacity: [u32; 3],
}

const SHELVES: [Shelf; 3] = [Shelf::V4, Shelf::V6, Shelf::Mappings];

impl Header {
    pub(super) fn write(&self) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.boot);
        bytes.extend(self.nonce.to_le_bytes());
        self.capacity.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend([0; 4]);
        bytes.extend(check(MAGIC, &bytes).to_le_bytes());
        let mut header = [0; HEADER];
        header.copy_from_slice(&bytes);
        header
    }

    /// `None` if it is not one of this version.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let body = bytes.get(..HEADER - 8)?;
        let mut reader = Reader(bytes);
        if reader.u64()? != MAGIC || reader.u32()? != VERSION {
            return None;
        }
        reader.u32()?;
        let boot = reader.take()?;
        let nonce = reader.u64()?;
        let capacity = [reader.u32()?, reader.u32()?, reader.u32()?];
        reader.u32()?;
        (reader.u64()? == check(MAGIC, body)).then_some(Header {
            boot,
            nonce,
            capacity,
        })
    }

    /// Where a table begins and ends.
    fn table(&self, shelf: Shelf) -> (usize, usize) {
        let mut at = TABLES;
        for (other, capacity) in SHELVES.into_iter().zip(self.capacity) {
            let end = at + capacity as usize * width(other);
            if other == shelf {
                return (at, end);
            }
            at = end.next_multiple_of(4096);
        }
        (at, at)
    }

    /// Bytes of the whole file.
    pub(super) fn length(&self) -> usize {
        self.table(Shelf::Mappings).1.next_multiple_of(4096)
    }

    /// Where a place stands, if there is room for it.
    pub(super) fn offset(&self, place: Place) -> Option<usize> {
        let (begin, end) = self.table(place.shelf);
        let at = begin + place.number as usize * width(place.shelf);
        (at + width(place.shelf) <= end).then_some(at)
    }

    /// Which table has a place at an offset.
    fn shelf_at(&self, offset: usize) -> Option<Shelf> {
        SHELVES.into_iter().find(|shelf| {
            let (begin, end) = self.table(*shelf);
            (begin..end).contains(&offset) && (offset - begin).is_multiple_of(width(*shelf))
        })
    }

    /// What to write at a place: its content with its check, or zeros.
    pub(super) fn write_place(
        &self,
        offset: usize,
        shelf: Shelf,
        content: Option<(Owner, Remembered)>,
    ) -> [u8; WIDEST] {
        let mut place = [0; WIDEST];
        let Some((kind, bits, remembered)) = content
            .and_then(|(owner, remembered)| owner.to_bits().map(|(kind, bits)| (kind, bits, remembered)))
        else {
            return place;
        };
        let mut at = 8;
        let mut put = |bytes: &[u8]| {
            if let Some(into) = place.get_mut(at..at + bytes.len()) {
                into.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&bits.to_le_bytes());
        match &remembered {
            Remembered::Connection {
                key, state, until, ..
            } => {
                put(&until.0.to_le_bytes());
                for addr in [key.local, key.remote] {
                    match addr {
                        IpAddr::V4(addr) => put(&addr.octets()),
                        IpAddr::V6(addr) => put(&addr.octets()),
                    }
                }
                put(&key.local_port.to_le_bytes());
                put(&key.remote_port.to_le_bytes());
                put(&[key.protocol, state.0, kind, 0]);
            }
            Remembered::Mapping {
                mapping,
                state,
                until,
                ..
            } => {
                put(&until.0.to_le_bytes());
                for addr in [mapping.inside, mapping.outside, mapping.remote] {
                    put(&addr.octets());
                }
                for port in [mapping.inside_port, mapping.outside_port, mapping.remote_port] {
                    put(&port.to_le_bytes());
                }
                put(&[mapping.protocol, kind, state.0]);
            }
        }
        let width = width(shelf);
        let sum = check(
            mix(self.nonce, offset as u64),
            place.get(8..width).unwrap_or_default(),
        );
        if let Some(into) = place.first_chunk_mut::<8>() {
            *into = sum.to_le_bytes();
        }
        place
    }

    /// What stands at an offset; `None` if nothing whole does. The owner's slot is not known here: it is 0.
    pub(super) fn read_place(
        &self,
        offset: usize,
        shelf: Shelf,
        bytes: &[u8],
    ) -> Option<(Owner, Remembered)> {
        let bytes = bytes.get(..width(shelf))?;
        let mut reader = Reader(bytes);
        let sum = reader.u64()?;
        if sum == 0 || sum != check(mix(self.nonce, offset as u64), reader.0) {
            return None;
        }
        let bits = reader.u64()?;
        let until = Timestamp(reader.u64()?);
        if shelf == Shelf::Mappings {
            let mut addr = || Some(Ipv4Addr::from(reader.take::<4>()?));
            let (inside, outside, remote) = (addr()?, addr()?, addr()?);
            let (inside_port, outside_port, remote_port) = (reader.u16()?, reader.u16()?, reader.u16()?);
            let mapping = Mapping {
                protocol: reader.u8()?,
                inside,
                inside_port,
                outside,
                outside_port,
                remote,
                remote_port,
            };
            let owner = Owner::from_bits(reader.u8()?, bits)?;
            let remembered = Remembered::Mapping {
                owner: Slot(0),
                mapping,
                // 0 in files of those who knew no ends.
                state: State(reader.u8()?),
                until,
            };
            return Some((owner, remembered));
        }
        let mut addr = || {
            Some(match shelf {
                Shelf::V4 => IpAddr::from(reader.take::<4>()?),
                _ => IpAddr::V6(Ipv6Addr::from(reader.take::<16>()?)),
            })
        };
        let (local, remote) = (addr()?, addr()?);
        let (local_port, remote_port) = (reader.u16()?, reader.u16()?);
        let key = FlowKey {
            local,
            remote,
            protocol: reader.u8()?,
            local_port,
            remote_port,
        };
        let state = State(reader.u8()?);
        let owner = Owner::from_bits(reader.u8()?, bits)?;
        let remembered = Remembered::Connection {
            owner: Slot(0),
            key,
            state,
            until,
        };
        Some((owner, remembered))
    }

    /// The words that say when the writer was alive; the second one tells whether both were written.
    pub(super) fn alive(&self, now: Timestamp) -> [u64; 2] {
        [now.0, mix(self.nonce, now.0)]
    }

    /// Puts head and check before a transaction's entries, for which room was left.
    pub(super) fn seal(&self, transaction: &mut [u8], places: usize, now: Timestamp) {
        let entries = transaction.len().saturating_sub(TRANSACTION_HEAD) as u32;
        let mut head = Vec::with_capacity(TRANSACTION_HEAD);
        head.extend([0; 8]);
        head.extend(now.0.to_le_bytes());
        head.extend((places as u32).to_le_bytes());
        head.extend(entries.to_le_bytes());
        if let Some(into) = transaction.get_mut(..TRANSACTION_HEAD) {
            into.copy_from_slice(&head);
        }
        let sum = check(
            mix(self.nonce, TRANSACTION as u64),
            transaction.get(8..).unwrap_or_default(),
        );
        if let Some(into) = transaction.first_chunk_mut::<8>() {
            *into = sum.to_le_bytes();
        }
    }

    /// The latest transaction, if it is whole: its time and where which bytes belong.
    fn transaction<'a>(&self, bytes: &'a [u8]) -> Option<(Timestamp, Vec<Piece<'a>>)> {
        let mut reader = Reader(bytes);
        let sum = reader.u64()?;
        let now = Timestamp(reader.u64()?);
        let (places, length) = (reader.u32()? as usize, reader.u32()? as usize);
        let mut entries = reader.0.get(..length)?;
        let whole = bytes.get(8..TRANSACTION_HEAD + length)?;
        if places > MOST_PLACES || sum != check(mix(self.nonce, TRANSACTION as u64), whole) {
            return None;
        }
        let mut found = Vec::with_capacity(places);
        for _ in 0..places {
            let mut reader = Reader(entries);
            let offset = usize::try_from(reader.u64()?).ok()?;
            let (content, rest) = reader.0.split_at_checked(width(self.shelf_at(offset)?))?;
            found.push((offset, content));
            entries = rest;
        }
        Some((now, found))
    }
}

/// What a file remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recovered {
    /// When its writer was last alive, by its own clock.
    pub alive: Timestamp,
    /// Each with its owner; the slots in them mean nothing.
    pub remembered: Vec<(Owner, Remembered)>,
}

/// Reads a file of which only the bytes in `ranges` are not all zeros. `None` if it is not one, or not of this version or
/// of this start of the machine.
pub(super) fn recover(file: &[u8], ranges: &[std::ops::Range<usize>], boot: [u8; 16]) -> Option<Recovered> {
    let header = Header::read(file).filter(|header| header.boot == boot)?;
    // An interrupted transaction did nothing yet; a whole one may not have reached all its places.
    let latest = file
        .get(TRANSACTION..TABLES)
        .and_then(|bytes| header.transaction(bytes));
    let (time, latest) = latest.unwrap_or_default();
    let mut words = Reader(file.get(ALIVE..).unwrap_or_default());
    let alive = match (words.u64(), words.u64()) {
        (Some(beaten), Some(sum)) if header.alive(Timestamp(beaten)) == [beaten, sum] => {
            Timestamp(beaten).max(time)
        }
        // Half of it was written, or nothing yet.
        _ => time,
    };
    let mut remembered = Vec::new();
    for shelf in SHELVES {
        let (begin, end) = header.table(shelf);
        let width = width(shelf);
        let mut from = begin;
        for range in ranges {
            // A place that begins before a range and reaches into it counts with it.
            let first = begin + (range.start.saturating_sub(begin) / width) * width;
            for offset in (first.max(from)..range.end.min(end)).step_by(width) {
                from = offset + width;
                let content = latest.iter().find(|(at, _)| *at == offset);
                let content =
                    content.map_or_else(|| file.get(offset..offset + width), |(_, bytes)| Some(*bytes));
                remembered.extend(content.and_then(|bytes| header.read_place(offset, shelf, bytes)));
            }
        }
    }
    // Those of places where there was nothing yet.
    for (offset, content) in latest {
        let seen = header.shelf_at(offset).is_none_or(|shelf| {
            ranges
                .iter()
                .any(|range| range.start < offset + width(shelf) && offset < range.end)
        });
        if !seen && let Some(shelf) = header.shelf_at(offset) {
            remembered.extend(header.read_place(offset, shelf, content));
        }
    }
    Some(Recovered { alive, remembered })
}
