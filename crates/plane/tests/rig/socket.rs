//! Sockets inside namespaces, each with a deadline.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use atoll_plane::{DropRecord, Plane};

use super::Namespace;

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(90);

impl Namespace {
    /// A UDP socket inside that waits no longer than the deadline.
    pub fn udp(&self, at: impl Into<IpAddr>, port: u16) -> UdpSocket {
        let at = SocketAddr::new(at.into(), port);
        let socket = self.run(|| UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    pub fn listen(&self, at: impl Into<IpAddr>, port: u16) -> TcpListener {
        let at = SocketAddr::new(at.into(), port);
        self.run(|| TcpListener::bind(at).unwrap())
    }

    pub fn connect(&self, to: impl Into<IpAddr>, port: u16) -> std::io::Result<TcpStream> {
        let to = SocketAddr::new(to.into(), port);
        let stream = self.run(|| TcpStream::connect_timeout(&to, DEADLINE))?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(stream)
    }
}

/// Sends a datagram and asserts that it arrives as it was; returns whom it came from, as the receiver saw it.
pub fn delivers(from: &UdpSocket, to: impl Into<IpAddr>, receiver: &UdpSocket, data: &[u8]) -> SocketAddr {
    let port = receiver.local_addr().unwrap().port();
    from.send_to(data, SocketAddr::new(to.into(), port)).unwrap();
    let mut buffer = vec![0; 65_536];
    let (length, source) = loop {
        match receiver.recv_from(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    assert!(
        buffer[..length] == *data,
        "{length} bytes of {} arrived, or others",
        data.len()
    );
    source
}

/// A connection's two ends.
pub fn connected(from: &Namespace, listener: &TcpListener, to: impl Into<IpAddr>) -> (TcpStream, TcpStream) {
    let port = listener.local_addr().unwrap().port();
    let near = from.connect(to, port).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Asserts that a byte gets from one end to the other.
pub fn carries(from: &mut TcpStream, to: &mut TcpStream, byte: u8) {
    from.write_all(&[byte]).unwrap();
    let mut got = [0];
    to.read_exact(&mut got).unwrap();
    assert_eq!(got, [byte]);
}

/// Asserts that data of any length gets from one end to the other as it was.
pub fn carries_whole(from: &mut TcpStream, to: &mut TcpStream, data: &[u8]) {
    let at = to.local_addr().unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| from.write_all(data).unwrap());
        let mut got = vec![0; data.len()];
        to.read_exact(&mut got).unwrap();
        assert!(got == data, "{at}");
        sender.join().unwrap();
    });
}

/// Segments that a connection's end has sent more than once.
pub fn repeated(stream: &TcpStream) -> u32 {
    // SAFETY: all zeros are a value of the structure; the kernel writes no more than its size.
    unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        let failed = libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        );
        assert_eq!(failed, 0);
        info.tcpi_total_retrans
    }
}

/// Bytes that repeat late and tell their place.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Waits for a recent drop of some kind.
pub fn dropped(plane: &Plane, wanted: impl Fn(&DropRecord) -> bool) -> DropRecord {
    let start = Instant::now();
    loop {
        let drops = plane.drops().unwrap();
        if let Some(found) = drops.iter().find(|drop| wanted(drop)) {
            return *found;
        }
        assert!(start.elapsed() < DEADLINE, "no such drop, but {drops:#?}");
        std::thread::yield_now();
    }
}

/// Whether the kernel may fragment what a socket sends: `IP_PMTUDISC_DO` forbids it, `IP_PMTUDISC_DONT` allows it.
pub fn forbid_fragments(socket: &UdpSocket, forbid: bool) {
    let value: libc::c_int = if forbid {
        libc::IP_PMTUDISC_DO
    } else {
        libc::IP_PMTUDISC_DONT
    };
    // SAFETY: the option takes an int, which outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(failed, 0);
}

/// Has everything that a socket sends carry an option of IP's that says nothing: three bytes of padding in IPv4's header,
/// a header of destination options in IPv6.
pub fn pad_header(socket: &UdpSocket) {
    let (level, option, value): (_, _, &[u8]) = if socket.local_addr().unwrap().is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 0])
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0])
    };
    // SAFETY: the option takes bytes, which outlive the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    assert_eq!(failed, 0);
}

/// The path MTU that a connected socket has learnt.
pub fn path_mtu(socket: &UdpSocket) -> u32 {
    let (level, option) = if socket.local_addr().unwrap().is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    };
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most an int.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    assert_eq!(failed, 0);
    value as u32
}

/// Sends a frame from a packet socket by an interface.
pub fn send_frame(socket: &impl AsRawFd, ifindex: u32, frame: &[u8]) {
    // SAFETY: an all-zero `sockaddr_ll` is valid; frame and address outlive the call.
    let sent = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex as i32;
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
}

/// Waits until something is there.
pub fn eventually<T>(mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "it never comes to be");
        std::thread::yield_now();
    }
}

/// A connection with bytes both ways, so that it is an established one.
pub fn settled((mut near, mut far): (TcpStream, TcpStream)) -> (TcpStream, TcpStream) {
    for byte in 0..20 {
        carries(&mut near, &mut far, byte);
        carries(&mut far, &mut near, byte);
    }
    (near, far)
}

/// Carries a byte from the far ends first: only as an answer it is let in.
pub fn all_carry(open: &mut [(TcpStream, TcpStream)], byte: u8) {
    for (near, far) in open {
        carries(far, near, byte);
        carries(near, far, byte);
    }
}

/// Takes programs away from where they stand, whoever else has what holds them.
pub fn detach(links: &[OwnedFd]) {
    const BPF_LINK_DETACH: libc::c_int = 34;
    for link in links {
        let descriptor = link.as_raw_fd();
        // SAFETY: the kernel reads the descriptor's four bytes.
        let failed = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const descriptor, 4) };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    }
}

/// How many programs stand at an interface of the calling thread's network namespace, at ingress and at egress.
pub fn programs_at(ifindex: u32) -> [u32; 2] {
    const BPF_PROG_QUERY: libc::c_int = 16;
    [46_u32, 47].map(|tcx| {
        // Interface, side, flags of the question and of the answer, where ids go (nowhere), how many there are.
        let mut question = [0_u32; 16];
        (question[0], question[1]) = (ifindex, tcx);
        // SAFETY: the kernel reads and writes these words, and no ids, since there is no room for any.
        let failed = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, question.as_mut_ptr(), 64) };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
        question[6]
    })
}
