//! A packet socket that sends batches of frames with their vnet headers, to any interface of its namespace.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::ring::set_option;

/// Most frames of one system call.
const BATCH: usize = 32;

/// A frame to send.
pub(crate) struct Outgoing<'a> {
    /// The interface it leaves by.
    pub ifindex: u32,
    /// The vnet header and the frame behind it.
    pub data: &'a [u8],
}

/// The socket.
pub(crate) struct Sender {
    fd: OwnedFd,
}

impl Sender {
    /// Opens the socket; it receives nothing. Needs `CAP_NET_RAW` over the thread's network namespace.
    pub(crate) fn open() -> io::Result<Sender> {
        // SAFETY: a plain system call; the descriptor it returns is owned by nobody else.
        let fd = unsafe {
            let fd = libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            );
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        set_option(&fd, libc::PACKET_VNET_HDR, &1)?;
        Ok(Sender { fd })
    }

    /// Sends frames in order; returns how many the kernel refused (an interface that is down or gone, a full
    /// queue). As on a wire, those are lost.
    pub(crate) fn send(&self, frames: &[Outgoing<'_>]) -> u64 {
        let mut refused = 0;
        for chunk in frames.chunks(BATCH) {
            refused += self.send_chunk(chunk);
        }
        refused
    }

    fn send_chunk(&self, frames: &[Outgoing<'_>]) -> u64 {
        // SAFETY: all-zero bytes are valid values of these C structures.
        let (mut addresses, mut pieces, mut messages) = unsafe {
            (
                std::mem::zeroed::<[libc::sockaddr_ll; BATCH]>(),
                std::mem::zeroed::<[libc::iovec; BATCH]>(),
                std::mem::zeroed::<[libc::mmsghdr; BATCH]>(),
            )
        };
        let parts = addresses.iter_mut().zip(&mut pieces).zip(&mut messages);
        for (((address, piece), message), frame) in parts.zip(frames) {
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_ifindex = frame.ifindex as i32;
            // The EtherType, in network order as it stands: segmentation offload asks for it.
            let at = crate::vnet::LENGTH + 12;
            if let Some(kind) = frame.data.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
                address.sll_protocol = u16::from_ne_bytes(*kind);
            }
            piece.iov_base = frame.data.as_ptr().cast_mut().cast();
            piece.iov_len = frame.data.len();
            message.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
        }
        let (mut at, mut refused) = (0, 0);
        while at < frames.len() {
            // SAFETY: the messages from `at` on are initialised; they point to the addresses and pieces above
            // and those to the borrowed frames, all of which outlive the call. The kernel does not write to them.
            let sent = unsafe {
                let count = (frames.len() - at) as libc::c_uint;
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    messages.as_mut_ptr().add(at),
                    count,
                    libc::MSG_DONTWAIT,
                )
            };
            if sent > 0 {
                at += sent as usize;
            } else {
                if sent < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                refused += 1;
                at += 1;
            }
        }
        refused
    }
}
