//! Kept answers that hold for another generation than before: the program `renew` (`bpf/renew.h`) does many at a time, in
//! place, so that what is counted meanwhile is not lost.

use std::os::fd::AsFd;

use aya::programs::ProgramFd;

use super::layout::{Key6, RENEWALS, Renewal};
use super::words::KernelKey;
use crate::cache::{FlowCache, Found, Key};
use crate::sys::bpf::SharedArray;
use crate::sys::program_run::{Context, run};

/// The program's name.
pub(super) const PROGRAM_NAME: &str = "renew";

/// Where the frame that it is run over says how many there are: behind the Ethernet header.
const COUNT_AT: usize = 14;
/// A test run wants as much as an IP header behind that.
const FRAME: usize = 64;

/// What is to be renewed, and who does it.
pub(super) struct Renewals {
    program: ProgramFd,
    places: SharedArray,
    keys: Vec<Key>,
}

impl Renewals {
    pub(super) fn new(program: ProgramFd, places: SharedArray) -> Renewals {
        Renewals {
            program,
            places,
            keys: Vec::with_capacity(RENEWALS as usize),
        }
    }

    /// Whether it is to be run before another one finds room.
    pub(super) fn is_full(&self) -> bool {
        self.keys.len() >= RENEWALS as usize
    }

    /// An answer as the engine has it now.
    pub(super) fn add(&mut self, key: &Key, found: &Found, cache: &FlowCache) {
        let (v6, words) = match KernelKey::from(key) {
            KernelKey::V6(key) => (1, key),
            KernelKey::V4(key) => {
                let words = Key6 {
                    slot: key.slot,
                    numbers: key.numbers,
                    src: [key.src, 0, 0, 0],
                    dst: [key.dst, 0, 0, 0],
                    protocol: key.protocol,
                };
                (0, words)
            }
        };
        let renewal = Renewal {
            key: words,
            v6,
            path: found.path,
            path_version: cache.path(found.path).1,
            generation: found.generation,
            number: found.number.to_be(),
            reserved: 0,
        };
        if self.places.write(self.keys.len(), &renewal) {
            self.keys.push(*key);
        }
    }

    /// Has what was added renewed; what the kernel refused comes back.
    pub(super) fn run(&mut self) -> Vec<Key> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        let mut frame = [0u8; FRAME];
        frame[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(self.keys.len() as u32).to_ne_bytes());
        let done = run(self.program.as_fd(), &frame, Context::default(), &mut []);
        let keys = self.keys.drain(..);
        if done.is_ok() { Vec::new() } else { keys.collect() }
    }
}
