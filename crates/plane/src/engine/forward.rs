//! The way of a kept answer.

use atoll_fabric::Stage;
use atoll_model::Timestamp;
use atoll_net::packet::{
    Headers, RewriteError, Transport, TransportChecksum, is_icmp_error, lower_hop_limit, rewrite, set_macs,
    tcp_flags,
};

use super::{Emission, Engine, Outbox, wire_length};
use crate::cache::{Found, Path};
use crate::vnet::Offloads;

impl Engine {
    /// Forwards a packet by the kept answer that was found for it. False if it does not hold for it; nothing was done
    /// then.
    #[inline(always)]
    #[allow(
        clippy::too_many_arguments,
        reason = "a packet in pieces, which stay in registers"
    )]
    pub(super) fn forward(
        &mut self,
        now: Timestamp,
        headers: &Headers,
        offloads: Offloads,
        found: &Found,
        frame: &mut [u8],
        index: usize,
        out: &mut Outbox,
    ) -> bool {
        if always_walks(headers) {
            return false;
        }
        let Some(way) = self.cache.way(found, &self.cells, now.0 as u32) else {
            return false;
        };
        let Some(macs) = frame.first_chunk_mut::<12>() else {
            return false;
        };
        if (way.checks && *macs != way.from)
            || headers.hop_limit <= way.hop_limit_decrement
            || wire_length(headers, offloads) > way.mtu
        {
            return false;
        }
        if way.plain {
            *macs = way.to;
        } else {
            let path = self.cache.path(found.path).0;
            // A path of the other family is impossible, as its key is of this one.
            if path.is_none_or(|path| apply(frame, *headers, offloads.checksum, path, found.number).is_err())
            {
                return false;
            }
        }
        self.counters.hits += 1;
        self.counters.ended(
            if way.exits {
                Stage::ExitsToInternet
            } else {
                Stage::Delivered
            },
            1,
        );
        out.push(Emission::Received {
            ifindex: way.ifindex,
            index,
        });
        true
    }
}

/// Whether a packet is walked whatever is kept: what changes its flow's state, and what is about another packet.
#[inline]
fn always_walks(headers: &Headers) -> bool {
    match headers.transport {
        Transport::Tcp { flags, .. } => flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0,
        Transport::Icmp { kind, .. } => is_icmp_error(headers.protocol, kind),
        _ => false,
    }
}

/// Apart from the way of packets that nothing is rewritten of, and with headers of its own: so theirs need not stand in
/// memory.
#[inline(never)]
fn apply(
    frame: &mut [u8],
    headers: Headers,
    checksum: TransportChecksum,
    path: &Path,
    number: u16,
) -> Result<(), RewriteError> {
    let new = path.rewrite_with(number);
    if !new.is_empty() {
        rewrite(frame, &headers, &new, checksum)?;
    }
    lower_hop_limit(frame, &headers, path.hop_limit_decrement)?;
    set_macs(frame, path.src_mac, path.dst_mac)
}
