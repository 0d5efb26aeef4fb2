//! Runs a program of the kernel's over a frame (`BPF_PROG_TEST_RUN`): aya has no call for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::bpf::bpf;

const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// `struct __sk_buff`, as far as it can be given.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Context {
    before: [u32; 10],
    /// The interface, of the calling thread's network namespace, that the frame came in at; 0 for none.
    pub ifindex: u32,
    between: [u32; 30],
    /// Packets of a super-segment.
    pub gso_segs: u32,
    socket: u64,
    /// Data bytes of each of them.
    pub gso_size: u32,
    padding: u32,
    hwtstamp: u64,
}

/// Runs a program once over a frame of at least 54 bytes. As much of the frame as it leaves is written to `data`, if that
/// has room for all of it. What it returned, and the frame's length afterwards.
pub(crate) fn run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: Context,
    data: &mut [u8],
) -> io::Result<(i32, usize)> {
    /// `union bpf_attr` as `BPF_PROG_TEST_RUN` reads it.
    #[repr(C)]
    struct Attributes {
        program: u32,
        verdict: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch: u32,
        padding: u32,
    }
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        verdict: 0,
        size_in: frame.len() as u32,
        size_out: data.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: if data.is_empty() {
            0
        } else {
            data.as_mut_ptr() as u64
        },
        repeat: 1,
        duration: 0,
        context_size_in: size_of::<Context>() as u32,
        context_size_out: 0,
        context_in: &raw const context as u64,
        context_out: 0,
        flags: 0,
        cpu: 0,
        batch: 0,
        padding: 0,
    };
    // SAFETY: the kernel reads and writes within the buffers, whose sizes it is told, while they live.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes)? };
    Ok((attributes.verdict as i32, attributes.size_out as usize))
}
