//! Token buckets, one for each that sends: what somebody may still cause.

use std::net::IpAddr;

use hashbrown::HashMap;

use atoll_fabric::Port;
use atoll_model::Timestamp;

use crate::port::PortSlot;

/// What those get more than another that many send by: the internet's port, and other hosts.
const MANY: u32 = 8;

/// Who has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// A port, and whether it is the internet's.
    Port(PortSlot, bool),
    /// Another host.
    Host(IpAddr),
}

impl Sender {
    pub(super) fn at(slot: PortSlot, port: Port) -> Sender {
        Sender::Port(slot, port == Port::Internet)
    }

    /// How many times an interface's share it has.
    pub(super) fn parts(self) -> u32 {
        match self {
            Sender::Port(_, false) => 1,
            Sender::Port(_, true) | Sender::Host(_) => MANY,
        }
    }
}

/// Thousandths that are left to each, and when that was.
#[derive(Debug, Default)]
pub(super) struct Buckets(HashMap<Sender, (u64, Timestamp)>);

impl Buckets {
    /// Takes one from somebody's, which holds at most `most` thousandths and gets `rate` of them a millisecond; false if there
    /// is none.
    pub(super) fn take(&mut self, sender: Sender, rate: u64, most: u64, now: Timestamp) -> bool {
        let (left, then) = self.0.entry(sender).or_insert((most, now));
        let passed = now.0.saturating_sub(then.0);
        *left = left.saturating_add(passed.saturating_mul(rate)).min(most);
        *then = now;
        let enough = *left >= 1000;
        if enough {
            *left -= 1000;
        }
        enough
    }

    /// A port is gone.
    pub(super) fn forget(&mut self, slot: PortSlot) {
        for internet in [false, true] {
            self.0.remove(&Sender::Port(slot, internet));
        }
    }

    /// The same of another host.
    pub(super) fn forget_host(&mut self, host: IpAddr) {
        self.0.remove(&Sender::Host(host));
    }

    /// All are full again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
