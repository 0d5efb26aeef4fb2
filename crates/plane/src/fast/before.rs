//! Connections that the program of an earlier engine made, and that engine did not live to hear of.
//!
//! Its program still stands at the ports, held by whoever keeps its links, and so its tables are there to be read. A
//! program of another layout is left alone: its connections are judged as new ones.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use aya::maps::{MapInfo, MapType};
use aya::programs::{ProgramInfo, loaded_programs};
use hashbrown::{HashMap, HashSet};

use atoll_model::Timestamp;
use atoll_net::Mac;

use super::made::MadeFlows;
use super::tables::{Flows, of_descriptor};
use super::words::keys_of;
use super::{FastError, PROGRAM_NAME, layout, machine_millis};
use crate::cache::Key;
use crate::engine::{Engine, Kernel, Way};
use crate::port::PortSlot;
use crate::sys::bpf::SharedArray;

/// What earlier programs made, until both ends' ports are there.
#[derive(Default)]
pub(crate) struct Before {
    /// Programs that were looked at.
    programs: HashSet<u32>,
    pending: Vec<Pair>,
    /// When the latest was found.
    since: Option<Instant>,
}

/// A connection, by its interfaces. The slots in its keys are the earlier engine's.
struct Pair {
    /// What opened it.
    there: (u32, Way),
    /// What answers.
    back: (u32, Way),
    /// Whether a NAT gateway gave it a port.
    translated: bool,
}

/// How long the port of an end may be missing: then it is no more.
const MISSING: Duration = Duration::from_secs(60);

impl Before {
    /// Looks at the programs that stand at a port, but for our own.
    pub(super) fn look(&mut self, standing: &[u32], own: u32) {
        let new: Vec<u32> = standing
            .iter()
            .copied()
            .filter(|id| *id != own && !self.programs.contains(id))
            .collect();
        if new.is_empty() {
            return;
        }
        let theirs = loaded_programs().filter_map(Result::ok);
        for program in theirs.filter(|program| new.contains(&program.id())) {
            if program.name() != PROGRAM_NAME.as_bytes() {
                continue;
            }
            // What cannot be read is judged as new.
            if let Ok(pairs) = read(&program) {
                self.pending.extend(pairs);
                self.since = Some(Instant::now());
            }
        }
        self.programs.extend(new);
    }

    /// Has the engine take up the connections both of whose ports are there.
    pub(crate) fn take_up(&mut self, engine: &mut Engine, now: Timestamp) {
        if self.since.is_some_and(|since| since.elapsed() > MISSING) {
            (self.pending, self.since) = (Vec::new(), None);
        }
        self.pending.retain(|pair| {
            let here = |(ifindex, way): &(u32, Way)| Some(at(way, engine.ports.at(*ifindex)?.slot));
            let (Some(there), Some(back)) = (here(&pair.there), here(&pair.back)) else {
                return true;
            };
            match pair.translated {
                true => engine.relive_translated(now, &there, &back),
                false => engine.relive(now, &there, &back),
            }
            false
        });
    }
}

/// The same at the port's slot of now.
fn at(way: &Way, slot: PortSlot) -> Way {
    let mut words = *way.key.words();
    words[0] = slot.0;
    Way {
        key: Key::from_words(words, way.key.protocol(), way.key.is_v6()),
        ..*way
    }
}

/// Takes what a program has made from it.
fn read(program: &ProgramInfo) -> Result<Vec<Pair>, FastError> {
    let mut maps = HashMap::new();
    for id in program.map_ids()?.unwrap_or_default() {
        let map = MapInfo::from_id(id)?;
        maps.insert(map.name().to_vec(), map);
    }
    let find = |name: &'static str| maps.get(name.as_bytes()).ok_or(FastError::Missing(name));
    let shared = |name, value: usize| {
        let map = find(name)?;
        if map.map_type()? != MapType::Array || map.value_size() as usize != value {
            return Err(FastError::Missing("table of this layout"));
        }
        SharedArray::new(map.fd()?.as_fd(), map.max_entries(), value).map_err(FastError::Share)
    };
    let clock = shared("now", size_of::<layout::Clock>())?;
    let written = clock.read::<layout::Clock>(0).unwrap_or_default();
    if written.layout != layout::LAYOUT {
        return Err(FastError::Missing("table of this layout"));
    }
    // Nothing more is made by it.
    clock.set_nth_word(0, layout::ALIVE, machine_millis().wrapping_sub(layout::GONE));
    let hash = |name| {
        let descriptor = find(name)?.fd()?.as_fd().try_clone_to_owned();
        of_descriptor(descriptor.map_err(FastError::Share)?)
    };
    let theirs = MadeFlows {
        flows: Flows::new(hash("flows4")?, hash("flows6")?)?,
        made: shared("made", size_of::<layout::Made>())?,
        clock,
    };
    let (paths, ports) = (
        shared("paths", size_of::<layout::Path>())?,
        shared("ports", size_of::<layout::Port>())?,
    );
    let mut interfaces = HashMap::new();
    for ifindex in 0..find("ports")?.max_entries() {
        let port: layout::Port = ports.read(ifindex as usize).unwrap_or_default();
        if port.slot_and_one != 0 {
            interfaces.insert(port.slot_and_one.wrapping_sub(1), ifindex);
        }
    }
    let way = |key: Key, number: u32, version: u32| {
        let path: layout::Path = paths.read(number as usize)?;
        if path.version != version {
            return None;
        }
        let mac = |from: usize| Some(Mac(*path.macs_in.get(from..)?.first_chunk()?));
        let macs = match path.flags & layout::CHECK_MACS {
            0 => None,
            _ => Some((mac(6)?, mac(0)?)),
        };
        let packets = theirs.seen(&key)?.packets;
        let way = Way {
            key,
            macs,
            packets,
            fin: false,
        };
        Some((
            (*interfaces.get(&key.slot().0)?, way),
            path.role != layout::ROLE_NONE,
        ))
    };
    let mut pairs = Vec::new();
    let (first, next) = (written.freed, theirs.next());
    for nth in 0..next.wrapping_sub(first).min(layout::MADE_PLACES) {
        let sequence = first.wrapping_add(nth);
        let Some(made) = theirs.whole(sequence) else {
            continue;
        };
        let (there, back) = keys_of(&made);
        let (Some((mut there, translated)), Some((mut back, _))) = (
            way(there, made.path, made.path_version),
            way(back, made.reply_path, made.reply_path_version),
        ) else {
            continue;
        };
        // From now on its program leaves what ends it to us.
        if let Some(life) = theirs.inherit(sequence) {
            (there.1.fin, back.1.fin) = life.fin;
            pairs.push(Pair {
                there,
                back,
                translated,
            });
        }
    }
    Ok(pairs)
}
