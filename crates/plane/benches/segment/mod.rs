//! The frame that the benches send.

use std::net::Ipv4Addr;

use atoll_model::Timestamp;
use atoll_net::Mac;
use atoll_plane::{Engine, Outbox, Received};

/// A vnet header, and a TCP segment over IPv4 without data.
pub const LENGTH: usize = 10 + 14 + 20 + 20;

/// Writes it, the checksum of TCP left undone; all from where to where.
pub fn write(
    frame: &mut [u8; LENGTH],
    macs: (Mac, Mac),
    addresses: (Ipv4Addr, Ipv4Addr),
    ports: (u16, u16),
    flags: u8,
) {
    frame.fill(0);
    frame[10..16].copy_from_slice(&macs.1.0);
    frame[16..22].copy_from_slice(&macs.0.0);
    frame[22] = 8;
    frame[24] = 0x45;
    frame[27] = 40;
    frame[30] = 0x40;
    frame[32] = 64;
    frame[33] = 6;
    frame[36..40].copy_from_slice(&addresses.0.octets());
    frame[40..44].copy_from_slice(&addresses.1.octets());
    let sum = atoll_net::packet::Sum::default().bytes(&frame[24..44]).checksum();
    frame[34..36].copy_from_slice(&sum.to_be_bytes());
    frame[44..46].copy_from_slice(&ports.0.to_be_bytes());
    frame[46..48].copy_from_slice(&ports.1.to_be_bytes());
    frame[56] = 0x50;
    frame[57] = flags;
}

/// Gives a frame to an engine, as it comes in at an interface.
pub fn give(engine: &mut Engine, out: &mut Outbox, now: Timestamp, ifindex: u32, frame: &mut [u8; LENGTH]) {
    out.clear();
    let received = Received {
        ifindex,
        tagged: false,
        truncated: false,
        data: frame,
    };
    engine.process(now, &mut [received], out);
}
