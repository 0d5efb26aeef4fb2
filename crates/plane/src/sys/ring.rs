//! A packet socket that receives into a ring of frames shared with the kernel (`PACKET_RX_RING`, `TPACKET_V2`).
//!
//! A ring rather than a socket queue: the queue's length is bounded by `net.core.rmem_max`, which an ordinary
//! user cannot exceed (three 64 KB super-segments by default), and a frame in the ring can be rewritten and sent
//! on from where it lies. Rings stand side by side: see [`Lanes`](super::lanes::Lanes).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::vnet;

/// An EtherType to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum EtherType {
    Ipv4 = 0x0800,
    Arp = 0x0806,
    Ipv6 = 0x86dd,
}

/// The sizes that a frame's place may have. The ring's own header and the vnet header take some 100 bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Place {
    /// Anything that fits Ethernet's usual MTU, at most [`SMALL`] bytes.
    Small = 2048,
    /// A super-segment of 64 KiB: the longest that IPv6 makes here.
    Large = 65_536 + 256,
    /// A super-segment of 192 KiB, as IPv4 makes it where a port allows it ("BIG TCP"): five to a block.
    Huge = 209_712,
}

/// Longest IP packet that a small place holds, in bytes.
pub(crate) const SMALL: u32 = 1800;

impl Place {
    /// Frames lie in blocks of contiguous memory of so many bytes, and never across two.
    fn block(self) -> u32 {
        match self {
            Place::Small => 1 << 17,
            Place::Large | Place::Huge => 1 << 20,
        }
    }
}

/// Most frames of one batch.
pub(crate) const BATCH: usize = 32;

/// A frame that came in.
pub struct Received<'a> {
    /// The interface it came in at.
    pub ifindex: u32,
    /// Whether a VLAN tag was taken off it.
    pub tagged: bool,
    /// Whether it was longer than its place: what is here is not all.
    pub truncated: bool,
    /// The vnet header (`struct virtio_net_hdr`, 10 bytes) and the frame behind it.
    pub data: &'a mut [u8],
}

/// The socket and its ring.
pub(crate) struct Ring {
    fd: Arc<OwnedFd>,
    memory: Memory,
    frame_size: usize,
    block: usize,
    frames_per_block: usize,
    frames: usize,
    /// The next frame that the kernel will fill.
    next: usize,
    /// Where its place begins: that is looked at far more often than taken from.
    head: usize,
}

struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and may be used from whichever thread owns it.
unsafe impl Send for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `Ring::open` made; nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}

impl Ring {
    /// Opens a ring of at least `frames` places that receives one EtherType at every interface of the thread's
    /// network namespace, but not what is sent there. Needs `CAP_NET_RAW` over the namespace.
    pub(crate) fn open(kind: EtherType, place: Place, frames: u32) -> io::Result<Ring> {
        // Protocol 0: nothing arrives before the ring stands and `bind` names the EtherType.
        // SAFETY: a plain system call; the descriptor it returns is owned by nobody else.
        let fd = unsafe {
            let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let fd = libc::socket(libc::AF_PACKET, flags, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        set_option(
            &fd,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V2 as libc::c_int),
        )?;
        set_option(&fd, libc::PACKET_VNET_HDR, &1)?;
        set_option(&fd, libc::PACKET_IGNORE_OUTGOING, &1)?;
        let frame_size = place as u32;
        let block = place.block();
        let frames_per_block = block / frame_size;
        let blocks = frames.div_ceil(frames_per_block).max(1);
        let request = libc::tpacket_req {
            tp_block_size: block,
            tp_block_nr: blocks,
            tp_frame_size: frame_size,
            tp_frame_nr: blocks * frames_per_block,
        };
        set_option(&fd, libc::PACKET_RX_RING, &request)?;
        let length = block as usize * blocks as usize;
        // SAFETY: a new shared mapping of the ring that was just set up, of its exact length.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let ring = Ring {
            memory: Memory { start, length },
            frame_size: frame_size as usize,
            block: block as usize,
            frames_per_block: frames_per_block as usize,
            frames: blocks as usize * frames_per_block as usize,
            next: 0,
            head: 0,
            fd: Arc::new(fd),
        };
        ring.bind(kind)?;
        Ok(ring)
    }

    fn bind(&self, kind: EtherType) -> io::Result<()> {
        // SAFETY: an all-zero `sockaddr_ll` is a valid one; the call reads as many bytes as it has.
        unsafe {
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (kind as u16).to_be();
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// How many frames lie there to be taken, counted up to `most`.
    pub(crate) fn ready(&self, most: usize) -> usize {
        if !self.is_ready() {
            return 0;
        }
        (0..most.min(self.frames))
            .take_while(|n| self.is_ready_at(*n))
            .count()
    }

    /// When the frame came in that lies `n` behind the next one, which [`Ring::ready`] has counted: nanoseconds of the
    /// kernel's clock.
    pub(crate) fn came_in(&self, n: usize) -> u64 {
        let frame = self.frame_behind(n);
        // SAFETY: the place holds the ring's header, and is ours until it is given back.
        let header = unsafe { frame.cast::<libc::tpacket2_hdr>().read() };
        u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec)
    }

    /// The interface that the frame came in at that lies `n` behind the next one, if one lies there.
    pub(crate) fn came_from(&self, n: usize) -> Option<u32> {
        if n >= self.frames || !self.is_ready_at(n) {
            return None;
        }
        let frame = self.frame_behind(n);
        // SAFETY: the place holds the ring's header and an address behind it, and is ours until it is given back.
        let address = unsafe {
            frame
                .add(libc::TPACKET_ALIGN(size_of::<libc::tpacket2_hdr>()))
                .cast::<libc::sockaddr_ll>()
                .read()
        };
        Some(address.sll_ifindex as u32)
    }

    /// Says that a frame came in at another time, as where the clock was set back after it.
    #[cfg(test)]
    pub(crate) fn came_in_later(&mut self, n: usize, seconds: u32) {
        let frame = self.frame_behind(n).cast::<libc::tpacket2_hdr>();
        // SAFETY: as in `came_in`; nothing borrows from the place.
        unsafe { (*frame.as_ptr()).tp_sec += seconds };
    }

    /// The next `count` frames, of those that [`Ring::ready`] has counted. They stay ours until [`Ring::give_back`].
    pub(crate) fn frames(&mut self, count: usize) -> impl Iterator<Item = Received<'_>> {
        // Shared from here on: each place is handed out once, and `self` stays borrowed while the slices live.
        let ring = &*self;
        (0..count.min(ring.frames)).map(|n| ring.frame((ring.next + n) % ring.frames))
    }

    /// What lies in a place. To be called once for each while the value lives.
    fn frame(&self, n: usize) -> Received<'_> {
        let frame = self.frame_at(n);
        let status = self.status(frame);
        // SAFETY: `frame` points to `frame_size` bytes inside the mapping, aligned to 16. With TP_STATUS_USER in the
        // status word, the rest of the place belongs to us until we write TP_STATUS_KERNEL. Places do not overlap.
        unsafe {
            let header = frame.cast::<libc::tpacket2_hdr>().read();
            let address = frame
                .add(libc::TPACKET_ALIGN(size_of::<libc::tpacket2_hdr>()))
                .cast::<libc::sockaddr_ll>()
                .read();
            let start = usize::from(header.tp_mac).saturating_sub(vnet::LENGTH);
            let length = header.tp_snaplen as usize + vnet::LENGTH;
            let fits = start + length <= self.frame_size;
            let length = if fits { length } else { 0 };
            Received {
                ifindex: address.sll_ifindex as u32,
                tagged: status & libc::TP_STATUS_VLAN_VALID != 0,
                truncated: !fits || header.tp_snaplen < header.tp_len,
                data: std::slice::from_raw_parts_mut(frame.add(start).as_ptr(), length),
            }
        }
    }

    /// Gives the next `count` places back to the kernel.
    pub(crate) fn give_back(&mut self, count: usize) {
        for n in 0..count {
            let frame = self.frame_behind(n);
            // SAFETY: the status word of a place; nothing borrows from the place any more.
            unsafe {
                AtomicU32::from_ptr(frame.as_ptr().cast()).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            }
        }
        self.next = (self.next + count) % self.frames;
        self.head = self.offset(self.next);
    }

    /// Whether a frame lies there to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        // SAFETY: the offset of a place lies inside the mapping.
        let head = unsafe { self.memory.start.add(self.head) };
        self.status(head) & libc::TP_STATUS_USER != 0
    }

    /// Whether its places are for small frames.
    pub(crate) fn is_small(&self) -> bool {
        self.frame_size == Place::Small as usize
    }

    /// How many places it has.
    pub(crate) fn places(&self) -> usize {
        self.frames
    }

    /// Whether more than half of its places are taken.
    pub(crate) fn is_half_full(&self) -> bool {
        self.is_ready_at(self.frames / 2)
    }

    fn is_ready_at(&self, n: usize) -> bool {
        self.status(self.frame_behind(n)) & libc::TP_STATUS_USER != 0
    }

    /// Whose a frame's place is, and what is with the frame.
    fn status(&self, frame: NonNull<u8>) -> u32 {
        // SAFETY: the status word of a frame inside the mapping, only ever accessed atomically.
        unsafe { AtomicU32::from_ptr(frame.as_ptr().cast()).load(Ordering::Acquire) }
    }

    /// The place of a frame; `n` is below `frames`.
    fn frame_at(&self, n: usize) -> NonNull<u8> {
        // SAFETY: `n` is below `frames`, so the offset lies inside the mapping.
        unsafe { self.memory.start.add(self.offset(n)) }
    }

    /// The place that lies `n` behind the next one, of as many as there are.
    fn frame_behind(&self, n: usize) -> NonNull<u8> {
        self.frame_at((self.next + n) % self.frames)
    }

    /// Where a place begins; `n` is below `frames`.
    fn offset(&self, n: usize) -> usize {
        let offset = n / self.frames_per_block * self.block + n % self.frames_per_block * self.frame_size;
        debug_assert!(offset + self.frame_size <= self.memory.length);
        offset
    }

    /// The socket, to be waited for while somebody else has the ring.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Frames that found no free place since the last call.
    pub(crate) fn lost(&self) -> u32 {
        let mut stats = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into `stats`.
        let failed = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if failed == 0 { stats.tp_drops } else { 0 }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets an option of a packet socket.
pub(super) fn set_option<T>(fd: &impl AsFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`, which outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
