//! The way of a kept answer.

use atoll_fabric::Stage;
use atoll_model::Timestamp;
use atoll_net::packet::{
    Headers, RewriteError, Transport, is_icmp_error, lower_hop_limit, rewrite, set_macs, tcp_flags,
};

use super::{Emission, Engine, Ip, Outbox};
use crate::cache::Path;

impl Engine {
    /// Forwards a packet by the kept answer that was found for it. False if there is none that holds for it; nothing was done then.
    #[inline]
    pub(super) fn forward(
        &mut self,
        now: Timestamp,
        ip: &Ip,
        frame: &mut [u8],
        index: usize,
        out: &mut Outbox,
    ) -> bool {
        if always_walks(&ip.headers) {
            return false;
        }
        let Some(found) = &ip.found else {
            return false;
        };
        let Some(path) = self.cache.answer(found, &self.cells, now.0 as u32) else {
            return false;
        };
        let came_right = path
            .macs
            .is_none_or(|macs| macs == (ip.headers.src_mac, ip.headers.dst_mac));
        if !came_right || ip.headers.hop_limit <= path.hop_limit_decrement || ip.wire_length() > path.mtu {
            return false;
        }
        if apply(frame, ip, path, found.number).is_err() {
            // The path is of the other family: impossible, as its key is of this one.
            return false;
        }
        self.counters.hits += 1;
        self.counters.ended(
            if path.exits {
                Stage::ExitsToInternet
            } else {
                Stage::Delivered
            },
            1,
        );
        out.push(Emission::Received {
            ifindex: path.ifindex,
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

#[inline]
fn apply(frame: &mut [u8], ip: &Ip, path: &Path, number: u16) -> Result<(), RewriteError> {
    let new = path.rewrite_with(number);
    if !new.is_empty() {
        rewrite(frame, &ip.headers, &new, ip.offloads.checksum)?;
    }
    lower_hop_limit(frame, &ip.headers, path.hop_limit_decrement)?;
    set_macs(frame, path.src_mac, path.dst_mac)
}
