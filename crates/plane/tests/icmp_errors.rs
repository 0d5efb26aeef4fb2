//! ICMP errors through gateways: the kernel of whoever sent the packet knows it again by what the error quotes.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use atoll_net::packet::{Sum, Transport, is_icmp_error, quote};
use atoll_plane::Capacity;
use rig::errors::{Told, hop_limit, keep_errors, told};
use rig::socket::{delivers, eventually, forbid_fragments, noise, path_mtu};
use rig::wire::{Datagram, Wire, is_right};
use rig::{Namespace, OUTSIDE_V4, OUTSIDE_V6, Rig, rows, scenario};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// Behind a router outside.
const BEYOND_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const BEYOND_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfe, 0, 0, 0, 0, 0x10);

/// A network behind the internet's station, whose link takes 1,400 bytes.
fn beyond(outside: &Namespace) -> Namespace {
    let namespace = Namespace::new();
    outside.ip(&format!(
        "link add eth1 mtu 1400 type veth peer name eth0 mtu 1400 netns {}",
        namespace.path()
    ));
    outside.sysctl("ipv4/ip_forward", "1");
    outside.sysctl("ipv6/conf/all/forwarding", "1");
    outside.sysctl("ipv4/icmp_ratelimit", "0");
    outside.sysctl("ipv6/icmp/ratelimit", "0");
    outside.ip("addr add 192.0.2.1/24 dev eth1");
    outside.ip("addr add 2001:db8:fe::1/64 dev eth1 nodad");
    outside.ip("link set eth1 up");
    namespace.ip("link set eth0 up");
    namespace.ip(&format!("addr add {BEYOND_V4}/24 dev eth0"));
    namespace.ip(&format!("addr add {BEYOND_V6}/64 dev eth0 nodad"));
    outside.wait_for_carrier("eth1");
    namespace.wait_for_carrier("eth0");
    namespace.ip("route add default via 192.0.2.1");
    namespace.ip("-6 route add default via 2001:db8:fe::1 dev eth0");
    // Router solicitation may take the default routes of an interface that forwards away: they are set again.
    outside.ip("route replace default via 198.51.100.1 dev eth0");
    outside.ip("-6 route replace default via 2001:db8:ff::1 dev eth0");
    namespace
}

fn connected_to(namespace: &Namespace, from: IpAddr, port: u16, to: IpAddr) -> UdpSocket {
    let socket = namespace.udp(from, port);
    socket.connect((to, 33_434)).unwrap();
    keep_errors(&socket);
    socket
}

/// Sends something of one hop limit until there is an error about it.
fn probe(socket: &UdpSocket, limit: u8) -> Told {
    hop_limit(socket, limit);
    // An earlier error may be told at the next call instead of doing it.
    eventually(|| socket.send(b"x").ok());
    told(socket)
}

#[test]
fn every_hop_of_a_traced_route_answers_with_its_own_address() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(PUBLIC));
        let outside = rig.internet();
        let far = beyond(&outside);
        let subnet = rows::subnet(1);
        for (from, to, router, station, exceeded, unreachable) in [
            (
                IpAddr::from(a.v4),
                IpAddr::from(BEYOND_V4),
                subnet.router_v4().unwrap(),
                IpAddr::from(OUTSIDE_V4),
                (11, 0),
                (3, 3),
            ),
            (
                a.v6.into(),
                BEYOND_V6.into(),
                "2001:db8:1:1::1".parse().unwrap(),
                OUTSIDE_V6.into(),
                (3, 0),
                (1, 4),
            ),
        ] {
            let socket = connected_to(&a.namespace, from, 4000, to);
            let hops: Vec<_> = (1..=3).map(|limit| probe(&socket, limit)).collect();
            let told: Vec<_> = hops.iter().map(|hop| ((hop.kind, hop.code), hop.from)).collect();
            // The gateway is a hop (semantics 66), the subnet's router none. Behind them, nobody listens.
            assert_eq!(told, [(exceeded, router), (exceeded, station), (unreachable, to)]);
        }
        drop(far);
    });
}

#[test]
fn an_error_from_outside_quotes_what_was_sent_bit_by_bit() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let public = rig.guest_with(2, 10, &[rows::OPEN], Some(PUBLIC));
        let hidden = rig.guest(1, 10, &[rows::OPEN]);
        let _outside = rig.internet();
        rig.apply(&rows::nat_gateway());
        rig.apply(&rows::put(vec![rows::private_table()]));
        for (guest, to) in [
            (&public, IpAddr::from(OUTSIDE_V4)),
            (&public, OUTSIDE_V6.into()),
            // By a NAT gateway (semantics 79), and by an egress-only gateway.
            (&hidden, OUTSIDE_V4.into()),
            (&hidden, OUTSIDE_V6.into()),
        ] {
            let wire = Wire::new(&guest.namespace);
            let from = if to.is_ipv4() {
                IpAddr::from(guest.v4)
            } else {
                guest.v6.into()
            };
            let socket = connected_to(&guest.namespace, from, 4000, to);
            // In the socket's name, with a checksum that is finished: a socket's own is left to the device.
            let datagram = Datagram::from(guest, to, (4000, 33_434), b"nobody listens there");
            wire.send(&datagram.frame(17, &datagram.segment(), (1, 0)));
            let told = told(&socket);
            let wanted = if to.is_ipv4() { (3, 3) } else { (1, 4) };
            assert_eq!(((told.kind, told.code), told.from), (wanted, to));
            let (frame, headers) = wire.read(|_, headers| {
                matches!(headers.transport,
                    Transport::Icmp { kind, .. } if is_icmp_error(headers.protocol, kind))
            });
            assert!(is_right(&frame, &headers), "the error's own checksum");
            let quote = quote(&frame, &headers).unwrap();
            assert_eq!((quote.src, quote.dst), (from, to));
            let ports = Transport::Udp {
                src: 4000,
                dst: 33_434,
            };
            assert_eq!(quote.transport, ports);
            if to.is_ipv4() {
                let header = &frame[quote.network_at..quote.transport_at];
                assert_eq!(
                    Sum::default().bytes(header).fold(),
                    0xffff,
                    "the quoted header's checksum"
                );
            }
            assert_eq!(frame[quote.transport_at..headers.end], datagram.segment());
        }
    });
}

#[test]
fn an_error_from_inside_is_known_again_outside() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest_with(2, 10, &[rows::OPEN], Some(PUBLIC));
        let hidden = rig.guest(1, 10, &[rows::OPEN]);
        let outside = rig.internet();
        rig.apply(&rows::nat_gateway());
        rig.apply(&rows::put(vec![rows::private_table()]));
        for (from, to) in [
            (IpAddr::from(OUTSIDE_V4), IpAddr::from(PUBLIC)),
            (OUTSIDE_V6.into(), a.v6.into()),
        ] {
            let socket = connected_to(&outside, from, 4000, to);
            socket.send(b"x").unwrap();
            // It comes from the address that was asked, not from the one inside.
            assert_eq!(told(&socket).from, to);
        }
        // Behind a NAT gateway: what answers a socket that is closed by then.
        let server = outside.udp(OUTSIDE_V4, 53);
        keep_errors(&server);
        let client = hidden.namespace.udp(hidden.v4, 4000);
        let seen = delivers(&client, OUTSIDE_V4, &server, b"question");
        drop(client);
        server.connect(seen).unwrap();
        server.send(b"answer").unwrap();
        let told = told(&server);
        assert_eq!((told.kind, told.code, told.from), (3, 3, seen.ip()));
    });
}

#[test]
fn a_narrow_link_outside_gives_the_sender_its_path_mtu() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let public = rig.guest_with(2, 10, &[rows::OPEN], Some(PUBLIC));
        let hidden = rig.guest(1, 10, &[rows::OPEN]);
        let outside = rig.internet();
        let far = beyond(&outside);
        rig.apply(&rows::nat_gateway());
        rig.apply(&rows::put(vec![rows::private_table()]));
        for (guest, to) in [
            (&public, IpAddr::from(BEYOND_V4)),
            (&public, BEYOND_V6.into()),
            (&hidden, BEYOND_V4.into()),
            (&hidden, BEYOND_V6.into()),
        ] {
            let from = if to.is_ipv4() {
                IpAddr::from(guest.v4)
            } else {
                guest.v6.into()
            };
            // What is sent while the limit is learnt may arrive too, elsewhere.
            let (_there, receiver) = (far.udp(to, 33_434), far.udp(to, 33_435));
            let socket = guest.namespace.udp(from, 4000);
            socket.connect((to, 33_434)).unwrap();
            if to.is_ipv4() {
                forbid_fragments(&socket, true);
            }
            // semantics 129, 130: first the gateway's limit, then the other router's.
            for (bytes, limit) in [(5000, 1500), (1440, 1400)] {
                eventually(|| {
                    if let Err(error) = socket.send(&noise(bytes, 1)) {
                        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
                    }
                    (path_mtu(&socket) == limit).then_some(())
                });
            }
            let error = to.is_ipv4().then(|| socket.send(&noise(1440, 1)).unwrap_err());
            assert!(error.is_none_or(|error| error.raw_os_error() == Some(libc::EMSGSIZE)));
            let said = guest.namespace.run(|| {
                let mut ip = std::process::Command::new("ip");
                ip.args(["route", "get", &to.to_string()]).output().unwrap()
            });
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(said.contains("mtu 1400"), "{said}");
            // What fits arrives; of IPv6, what the sender has cut.
            let bytes = if to.is_ipv4() { 1372 } else { 1440 };
            delivers(&guest.namespace.udp(from, 4001), to, &receiver, &noise(bytes, 2));
        }
    });
}
