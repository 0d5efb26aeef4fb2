//! What an instance is from inside, and what it is not.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]
mod bed;
use std::os::unix::fs::MetadataExt;

use bed::{Bed, as_root_and_as_ordinary_user, instance, port};

#[test]
fn two_instances_exchange_packets_over_their_ports() {
    as_root_and_as_ordinary_user(
        "two_instances_exchange_packets_over_their_ports",
        |bed: &mut Bed| {
            let (a, b) = (port("eni-a", 0, 10), port("eni-b", 0, 11));
            let report = bed.launch(&instance("i-a"), std::slice::from_ref(&a));
            assert_eq!(report.ports.len(), 1);
            bed.launch(&instance("i-b"), std::slice::from_ref(&b));
            bed.bridge(&[&a, &b]);
            bed.say("i-a", "ping -c 1 -w 100 10.0.0.11");
            bed.say("i-a", "ping -c 1 -w 100 2001:db8::b");
            // Jumbo frames pass whole.
            bed.say("i-a", "ping -c 1 -w 100 -M do -s 8973 10.0.0.11");
            let links = bed.in_fabric(&["ip", "-d", "link", "show", "dev", &a.host_name()], b"");
            assert!(
                links.contains("alias eni-a") && links.contains("mtu 9001"),
                "{links}"
            );
            assert!(
                !links.contains("02:00:00:00:00:0a"),
                "the host end has the guest's MAC: {links}"
            );
            assert_eq!(
                bed.in_fabric(&["ip", "-6", "addr", "show", "dev", &a.host_name()], b""),
                ""
            );
        },
    );
}

#[test]
fn a_guest_sees_its_interface_and_names() {
    as_root_and_as_ordinary_user("a_guest_sees_its_interface_and_names", |bed: &mut Bed| {
        bed.launch(&instance("i-a"), &[port("eni-a", 0, 10), port("eni-s", 1, 20)]);
        let link = bed.say("i-a", "ip link show dev eth0");
        assert!(
            link.contains("02:00:00:00:00:0a") && link.contains("mtu 9001"),
            "{link}"
        );
        assert!(bed.say("i-a", "ip addr show dev eth0").contains("10.0.0.10/24"));
        assert!(
            bed.say("i-a", "ip route show default")
                .starts_with("default via 10.0.0.1 dev eth0")
        );
        assert!(
            bed.say("i-a", "ip -6 route show default")
                .contains("via fe80::1 dev eth0")
        );
        // The secondary interface answers by itself what it was asked.
        assert!(
            bed.say("i-a", "ip route get 8.8.8.8 from 10.0.0.20")
                .contains("dev eth1")
        );
        assert!(
            bed.say("i-a", "ip route get 8.8.8.8 from 10.0.0.10")
                .contains("dev eth0")
        );
        assert!(
            bed.say("i-a", "ip -6 route get 2001:db8:9::1 from 2001:db8::14")
                .contains("dev eth1")
        );
        assert_eq!(bed.say("i-a", "cat /etc/resolv.conf"), "nameserver 10.0.0.2");
        assert_eq!(
            bed.say("i-a", "hostname; cat /etc/hostname"),
            "host-i-a\nhost-i-a"
        );
        assert!(bed.say("i-a", "cat /etc/hosts").contains("10.0.0.10 host-i-a"));
        assert!(bed.say("i-a", "ip -o link show up").contains("lo"));
    });
}

#[test]
fn the_program_inside_is_the_file_outside_and_takes_no_memory_of_its_own() {
    as_root_and_as_ordinary_user(
        "the_program_inside_is_the_file_outside_and_takes_no_memory_of_its_own",
        |bed: &mut Bed| {
            bed.launch(&instance("i-a"), &[]);
            let file = std::fs::metadata(&bed.program).unwrap();
            let inside = bed.say("i-a", "stat -c '%d %i' /opt/atoll/atoll");
            assert_eq!(inside, format!("{} {}", file.dev(), file.ino()));
        },
    );
}

#[test]
fn nothing_of_the_host_is_seen_inside() {
    as_root_and_as_ordinary_user("nothing_of_the_host_is_seen_inside", |bed: &mut Bed| {
        bed.launch(&instance("i-a"), &[]);
        for path in [
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/sudoers",
            "/etc/ssl/private",
            "/run/docker.sock",
            "/var/run/docker.sock",
            "/run/dbus",
            "/var/run/dbus",
            "/sys",
            "/old_root",
        ] {
            let output = bed.exec("i-a", &format!("ls -d {path}"));
            assert!(!output.status.success(), "{path} is there");
        }
        let place = bed.path().to_str().unwrap().to_owned();
        assert!(
            !bed.exec("i-a", &format!("ls -d {place}")).status.success(),
            "the host's /tmp is seen"
        );
        // Only its own processes, which count from 1: init, the shells, and what they run.
        let processes = bed.say("i-a", "cat /proc/[0-9]*/comm 2>/dev/null | sort -u");
        let own = ["init", "atoll", "sh", "cat", "sort"];
        assert!(processes.lines().all(|name| own.contains(&name)), "{processes}");
        assert!(
            !bed.exec(
                "i-a",
                "touch /usr/x || touch /opt/atoll/atoll || echo x > /run/atoll/x"
            )
            .status
            .success()
        );
        assert!(!bed.exec("i-a", "mount -t tmpfs none /mnt").status.success());
        assert!(!bed.exec("i-a", "unshare -U true").status.success());
        assert!(
            !bed.exec("i-a", "echo 1 > /proc/sys/kernel/printk")
                .status
                .success()
        );
        let map = bed.say("i-a", "cat /proc/self/uid_map");
        let outside = map.split_whitespace().nth(1).unwrap().to_owned();
        if bed.root {
            assert!(
                outside.parse::<u32>().unwrap() >= 0x7000_0000,
                "root inside is {outside} outside"
            );
            // Another instance's users are others.
            bed.launch(&instance("i-b"), &[]);
            assert_ne!(bed.say("i-b", "cat /proc/self/uid_map"), map);
            // And with a range of its own, there is more than one user.
            assert_eq!(
                bed.say("i-a", "setpriv --reuid=1000 --regid=1000 --clear-groups id -u"),
                "1000"
            );
        }
    });
}

#[test]
fn root_inside_rules_its_own_network() {
    as_root_and_as_ordinary_user("root_inside_rules_its_own_network", |bed: &mut Bed| {
        bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
        assert_eq!(bed.say("i-a", "cat /proc/sys/net/ipv4/ip_forward"), "0");
        assert_eq!(
            bed.say(
                "i-a",
                "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward"
            ),
            "1"
        );
        bed.say(
            "i-a",
            "ip link add dummy0 type dummy 2>/dev/null || ip link add v0 type veth peer name v1",
        );
        bed.say("i-a", "ping -c 1 -w 100 127.0.0.1");
        if bed.exec("i-a", "command -v nft").status.success() {
            bed.say("i-a", "nft add table ip nat && nft 'add chain ip nat post { type nat hook postrouting priority 100 ; }' && nft add rule ip nat post masquerade && nft list ruleset");
        }
        if bed.exec("i-a", "command -v iptables").status.success() {
            bed.say("i-a", "iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE");
        }
        bed.say(
            "i-a",
            "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        );
    });
}

#[test]
fn files_outlive_a_stop_and_not_a_termination() {
    as_root_and_as_ordinary_user("files_outlive_a_stop_and_not_a_termination", |bed: &mut Bed| {
        bed.launch(&instance("i-a"), &[]);
        bed.say("i-a", "for d in /root /home /var/lib /tmp; do echo kept > $d/file; done; echo '10.0.0.9 db' >> /etc/hosts; mkdir /root/closed; touch /root/closed/x; chmod 0 /root/closed");
        let stopped = bed.host.stop("i-a", std::time::Duration::from_secs(10)).unwrap();
        assert_eq!(stopped.state, atoll_instance::InstanceState::Stopped);
        let again = bed.launch(&instance("i-a"), &[]);
        assert_eq!(again.boots, 2);
        bed.say(
            "i-a",
            "for d in /root /home /var/lib /tmp; do grep -q kept $d/file || exit 1; done; grep db /etc/hosts",
        );
        bed.host.terminate("i-a").unwrap();
        assert!(!bed.path().join("state/instances/i-a").exists());
        assert!(bed.host.list().unwrap().is_empty());
    });
}

/// In a user namespace of its own, whose limits this test may set, and as uid 1000 there.
fn open_under(limit: &str, number: u32) -> (std::process::Output, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let line = format!("echo {number} > /proc/sys/user/{limit} && exec \"$0\" open run state");
    let output = std::process::Command::new("unshare")
        .args([
            "-U",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
            "sh",
            "-c",
            &line,
        ])
        .arg(env!("CARGO_BIN_EXE_atoll-instance-testbed"))
        .current_dir(place.path())
        .output()
        .unwrap();
    (output, place)
}

#[test]
fn a_host_that_forbids_namespaces_is_told_what_to_do() {
    for (limit, what) in [
        ("max_user_namespaces", "user namespaces"),
        ("max_net_namespaces", "network namespaces"),
    ] {
        let (output, place) = open_under(limit, 0);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains(&format!("does not let uid 1000 make {what}")),
            "{text}"
        );
        assert!(text.contains(&format!("sudo sysctl user.{limit}=")), "{text}");
        assert!(!place.path().join("run/holder.sock").exists());
    }
    // The same, with nothing forbidden: it is the limit that was seen.
    let (output, _place) = open_under("max_net_namespaces", 100);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
