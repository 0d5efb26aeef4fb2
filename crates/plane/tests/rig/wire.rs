//! Frames as they are on an interface, sent and read by a packet socket inside a namespace.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use atoll_net::Mac;
use atoll_net::packet::{Frame, Headers, Sum, parse, protocol};

use super::socket::{DEADLINE, send_frame};
use super::{Guest, Namespace, rows};

/// A packet socket at an interface named `eth0`, which takes all that comes in there.
pub struct Wire {
    socket: OwnedFd,
    ifindex: u32,
}

/// Where a header of the kernel says that a checksum is still to be finished.
const VNET: usize = 10;

impl Wire {
    pub fn new(namespace: &Namespace) -> Wire {
        namespace.run(|| {
            let ifindex = atoll_plane::Plane::interface_index("eth0").unwrap();
            let every = (libc::ETH_P_ALL as u16).to_be();
            // SAFETY: the calls take values that outlive them; the descriptor is new and ours.
            let socket = unsafe {
                let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, every.into());
                assert!(fd >= 0);
                let socket = OwnedFd::from_raw_fd(fd);
                let set = |level, name, value: &[u8]| {
                    let length = value.len() as libc::socklen_t;
                    assert_eq!(
                        libc::setsockopt(fd, level, name, value.as_ptr().cast(), length),
                        0
                    );
                };
                let second: [i64; 2] = [1, 0];
                let bytes: [u8; 16] = std::mem::transmute(second);
                set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &bytes);
                set(libc::SOL_SOCKET, libc::SO_RCVBUF, &(4i32 << 20).to_ne_bytes());
                set(
                    libc::SOL_PACKET,
                    libc::PACKET_IGNORE_OUTGOING,
                    &1i32.to_ne_bytes(),
                );
                set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32.to_ne_bytes());
                let mut at: libc::sockaddr_ll = std::mem::zeroed();
                at.sll_family = libc::AF_PACKET as u16;
                at.sll_protocol = every;
                at.sll_ifindex = ifindex as i32;
                let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                assert_eq!(libc::bind(fd, (&raw const at).cast(), length), 0);
                socket
            };
            Wire { socket, ifindex }
        })
    }

    pub fn send(&self, frame: &[u8]) {
        self.send_behind(&[0; VNET], frame);
    }

    /// Says in front of it what is left to be done.
    pub fn send_behind(&self, header: &[u8; VNET], frame: &[u8]) {
        let with_header = [&header[..], frame].concat();
        send_frame(&self.socket, self.ifindex, &with_header);
    }

    /// The next frame of IP that something holds for, with what is left to the device done, within the deadline.
    pub fn read(&self, wanted: impl Fn(&[u8], &Headers) -> bool) -> (Vec<u8>, Headers) {
        let start = Instant::now();
        let mut buffer = vec![0u8; 70_000];
        loop {
            assert!(start.elapsed() < DEADLINE, "no such frame comes");
            // SAFETY: the kernel writes no more than the buffer's length.
            let length = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                )
            };
            let Ok(length) = usize::try_from(length) else {
                continue;
            };
            let Some((header, frame)) = buffer[..length].split_at_mut_checked(VNET) else {
                continue;
            };
            let Ok(Frame::Ip(headers)) = parse(frame) else {
                continue;
            };
            let word = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
            if header[0] & 1 != 0 && header[1] == 0 {
                let (from, at) = (word(6), word(6) + word(8));
                let sum = Sum::default().bytes(&frame[from..headers.end]).checksum();
                frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
            if wanted(frame, &headers) {
                return (frame.to_vec(), headers);
            }
        }
    }
}

/// Whether a datagram's checksum, or that of the ICMPv6 or ICMP message, is right.
pub fn is_right(frame: &[u8], headers: &Headers) -> bool {
    sums_up(
        &frame[headers.transport_at..headers.end],
        headers.src,
        headers.dst,
        headers.protocol,
    )
}

fn sums_up(segment: &[u8], src: IpAddr, dst: IpAddr, number: u8) -> bool {
    let sum = if number == protocol::ICMP {
        Sum::default()
    } else {
        Sum::default().pseudo_header(src, dst, number, segment.len() as u32)
    };
    sum.bytes(segment).fold() == 0xffff
}

/// A packet of UDP from a guest, to be sent in pieces.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    pub macs: (Mac, Mac),
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ports: (u16, u16),
    pub data: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// From a guest, by its subnet's router.
    pub fn from(guest: &Guest, dst: IpAddr, ports: (u16, u16), data: &'a [u8]) -> Datagram<'a> {
        Datagram {
            macs: (guest.mac, rows::subnet(guest.v4.octets()[2]).router_mac()),
            src: if dst.is_ipv4() {
                guest.v4.into()
            } else {
                guest.v6.into()
            },
            dst,
            ports,
            data,
        }
    }

    /// Header and data.
    pub fn segment(&self) -> Vec<u8> {
        let length = (8 + self.data.len()) as u16;
        let mut segment: Vec<u8> = [self.ports.0, self.ports.1, length, 0]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        segment.extend(self.data);
        let sum = Sum::default()
            .pseudo_header(self.src, self.dst, protocol::UDP, length.into())
            .bytes(&segment);
        let sum = Some(sum.checksum()).filter(|sum| *sum != 0).unwrap_or(0xffff);
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// The frame of a piece of it: some bytes that stand at an offset.
    pub fn piece(&self, id: u16, offset: usize, bytes: &[u8], more: bool) -> Vec<u8> {
        let place = offset as u16;
        match self.src {
            IpAddr::V4(_) => {
                let field = (place / 8) | (u16::from(more) << 13);
                self.frame(protocol::UDP, bytes, (id, field))
            }
            IpAddr::V6(_) => {
                let mut header = vec![protocol::UDP, 0];
                header.extend((place | u16::from(more)).to_be_bytes());
                header.extend(u32::from(id).to_be_bytes());
                header.extend(bytes);
                self.frame(44, &header, (0, 0))
            }
        }
    }

    /// A frame with its addresses around something; identification and fragment field are IPv4's.
    pub fn frame(&self, number: u8, payload: &[u8], (id, field): (u16, u16)) -> Vec<u8> {
        let mut frame = [self.macs.1.0, self.macs.0.0].concat();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((20 + payload.len() as u16).to_be_bytes());
                frame.extend(id.to_be_bytes());
                frame.extend(field.to_be_bytes());
                frame.extend([64, number, 0, 0]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
                let sum = Sum::default().bytes(&frame[14..34]).checksum();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((payload.len() as u16).to_be_bytes());
                frame.extend([number, 64]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
            }
            _ => panic!("one family"),
        }
        frame.extend(payload);
        frame
    }

    /// All its pieces in order, with so many bytes each.
    pub fn pieces(&self, id: u16, step: usize) -> Vec<Vec<u8>> {
        let segment = self.segment();
        let cut =
            |(n, bytes): (usize, &[u8])| self.piece(id, n * step, bytes, (n + 1) * step < segment.len());
        segment.chunks(step).enumerate().map(cut).collect()
    }
}

/// Sends the pieces of a packet in some order, under one number after the other until one arrives: where the machine
/// was so busy that pieces waited in vain, the next ones may fare better. Returns whom it came from.
pub fn arrives(
    wire: &Wire,
    receiver: &std::net::UdpSocket,
    datagram: &Datagram<'_>,
    order: impl Fn(&mut Vec<Vec<u8>>),
) -> std::net::SocketAddr {
    let start = Instant::now();
    let mut buffer = vec![0; 65_536];
    receiver.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    for id in 1.. {
        let mut pieces = datagram.pieces(id, 1400);
        order(&mut pieces);
        for piece in &pieces {
            wire.send(piece);
        }
        match receiver.recv_from(&mut buffer) {
            Ok((length, from)) => {
                assert!(buffer[..length] == *datagram.data);
                receiver.set_read_timeout(Some(DEADLINE)).unwrap();
                return from;
            }
            Err(_) => assert!(start.elapsed() < DEADLINE, "it does not arrive"),
        }
    }
    unreachable!()
}
