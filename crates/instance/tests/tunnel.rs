//! The VXLAN device of the fabric's namespace, whose socket is the host's.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]
mod bed;
use atoll_instance::{Error, Underlay};
use bed::{Bed, as_root};
use std::net::UdpSocket;
use std::process::{Child, Command};

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "{line}");
}

/// A namespace in the place of a host's own, in which the calling thread stands from now on.
struct HostNetwork(Child);

impl HostNetwork {
    fn enter() -> HostNetwork {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let made = HostNetwork(
            Command::new("unshare")
                .args(["-n", "sleep", "infinity"])
                .spawn()
                .unwrap(),
        );
        let path = format!("/proc/{}/ns/net", made.0.id());
        while std::fs::read_link(&path).unwrap() == own {
            std::thread::yield_now();
        }
        let file = std::fs::File::open(path).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
        for line in [
            "link set lo up",
            "link add under type bridge",
            "link set under mtu 1600 up",
            "address add 192.0.2.1/24 dev under",
            "address add 2001:db8:eeee::1/64 dev under nodad",
            "link add narrow type bridge",
            "link set narrow mtu 1300",
            "address add 192.0.3.1/24 dev narrow",
        ] {
            ip(line);
        }
        made
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_device_stays_over_restarts_and_its_port_is_the_hosts() {
    as_root(|bed: &mut Bed| {
        let _network = HostNetwork::enter();
        let index = bed.host.make_tunnel().unwrap();
        let shown = bed.in_fabric(&["ip", "-d", "link", "show", "atoll-vxlan"], b"");
        for words in [
            "UP",
            "mtu 9200",
            "vxlan external",
            "dstport 4789 nolearning",
            " gbp ",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert!(UdpSocket::bind("192.0.2.1:4789").is_err(), "the socket is here");
        bed.reopen();
        assert_eq!(bed.host.make_tunnel().unwrap(), index, "the next daemon finds it");
        // One that is not as it should be is made anew.
        bed.in_fabric(&["ip", "link", "set", "atoll-vxlan", "mtu", "1400"], b"");
        assert_ne!(bed.host.make_tunnel().unwrap(), index);
        let link = std::fs::File::open("/dev/null").unwrap();
        let kept = bed.host.keep_link(1, index, 4, std::os::fd::AsFd::as_fd(&link));
        assert!(matches!(kept, Err(Error::Invalid { .. })), "{kept:?}");
        // With the holder it goes, and with it the socket, at once.
        bed.host.shutdown(true).unwrap();
        UdpSocket::bind("0.0.0.0:4789").unwrap();
        bed.reopen();
    });
}

#[test]
fn whoever_has_the_port_is_told_of() {
    as_root(|bed: &mut Bed| {
        let _network = HostNetwork::enter();
        let socket = UdpSocket::bind("0.0.0.0:4789").unwrap();
        let refused = bed.host.make_tunnel().unwrap_err();
        assert_eq!(refused, Error::TunnelPortTaken);
        assert!(refused.to_string().contains("UDP port 4789"), "{refused}");
        drop(socket);
        ip("link add other type vxlan external dstport 4789");
        ip("link set other up");
        assert_eq!(bed.host.make_tunnel(), Err(Error::TunnelPortTaken));
        ip("link del other");
        bed.host.make_tunnel().unwrap();
    });
}

#[test]
fn an_underlay_is_an_address_that_other_hosts_can_reach() {
    as_root(|_: &mut Bed| {
        let _network = HostNetwork::enter();
        let find = |address: &str| Underlay::find(address.parse().unwrap(), 1350);
        for address in ["192.0.2.1", "2001:db8:eeee::1"] {
            let found = find(address).unwrap();
            assert_eq!((&*found.interface, found.mtu), ("under", 1600));
        }
        for (address, words) in [
            ("192.0.2.2", "is not this host's"),
            ("2001:db8:eeee::2", "is not this host's"),
            ("127.0.0.1", "no other host's to reach"),
            ("::1", "no other host's to reach"),
            ("0.0.0.0", "no other host's to reach"),
            ("fe80::1", "of one link alone"),
            ("192.0.3.1", "narrow's, whose MTU is 1300"),
        ] {
            let error = find(address).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("the underlay's address {address} ")),
                "{error}"
            );
            assert!(error.contains(words), "{error}");
        }
    });
}
