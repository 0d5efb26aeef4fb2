//! What the first fragment of a packet said, for those that follow: only it has the ports.

use std::net::IpAddr;

use atoll_fabric::L4;
use atoll_model::Timestamp;
use atoll_net::packet::{Headers, Transport};

use crate::port::PortSlot;

/// How long the pieces of a packet may take (RFC 791 recommends at least 15 s, Linux takes 30 s).
const LIFETIME: u64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whole {
    slot: PortSlot,
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Clone, Copy, Debug)]
struct First {
    whole: Whole,
    l4: L4,
    expires: Timestamp,
}

/// A bounded table, four to a set; where a set is full, the oldest makes room (its later fragments are then
/// judged without ports).
#[derive(Debug)]
pub(crate) struct Fragments {
    sets: Vec<[Option<First>; Fragments::WAYS]>,
    seed: u64,
}

impl Fragments {
    const WAYS: usize = 4;

    pub(crate) fn new(most: usize, seed: u64) -> Fragments {
        let sets = (most / Fragments::WAYS).max(1).next_power_of_two();
        Fragments {
            sets: vec![[None; Fragments::WAYS]; sets],
            seed,
        }
    }

    fn set(&mut self, whole: &Whole) -> Option<&mut [Option<First>; Fragments::WAYS]> {
        let wide = |addr: IpAddr| match addr {
            IpAddr::V4(a) => u64::from(a.to_bits()),
            IpAddr::V6(a) => a.to_bits() as u64 ^ (a.to_bits() >> 64) as u64,
        };
        let near = u64::from(whole.slot.0) << 32 | u64::from(whole.id);
        let mut hash = self.seed;
        for word in [
            near,
            wide(whole.src),
            wide(whole.dst).rotate_left(8),
            u64::from(whole.protocol),
        ] {
            let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
            hash = product as u64 ^ (product >> 64) as u64;
        }
        let at = hash as usize & (self.sets.len() - 1);
        self.sets.get_mut(at)
    }

    /// What a fragment's packet says of ports: by its own header if it is the first (which is remembered), by
    /// the first's if that came before, else [`L4::Other`].
    pub(crate) fn transport(&mut self, slot: PortSlot, headers: &Headers, own: L4, now: Timestamp) -> L4 {
        let Some(fragment) = headers.fragment else {
            return own;
        };
        let whole = Whole {
            slot,
            src: headers.src,
            dst: headers.dst,
            protocol: headers.protocol,
            id: fragment.id,
        };
        let Some(set) = self.set(&whole) else {
            return own;
        };
        let known = set
            .iter_mut()
            .find(|first| first.is_some_and(|f| f.whole == whole));
        if headers.transport == Transport::LaterFragment {
            return match known {
                Some(Some(first)) if now < first.expires => first.l4,
                _ => L4::Other,
            };
        }
        let l4 = match own {
            // The flags belong to the first piece, which was judged with them.
            L4::Ports { src, dst, .. } => L4::Ports {
                src,
                dst,
                tcp_flags: 0,
            },
            other => other,
        };
        let place = match known {
            Some(place) => Some(place),
            None => set
                .iter_mut()
                .min_by_key(|first| first.map_or(Timestamp(0), |f| f.expires)),
        };
        if let Some(place) = place {
            *place = Some(First {
                whole,
                l4,
                expires: now.plus_millis(LIFETIME),
            });
        }
        own
    }
}
