//! The engine's keys and paths in the program's words, and back.

use std::net::IpAddr;

use super::layout::{self, Ask4, Ask6, Key4, Key6, Made};
use crate::cache::{Key, PortRole};

/// Something of IPv4, or its like of IPv6.
pub(super) enum Either<A, B> {
    V4(A),
    V6(B),
}

/// A flow, as the program knows it.
pub(super) type KernelKey = Either<Key4, Key6>;

impl KernelKey {
    /// What the flow's entry says of its key.
    pub(super) fn tag(&self) -> u32 {
        match self {
            Either::V4(key) => key.slot ^ key.numbers ^ key.src ^ key.dst ^ key.protocol,
            Either::V6(key) => {
                let addresses = key.src.iter().chain(&key.dst).fold(0, |all, word| all ^ word);
                key.slot ^ key.numbers ^ addresses ^ key.protocol
            }
        }
    }
}

impl From<&Key> for KernelKey {
    fn from(key: &Key) -> KernelKey {
        let words = key.words();
        let wide = |at: usize| [0, 1, 2, 3].map(|n| words[at + n].to_be());
        let protocol = u32::from(key.protocol());
        if key.is_v6() {
            KernelKey::V6(Key6 {
                slot: words[0],
                numbers: words[1].to_be(),
                src: wide(2),
                dst: wide(6),
                protocol,
            })
        } else {
            KernelKey::V4(Key4 {
                slot: words[0],
                numbers: words[1].to_be(),
                src: words[2].to_be(),
                dst: words[3].to_be(),
                protocol,
            })
        }
    }
}

/// What a decision is about, as the program knows it.
pub(super) type KernelAsk = Either<Ask4, Ask6>;

impl KernelAsk {
    /// What the decision's entry says of what it is about.
    pub(super) fn tag(&self) -> u32 {
        let rest =
            |port: u16, protocol: u32, block: u8| u32::from(port) << 16 ^ protocol << 8 ^ u32::from(block);
        match self {
            Either::V4(ask) => {
                let rest = rest(ask.dst_port, ask.protocol.into(), ask.block);
                ask.slot ^ ask.src ^ ask.dst ^ rest
            }
            Either::V6(ask) => {
                let addresses = ask.src.iter().chain(&ask.dst).fold(0, |all, word| all ^ word);
                ask.slot ^ addresses ^ rest(ask.dst_port, ask.protocol.into(), 0)
            }
        }
    }
}

impl From<&Key> for KernelAsk {
    fn from(key: &Key) -> KernelAsk {
        // The source port stands first and is 0, or the first of its block.
        let port = |numbers: u32| (u32::from_be(numbers) as u16).to_be();
        let block = |numbers: u32| (u32::from_be(numbers) >> 24) as u8;
        match KernelKey::from(key) {
            KernelKey::V4(key) => KernelAsk::V4(Ask4 {
                slot: key.slot,
                src: key.src,
                dst: key.dst,
                dst_port: port(key.numbers),
                protocol: key.protocol as u8,
                block: block(key.numbers),
            }),
            KernelKey::V6(key) => KernelAsk::V6(Ask6 {
                slot: key.slot,
                src: key.src,
                dst: key.dst,
                dst_port: port(key.numbers),
                protocol: key.protocol as u16,
            }),
        }
    }
}

/// Both directions of a made flow: what opened it, and what answers.
pub(super) fn keys_of(made: &Made) -> (Key, Key) {
    let (v6, protocol) = (made.v6, made.protocol);
    (
        key_of(v6, protocol, made.slot, made.numbers, made.src, made.dst),
        key_of(
            v6,
            protocol,
            made.reply_slot,
            made.reply_numbers,
            made.reply_src,
            made.reply_dst,
        ),
    )
}

/// A key as the program writes it.
fn key_of(v6: u8, protocol: u8, slot: u32, numbers: u32, src: [u32; 4], dst: [u32; 4]) -> Key {
    let mut words = [0; 10];
    (words[0], words[1]) = (slot, u32::from_be(numbers));
    if v6 == 0 {
        (words[2], words[3]) = (u32::from_be(src[0]), u32::from_be(dst[0]));
    } else {
        words[2..6].copy_from_slice(&src.map(u32::from_be));
        words[6..].copy_from_slice(&dst.map(u32::from_be));
    }
    Key::from_words(words, protocol, v6 != 0)
}

/// The path at a place as the program reads it. `veth` says whether its port is one, with another end to be handed to.
pub(super) fn kernels(path: &crate::cache::Path, number: u32, version: u32, veth: bool) -> layout::Path {
    let frame = |dst: atoll_net::Mac, src: atoll_net::Mac| {
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&dst.0);
        macs[6..].copy_from_slice(&src.0);
        macs
    };
    let address = |addr: Option<IpAddr>| match addr {
        None => [0; 4],
        Some(IpAddr::V4(addr)) => [addr.to_bits().to_be(), 0, 0, 0],
        Some(IpAddr::V6(addr)) => {
            let bits = addr.to_bits();
            [96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be())
        }
    };
    let macs_out = frame(path.dst_mac, path.src_mac);
    let macs_in = path.macs.map(|(src, dst)| frame(dst, src));
    let flag = |holds: bool, flag: u8| if holds { flag } else { 0 };
    layout::Path {
        version,
        cell: path.cell.0,
        // What else there is to know of a tunnel stands beside it.
        ifindex: if path.tunnel.is_some() {
            number
        } else {
            path.ifindex
        },
        mtu: path.mtu,
        macs_in: macs_in.unwrap_or_default(),
        macs_out,
        src: address(path.rewrite.src),
        dst: address(path.rewrite.dst),
        flags: flag(macs_in.is_some(), layout::CHECK_MACS)
            | flag(macs_in != Some(macs_out), layout::WRITE_MACS)
            | flag(path.rewrite.src.is_some(), layout::WRITE_SRC)
            | flag(path.rewrite.dst.is_some(), layout::WRITE_DST)
            | flag(path.exits, layout::EXITS)
            | match path.tunnel {
                Some(_) => layout::TUNNEL,
                None => flag(!veth, layout::REDIRECT),
            },
        role: match path.role {
            PortRole::None => layout::ROLE_NONE,
            PortRole::Source => layout::ROLE_SOURCE,
            PortRole::Destination => layout::ROLE_DESTINATION,
            PortRole::IcmpId => layout::ROLE_ICMP_ID,
        },
        hop_limit_decrement: path.hop_limit_decrement,
        reserved: 0,
    }
}
