//! The types that the program in the kernel reads and writes (`bpf/layout.h` says what their fields mean). Addresses
//! and ports are in network order.

/// An IPv4 flow in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Key4 {
    pub slot: u32,
    pub numbers: u32,
    pub src: u32,
    pub dst: u32,
    pub protocol: u32,
}

/// An IPv6 flow in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Key6 {
    pub slot: u32,
    pub numbers: u32,
    pub src: [u32; 4],
    pub dst: [u32; 4],
    pub protocol: u32,
}

/// A kept answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Flow {
    pub tag: u32,
    pub path: u32,
    pub path_version: u32,
    pub generation: u32,
    pub expires: u32,
    pub number: u16,
    pub state: u8,
    pub ends: u8,
    pub sequence: u32,
    pub last_seen: u32,
    pub packets: u64,
    pub bytes: u64,
}

/// What a flow in one direction takes of the kernel's memory, in bytes: 48 that the kernel puts before the key, key and
/// value in whole words, and 8 of its allocator, which rounds up; and 16 of the place that leads there.
const fn bytes_a_direction<K>() -> usize {
    let entry = 48 + size_of::<K>().next_multiple_of(8) + size_of::<Flow>().next_multiple_of(8) + 8;
    let rounded = if entry > 128 {
        entry.next_multiple_of(64)
    } else {
        128
    };
    assert!(rounded <= 192, "the allocator's next size is 256");
    rounded + 16
}

const _: () = assert!(bytes_a_direction::<Key4>() == 144 && bytes_a_direction::<Key6>() == 208);

/// Of a flow: the program made it from a decision.
pub(crate) const MADE: u8 = 1;

/// New IPv4 connections in one direction, whatever their source port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Ask4 {
    pub slot: u32,
    pub src: u32,
    pub dst: u32,
    pub dst_port: u16,
    pub protocol: u8,
    pub block: u8,
}

/// New IPv6 connections in one direction, whatever their source port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Ask6 {
    pub slot: u32,
    pub src: [u32; 4],
    pub dst: [u32; 4],
    pub dst_port: u16,
    pub protocol: u16,
}

/// What new connections become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Decision {
    pub tag: u32,
    pub number: u32,
    pub path: u32,
    pub path_version: u32,
    pub generation: u32,
    pub reply_path: u32,
    pub reply_path_version: u32,
    pub reply_generation: u32,
    pub reply_slot: u32,
    pub reply_src: [u32; 4],
    pub reply_dst: [u32; 4],
    pub expires: u32,
    pub hold: u32,
    pub lowest: u16,
    pub highest: u16,
    pub block: u16,
    pub reserved: u16,
    pub again: u32,
}

/// A flow that the program made, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Made {
    pub sequence: u32,
    pub state: u32,
    pub since: u32,
    pub ended: u32,
    pub v6: u8,
    pub protocol: u8,
    pub reserved: u16,
    pub fin: u32,
    pub slot: u32,
    pub numbers: u32,
    pub src: [u32; 4],
    pub dst: [u32; 4],
    pub reply_slot: u32,
    pub reply_numbers: u32,
    pub reply_src: [u32; 4],
    pub reply_dst: [u32; 4],
    pub path: u32,
    pub path_version: u32,
    pub reply_path: u32,
    pub reply_path_version: u32,
    pub decision: u32,
    pub fin_back: u32,
}

/// Of a made flow: what opened it has said FIN.
pub(crate) const MADE_FIN: u32 = 1;
/// The same of what answers.
pub(crate) const MADE_FIN_BACK: u32 = 2;
/// The program has ended it.
pub(crate) const MADE_OVER: u32 = 4;
/// The engine has taken it.
pub(crate) const MADE_TAKEN: u32 = 8;
/// What the engine made of it is written down.
pub(crate) const MADE_KNOWN: u32 = 16;
/// Places for made flows.
pub(crate) const MADE_PLACES: u32 = 32_768;
/// So many of them stay free.
pub(crate) const MADE_SPARE: u32 = 1024;

/// A kept answer that holds for another generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Renewal {
    pub key: Key6,
    pub v6: u32,
    pub path: u32,
    pub path_version: u32,
    pub generation: u32,
    pub number: u16,
    pub reserved: u16,
}

/// So many at a time.
pub(crate) const RENEWALS: u32 = 256;

/// A port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Port {
    pub slot_and_one: u32,
    pub may_make: u32,
    pub may_come: u32,
    pub refused: u32,
    pub sums: u32,
    pub reserved: u32,
}

/// The engine's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Clock {
    pub now: u32,
    pub alive: u32,
    pub layout: u32,
    pub freed: u32,
    pub apart: [u32; 12],
    pub made: u32,
    pub last: [u32; 15],
}

/// A verdict about a flow's packets: they are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Verdict {
    pub cell: u32,
    pub generation: u32,
    pub expires: u32,
    pub longest: u32,
    pub macs: [u8; 12],
    pub hop_limit: u8,
    pub reserved: [u8; 3],
    pub packets: u64,
}

/// Milliseconds after which an engine that has not looked is taken for gone.
pub(crate) const GONE: u32 = 500;

pub(crate) const CHECK_MACS: u8 = 1;
pub(crate) const WRITE_MACS: u8 = 2;
pub(crate) const WRITE_SRC: u8 = 4;
pub(crate) const WRITE_DST: u8 = 8;
pub(crate) const EXITS: u8 = 16;
pub(crate) const REDIRECT: u8 = 32;
pub(crate) const TUNNEL: u8 = 64;

pub(crate) const ROLE_NONE: u8 = 0;
pub(crate) const ROLE_SOURCE: u8 = 1;
pub(crate) const ROLE_DESTINATION: u8 = 2;
pub(crate) const ROLE_ICMP_ID: u8 = 3;

/// What many flows share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Path {
    pub version: u32,
    pub cell: u32,
    pub ifindex: u32,
    pub mtu: u32,
    pub macs_in: [u8; 12],
    pub macs_out: [u8; 12],
    pub src: [u32; 4],
    pub dst: [u32; 4],
    pub flags: u8,
    pub role: u8,
    pub hop_limit_decrement: u8,
    pub reserved: u8,
}

/// What is around a path's packets on their way to another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tunnel {
    pub version: u32,
    pub ifindex: u32,
    pub host: [u32; 4],
    pub own: [u32; 4],
    pub network: u32,
    pub tag: u16,
    pub v6: u16,
}

/// What is around a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Label {
    pub host: [u32; 4],
    pub network: u32,
    pub tag: u16,
    pub v6: u16,
}

/// The same behind a frame's MAC header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sealed {
    pub label: Label,
    pub seal: [u32; 2],
}

/// This host, for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Own {
    pub address: [u32; 4],
    pub v6: u32,
    pub seal: [u32; 2],
}

/// The number under which hosts stand among the wires.
pub(crate) const ANY_NETWORK: u32 = u32::MAX;

include!(concat!(env!("OUT_DIR"), "/layout_assert.rs"));

/// Words of the clock beside the first.
pub(crate) const ALIVE: usize = 1;
/// The same.
pub(crate) const LAYOUT_OF: usize = 2;
/// The same.
pub(crate) const FREED: usize = 3;
/// The same.
pub(crate) const NEXT_MADE: usize = 16;

/// Lists what the program counts, in the order of `enum count`.
macro_rules! kernel_counters {
    ($($(#[$about:meta])* $name:ident,)+) => {
        /// What the program counts.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct KernelCounters {
            $($(#[$about])* pub $name: u64,)+
            /// Flows and ports that the kernel did not take.
            pub refused: u64,
        }

        /// Kinds of counts.
        pub(crate) const COUNTS: usize = [$(stringify!($name)),+].len();

        impl From<[u64; COUNTS]> for KernelCounters {
            fn from([$($name),+]: [u64; COUNTS]) -> KernelCounters {
                KernelCounters { $($name,)+ refused: 0 }
            }
        }
    };
}

kernel_counters! {
    /// Packets delivered to ports of this host, a super-segment counting as what it stands for.
    delivered,
    /// Packets that left towards the internet.
    exited,
    /// The bytes of both.
    bytes,
    /// Connections whose flows the kernel made by a decision.
    made,
    /// Packets left to the engine because no answer is kept for their flow.
    no_flow,
    /// The same, because the kept answer does not hold any more.
    stale,
    /// The same: SYN, FIN, RST, ICMP errors, neighbour discovery.
    control,
    /// The same: fragments, options, extension headers, tags, lengths or sums that do not agree; all that goes to a TAP
    /// whose reader takes no unfinished checksums.
    odd,
    /// The same, because they are longer than their path takes.
    too_big,
    /// The same, because their hop limit ends.
    hop_limit,
    /// The same, because their MAC addresses are not the flow's.
    mac,
    /// Packets dropped by a verdict that the engine had kept.
    dropped,
    /// Packets that were the engine's and were dropped, since their port had sent it too many.
    misses_refused,
    /// Packets that went to other hosts.
    sent_elsewhere,
    /// Frames that seemed to come from other hosts and were dropped: no such host is known, or they are none of theirs.
    wire_refused,
}
