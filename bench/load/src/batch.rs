//! Many datagrams a system call: `sendmmsg` and `recvmmsg`, which the standard library and rustix do not have.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// Payload of a datagram in bytes.
pub const PAYLOAD: usize = 64;
/// Room for a received datagram in bytes; what is longer is cut, and counts the same.
const ROOM: usize = 256;

/// Message headers that point into buffers of their own.
pub struct Batch {
    headers: Vec<libc::mmsghdr>,
    // Pointed to by `headers`; a Vec's elements stay where they are while nothing is pushed.
    _parts: Vec<libc::iovec>,
    _bytes: Vec<[u8; ROOM]>,
}

impl Batch {
    /// A batch of `count` datagrams, each `length` bytes long to send, or room for as many to receive.
    fn new(count: usize, length: usize) -> Self {
        let mut bytes = vec![[0x5a; ROOM]; count];
        let mut parts: Vec<libc::iovec> = bytes
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: length.min(ROOM),
            })
            .collect();
        let headers = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: all-zero is a valid `mmsghdr`: null pointers with zero lengths.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            headers,
            _parts: parts,
            _bytes: bytes,
        }
    }

    /// A batch of `count` datagrams to send.
    pub fn to_send(count: usize) -> Self {
        Self::new(count, PAYLOAD)
    }

    /// Room for `count` datagrams.
    pub fn to_receive(count: usize) -> Self {
        Self::new(count, ROOM)
    }

    /// Sends the first `count` datagrams over the connected `socket`; how many went.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        let count = count.min(self.headers.len());
        // SAFETY: `count` headers are there, and point to parts and bytes that live as long as `self`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for at least one datagram; how many were taken.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: as many headers are there as is said, each with a part of ROOM bytes that lives as long as `self`.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn datagrams_arrive_with_their_length() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        assert_eq!(Batch::to_send(8).send(&sender, 5).unwrap(), 5);
        let mut room = Batch::to_receive(64);
        let mut received = 0;
        while received < 5 {
            received += room.receive(&receiver).unwrap();
            assert_eq!(room.headers[0].msg_len as usize, PAYLOAD);
        }
        assert_eq!(received, 5);
    }
}
