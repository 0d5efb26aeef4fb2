//! Runs a program of the kernel's over a frame (`BPF_PROG_TEST_RUN`), for tests: aya has no call for it. And makes what it
//! is run among.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// What came of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What the program returned.
    pub verdict: i32,
    /// The frame afterwards.
    pub data: Vec<u8>,
}

/// Runs a program over a frame that came in at an interface of the calling thread's network namespace. `segments`
/// makes a super-segment of it: data bytes of each of its packets, and their number.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    segments: Option<(u32, u32)>,
) -> io::Result<Run> {
    /// `struct __sk_buff`, as far as it can be given.
    #[repr(C)]
    struct Context {
        before: [u32; 10],
        ifindex: u32,
        between: [u32; 30],
        gso_segs: u32,
        socket: u64,
        gso_size: u32,
        padding: u32,
        hwtstamp: u64,
    }
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
    let (gso_size, gso_segs) = segments.unwrap_or_default();
    let context = Context {
        before: [0; 10],
        ifindex,
        between: [0; 30],
        gso_segs,
        socket: 0,
        gso_size,
        padding: 0,
        hwtstamp: 0,
    };
    let mut data = vec![0u8; frame.len() + 256];
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        verdict: 0,
        size_in: frame.len() as u32,
        size_out: data.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: data.as_mut_ptr() as u64,
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
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<Attributes>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    data.truncate(attributes.size_out as usize);
    Ok(Run {
        verdict: attributes.verdict as i32,
        data,
    })
}

/// Gives the calling thread a network namespace of its own.
pub(crate) fn own_network() -> io::Result<()> {
    // SAFETY: only this thread gets another network namespace; memory and descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
    Ok(())
}

/// A TAP, which lives as long as this.
pub(crate) struct Tap(File);

impl Tap {
    /// Makes one in the calling thread's network namespace, with this index.
    pub(crate) fn new(index: u32) -> io::Result<Tap> {
        const TUNSETIFINDEX: libc::c_ulong = 0x4004_54da;
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: all zeros are a value of the structure; both arguments outlive their calls.
        unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            request.ifr_ifru.ifru_flags =
                (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
            if libc::ioctl(file.as_raw_fd(), TUNSETIFINDEX, &raw const index) < 0
                || libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) < 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Tap(file))
    }

    /// Says what its reader takes: 1, unfinished checksums; 0, nothing unfinished.
    pub(crate) fn takes(&self, offloads: u32) {
        // SAFETY: the argument is a number.
        let failed = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                libc::c_ulong::from(offloads),
            )
        };
        assert_eq!(failed, 0, "{}", io::Error::last_os_error());
    }
}
