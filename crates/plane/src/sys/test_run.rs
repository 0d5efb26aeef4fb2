//! Runs a program of the kernel's over a frame, for tests, and makes what it is run among.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::program_run::{Context, run};

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
    let (gso_size, gso_segs) = segments.unwrap_or_default();
    let mut context = Context::default();
    (context.ifindex, context.gso_segs, context.gso_size) = (ifindex, gso_segs, gso_size);
    let mut data = vec![0u8; frame.len() + 256];
    let (verdict, length) = run(program, frame, context, &mut data)?;
    data.truncate(length);
    Ok(Run { verdict, data })
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
