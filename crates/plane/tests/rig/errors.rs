//! What a socket learns from ICMP errors about what it sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use super::socket::eventually;

/// An ICMP error, as the kernel told it to the socket whose packet it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub kind: u8,
    pub code: u8,
    /// Of "too big": the MTU.
    pub info: u32,
    /// Who sent it.
    pub from: IpAddr,
}

fn set(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: libc::c_int) {
    // SAFETY: the option takes an int, which outlives the call.
    let failed = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

/// Has a socket keep the errors that it gets.
pub fn keep_errors(socket: &UdpSocket) {
    if socket.local_addr().unwrap().is_ipv4() {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1);
    }
}

/// Sets the hop limit of what a socket sends.
pub fn hop_limit(socket: &UdpSocket, limit: u8) {
    if socket.local_addr().unwrap().is_ipv4() {
        set(socket, libc::IPPROTO_IP, libc::IP_TTL, limit.into());
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, limit.into());
    }
}

/// Has the kernel send what a socket is given in datagrams of that size, which it leaves to the device to cut.
pub fn segments_of(socket: &UdpSocket, bytes: u16) {
    set(socket, libc::IPPROTO_UDP, libc::UDP_SEGMENT, bytes.into());
}

/// The next error that a socket got, within the deadline.
pub fn told(socket: &UdpSocket) -> Told {
    eventually(|| next_error(socket))
}

fn next_error(socket: &UdpSocket) -> Option<Told> {
    let mut data = [0u8; 64];
    let mut control = [0u64; 64];
    // SAFETY: all pointers outlive the call, which writes no more than the lengths say.
    let (got, length) = unsafe {
        let mut vector = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        let got = libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags);
        (got, message.msg_controllen)
    };
    if got < 0 {
        return None;
    }
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    // `struct cmsghdr`, `struct sock_extended_err` and the offender's address behind them.
    let mut at = 0;
    while at + 16 <= length {
        let word = |at: usize| u32::from_ne_bytes(control[at..at + 4].try_into().unwrap());
        let (size, level, kind) = (word(at) as usize, word(at + 8), word(at + 12));
        let error = &control[at + 16..at + size];
        let place = &error[16..];
        let from = match (level as i32, kind as i32) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) => {
                Some(Ipv4Addr::new(place[4], place[5], place[6], place[7]).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                let bytes: [u8; 16] = place[8..24].try_into().unwrap();
                Some(Ipv6Addr::from(bytes).into())
            }
            _ => None,
        };
        if let Some(from) = from {
            return Some(Told {
                kind: error[5],
                code: error[6],
                info: u32::from_ne_bytes(error[8..12].try_into().unwrap()),
                from,
            });
        }
        at += size.next_multiple_of(8);
    }
    None
}
