//! Boots, user data, console, signals, and what survives which process.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]
mod bed;
use atoll_instance::{Error, InstanceState, PortAddress, UserDataStatus};
use bed::{Bed, as_root_and_as_ordinary_user, instance, port, with_user_data};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Longer than a guest takes to end by itself on any machine.
const GRACE: Duration = Duration::from_secs(100);

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn user_data_runs_once_and_writes_the_console() {
    as_root_and_as_ordinary_user("user_data_runs_once_and_writes_the_console", |bed: &mut Bed| {
        let script = "#!/bin/bash -e\necho \"ran as $(id -u) in $PWD\"\necho error >&2\necho x >> /root/runs\nexit 3\n";
        bed.launch(&with_user_data("i-a", script), &[]);
        bed.until("i-a", "the end of the user data", |report| {
            report.user_data_status == UserDataStatus::Exited(3)
        });
        let rebooted = bed.host.reboot("i-a", GRACE).unwrap();
        bed.seen(&rebooted);
        assert_eq!((rebooted.state, rebooted.boots), (InstanceState::Running, 2));
        bed.host.stop("i-a", GRACE).unwrap();
        let report = bed.launch(&with_user_data("i-a", script), &[]);
        assert_eq!(
            (report.boots, report.user_data_status),
            (3, UserDataStatus::Exited(3))
        );
        assert_eq!(bed.say("i-a", "cat /root/runs"), "x");
        let console = String::from_utf8(bed.host.console("i-a").unwrap()).unwrap();
        assert_eq!(console.matches("ran as 0 in /\nerror\n").count(), 1, "{console}");
        // What does not begin with #! is not run, and the console says so.
        let report = bed.launch(&with_user_data("i-b", "#cloud-config\n"), &[]);
        assert_eq!(report.user_data_status, UserDataStatus::None);
        assert!(
            String::from_utf8(bed.host.console("i-b").unwrap())
                .unwrap()
                .contains("does not begin with #!")
        );
    });
}

#[test]
fn signals_of_a_guest_are_kept_until_acknowledged() {
    as_root_and_as_ordinary_user(
        "signals_of_a_guest_are_kept_until_acknowledged",
        |bed: &mut Bed| {
            bed.launch(&with_user_data("i-a", "#!/bin/sh\n/opt/aws/bin/cfn-signal -e 0 --stack web --resource Group --region eu-west-1\n"), &[]);
            let report = bed.until("i-a", "a signal", |report| !report.signals.is_empty());
            assert_eq!(
                (report.signals[0].stack.as_deref(), report.signals[0].success),
                (Some("web"), true)
            );
            bed.say("i-a", "cfn-signal -s false -r broken -i one http://handle");
            assert_eq!(bed.exec("i-a", "cfn-signal --stack web").status.code(), Some(2));
            // Not even the shim's own death loses one.
            kill(report.shim_pid.unwrap());
            let report = bed.until("i-a", "the end of the shim", |report| {
                matches!(report.state, InstanceState::Exited { .. })
            });
            assert_eq!(
                report
                    .signals
                    .iter()
                    .map(|signal| signal.sequence)
                    .collect::<Vec<_>>(),
                [1, 2]
            );
            assert_eq!(report.signals[1].url.as_deref(), Some("http://handle"));
            assert_eq!(bed.host.acknowledge("i-a", 1).unwrap().signals.len(), 1);
            let report = bed.launch(&instance("i-a"), &[]);
            assert_eq!(report.signals.len(), 1);
            assert_eq!(bed.host.acknowledge("i-a", 2).unwrap().signals.len(), 0);
        },
    );
}

#[test]
fn a_killed_shim_takes_its_sandbox_along_and_is_reported() {
    as_root_and_as_ordinary_user(
        "a_killed_shim_takes_its_sandbox_along_and_is_reported",
        |bed: &mut Bed| {
            let one = bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            bed.launch(&instance("i-b"), &[port("eni-b", 0, 11)]);
            let mut child = bed.spawn("i-a", "echo ready; exec sleep 1000");
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            assert_eq!(line, "ready\n");
            kill(one.shim_pid.unwrap());
            let report = bed.until("i-a", "the end", |report| {
                matches!(report.state, InstanceState::Exited { .. })
            });
            assert!(report.ports.is_empty() && report.init_pid.is_none());
            // The command inside ended with it, and its client hears that.
            assert!(!child.wait().unwrap().success());
            assert_eq!(bed.host.instance("i-b").unwrap().state, InstanceState::Running);
            assert!(matches!(bed.host.stop("i-a", GRACE), Err(Error::NotRunning(_))));
            let again = bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            assert_eq!(again.boots, 2);
        },
    );
}

#[test]
fn a_killed_holder_loses_no_instance_and_the_next_one_adopts() {
    as_root_and_as_ordinary_user(
        "a_killed_holder_loses_no_instance_and_the_next_one_adopts",
        |bed: &mut Bed| {
            let (a, b) = (port("eni-a", 0, 10), port("eni-b", 0, 11));
            let before = bed.launch(&instance("i-a"), std::slice::from_ref(&a));
            bed.launch(&instance("i-b"), std::slice::from_ref(&b));
            bed.bridge(&[&a, &b]);
            kill(bed.host.holder_pid().unwrap());
            bed.until_gone();
            // Packets still pass, and commands still run.
            bed.say("i-a", "ping -c 1 -w 100 10.0.0.11");
            bed.reopen();
            assert_eq!(bed.host.instance("i-a").unwrap(), before);
            // The same namespace: what was attached there is still attached.
            assert!(
                bed.in_fabric(&["ip", "link", "show", "master", "br0"], b"")
                    .contains(&a.host_name())
            );
            bed.say("i-a", "ping -c 1 -w 100 10.0.0.11");
            let c = port("eni-c", 0, 12);
            bed.launch(&instance("i-c"), std::slice::from_ref(&c));
            bed.host.stop("i-b", GRACE).unwrap();
        },
    );
}

#[test]
fn after_everything_was_killed_the_next_holder_says_so() {
    as_root_and_as_ordinary_user(
        "after_everything_was_killed_the_next_holder_says_so",
        |bed: &mut Bed| {
            let report = bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            bed.say("i-a", "echo kept > /root/file");
            kill(bed.host.holder_pid().unwrap());
            kill(report.shim_pid.unwrap());
            bed.until_gone();
            bed.reopen();
            assert!(matches!(
                bed.host.instance("i-a").unwrap().state,
                InstanceState::Exited { .. }
            ));
            bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            assert_eq!(bed.say("i-a", "cat /root/file"), "kept");
        },
    );
}

#[test]
fn a_daemon_enters_the_namespace_of_the_host_ends() {
    as_root_and_as_ordinary_user(
        "a_daemon_enters_the_namespace_of_the_host_ends",
        |bed: &mut Bed| {
            let a = port("eni-a", 0, 10);
            let report = bed.launch(&instance("i-a"), std::slice::from_ref(&a));
            let links = bed.entered(&["ip", "-o", "link"]);
            assert!(
                links.contains(&format!("{}: {}", report.ports[0].host_index, a.host_name())),
                "{links}"
            );
            assert!(
                !links.contains("UP") || !links.contains("lo: <LOOPBACK,UP"),
                "{links}"
            );
            // What a data plane does there.
            bed.entered(&[
                "/usr/bin/python3",
                "-c",
                "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 8)",
            ]);
            assert_eq!(bed.entered(&["cat", "/proc/sys/net/ipv4/ip_forward"]).trim(), "0");
            assert!(
                !bed.entered(&["ip", "addr"]).contains("inet"),
                "a host end has an address"
            );
        },
    );
}

#[test]
fn a_port_comes_and_goes_and_changes_while_the_instance_runs() {
    as_root_and_as_ordinary_user(
        "a_port_comes_and_goes_and_changes_while_the_instance_runs",
        |bed: &mut Bed| {
            bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            bed.launch(&instance("i-b"), &[port("eni-b", 0, 11)]);
            let mut moved = port("eni-m", 1, 30);
            bed.host.port_create("i-a", &moved).unwrap();
            assert!(bed.say("i-a", "ip addr show eth1").contains("10.0.0.30/24"));
            assert!(matches!(
                bed.host.port_create("i-a", &moved),
                Err(Error::PortExists { .. })
            ));
            moved.addresses.push(PortAddress {
                address: "10.0.0.31".parse().unwrap(),
                prefix_len: 24,
            });
            moved.addresses.remove(0);
            bed.host.port_update("i-a", &moved).unwrap();
            let addresses = bed.say("i-a", "ip addr show eth1");
            assert!(
                addresses.contains("10.0.0.31/24") && !addresses.contains("10.0.0.30/24"),
                "{addresses}"
            );
            assert!(bed.say("i-a", "ip rule").contains("from 10.0.0.31 lookup 10001"));
            assert!(!bed.say("i-a", "ip rule").contains("10.0.0.30"));
            bed.host.port_delete("i-a", "eni-m").unwrap();
            assert!(!bed.exec("i-a", "ip link show eth1").status.success());
            assert!(!bed.say("i-a", "ip rule; ip -6 rule").contains("10001"));
            // To another instance: with the same MAC.
            bed.host.port_create("i-b", &moved).unwrap();
            assert!(bed.say("i-b", "ip link show eth1").contains("02:00:00:00:00:1e"));
            assert!(matches!(
                bed.host.port_delete("i-a", "eni-m"),
                Err(Error::NoSuchPort { .. })
            ));
            // Kept over a reboot.
            let report = bed.host.reboot("i-b", GRACE).unwrap();
            bed.seen(&report);
            assert_eq!(report.ports.len(), 2);
            assert!(bed.say("i-b", "ip addr show eth1").contains("10.0.0.31/24"));
        },
    );
}

#[test]
fn links_are_kept_until_their_port_goes_or_another_generation_is_ready() {
    as_root_and_as_ordinary_user(
        "links_are_kept_until_their_port_goes_or_another_generation_is_ready",
        |bed: &mut Bed| {
            let ports = [port("eni-a", 0, 10), port("eni-m", 1, 30)];
            let report = bed.launch(&instance("i-a"), &ports);
            let index = |n: usize| report.ports[n].host_index;
            // The end of a pipe stands for a link: the other end sees when nobody holds it any more.
            let keep = |generation, interface| {
                let (watched, link) = rustix::pipe::pipe().unwrap();
                bed.host
                    .keep_link(generation, interface, 0, link.as_fd())
                    .unwrap();
                drop(link);
                watched
            };
            let is_kept = |watched: &OwnedFd| {
                let now = rustix::event::Timespec::default();
                let mut polled = [PollFd::new(watched, PollFlags::empty())];
                rustix::event::poll(&mut polled, Some(&now)).unwrap() == 0
            };
            let gone = |watched: &OwnedFd| {
                let mut polled = [PollFd::new(watched, PollFlags::empty())];
                let most = rustix::event::Timespec {
                    tv_sec: 120,
                    tv_nsec: 0,
                };
                assert_eq!(rustix::event::poll(&mut polled, Some(&most)).unwrap(), 1);
            };
            let (first, moving) = (keep(1, index(0)), keep(1, index(1)));
            bed.host.drop_links(1).unwrap();
            let second = keep(2, index(0));
            gone(&keep(2, 4_000_000));
            assert!(is_kept(&first) && is_kept(&moving) && is_kept(&second));
            bed.host.port_delete("i-a", "eni-m").unwrap();
            gone(&moving);
            bed.host.drop_links(2).unwrap();
            gone(&first);
            assert!(is_kept(&second));
            bed.host.terminate("i-a").unwrap();
            gone(&second);
        },
    );
}

#[test]
fn a_tenant_that_deletes_its_interface_gets_it_back() {
    as_root_and_as_ordinary_user(
        "a_tenant_that_deletes_its_interface_gets_it_back",
        |bed: &mut Bed| {
            let before = bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            for generation in 2..4 {
                bed.say("i-a", "ip link del eth0");
                let after = bed.until("i-a", "the interface", |report| {
                    report.ports.iter().any(|port| port.generation == generation)
                });
                assert_ne!(after.ports[0].host_index, before.ports[0].host_index);
                assert!(bed.say("i-a", "ip addr show eth0").contains("10.0.0.10/24"));
                assert!(bed.say("i-a", "ip route show default").contains("via 10.0.0.1"));
            }
        },
    );
}

#[test]
fn stopping_asks_first_and_kills_what_does_not_listen() {
    as_root_and_as_ordinary_user(
        "stopping_asks_first_and_kills_what_does_not_listen",
        |bed: &mut Bed| {
            bed.launch(&with_user_data("i-a", "#!/bin/bash\ntrap 'echo asked; exit' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n"), &[]);
            bed.until("i-a", "the script", |_| true);
            wait_for_console(bed, "i-a", "up\n");
            bed.host.stop("i-a", GRACE).unwrap();
            assert!(
                String::from_utf8(bed.host.console("i-a").unwrap())
                    .unwrap()
                    .contains("asked")
            );
            bed.launch(
                &with_user_data(
                    "i-b",
                    "#!/bin/bash\ntrap '' TERM\necho up\nwhile :; do sleep 1000; done\n",
                ),
                &[],
            );
            wait_for_console(bed, "i-b", "up\n");
            bed.host.stop("i-b", Duration::from_millis(100)).unwrap();
            assert!(
                String::from_utf8(bed.host.console("i-b").unwrap())
                    .unwrap()
                    .contains("is killed")
            );
            // From inside: process 1 is asked, and the instance is stopped, not lost.
            bed.launch(&instance("i-c"), &[]);
            bed.exec("i-c", "kill -TERM 1");
            bed.until("i-c", "the stop", |report| report.state == InstanceState::Stopped);
        },
    );
}

/// There is no event for console output: asks again until it is there, with a deadline.
fn wait_for_console(bed: &Bed, id: &str, text: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while !String::from_utf8_lossy(&bed.host.console(id).unwrap()).contains(text) {
        assert!(
            std::time::Instant::now() < deadline,
            "the console never said {text:?}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing_half_made() {
    as_root_and_as_ordinary_user(
        "what_cannot_start_says_why_and_leaves_nothing_half_made",
        |bed: &mut Bed| {
            let mut wrong = port("eni-a", 0, 10);
            // A gateway of the loopback network: the kernel refuses the route.
            wrong.gateway_v4 = Some([127, 0, 0, 1].into());
            wrong.addresses[0].address = "224.0.0.1".parse().unwrap();
            let error = bed.host.launch(&instance("i-a"), &[wrong.clone()]).unwrap_err();
            assert!(
                matches!(&error, Error::Start { reason, .. } if reason.contains("eni-a")),
                "{error}"
            );
            let report = bed.host.instance("i-a").unwrap();
            assert!(matches!(report.state, InstanceState::Exited { .. }), "{report:?}");
            assert!(!bed.in_fabric(&["ip", "link"], b"").contains(&wrong.host_name()));
            bed.launch(&instance("i-a"), &[port("eni-a", 0, 10)]);
            assert!(matches!(
                bed.host.launch(&instance("i-a"), &[]),
                Err(Error::AlreadyRunning(_))
            ));
            assert!(matches!(
                bed.host.launch(&instance("../x"), &[]),
                Err(Error::Invalid { .. })
            ));
            assert!(matches!(
                bed.host.terminate("i-no"),
                Err(Error::NoSuchInstance(_))
            ));
        },
    );
}

#[test]
fn the_internet_is_a_sandbox_like_any_other() {
    as_root_and_as_ordinary_user("the_internet_is_a_sandbox_like_any_other", |bed: &mut Bed| {
        let address = |text: &str, prefix_len| PortAddress {
            address: text.parse().unwrap(),
            prefix_len,
        };
        let mut side = port("internet", 0, 1);
        side.mtu = 1500;
        side.addresses = vec![address("198.51.100.10", 24), address("2001:db8:ffff::10", 64)];
        side.gateway_v4 = Some([198, 51, 100, 1].into());
        side.gateway_v6 = Some("2001:db8:ffff::1".parse().unwrap());
        let spec = atoll_instance::InstanceSpec {
            kind: atoll_instance::InstanceKind::Internet,
            hostname: "internet".into(),
            ..instance("internet")
        };
        bed.launch(&spec, &[side]);
        assert!(
            bed.say("internet", "ip -6 route show default")
                .contains("via 2001:db8:ffff::1")
        );
        assert!(bed.say("internet", "ip link show eth0").contains("mtu 1500"));
    });
}

#[test]
fn many_instances_start_at_once() {
    as_root_and_as_ordinary_user("many_instances_start_at_once", |bed: &mut Bed| {
        let host = bed.host.clone();
        let reports: Vec<_> = std::thread::scope(|scope| {
            let start = |n: u8| {
                let host = &host;
                scope.spawn(move || {
                    let id = format!("i-{n}");
                    host.launch(&instance(&id), &[port(&format!("eni-{n}"), 0, 100 + n)])
                        .unwrap()
                })
            };
            let started: Vec<_> = (0..12).map(start).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        reports.iter().for_each(|report| bed.seen(report));
        let mut indexes: Vec<u32> = reports.iter().map(|report| report.ports[0].host_index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), 12);
        assert_eq!(bed.host.list().unwrap().len(), 12);
        assert!(bed.say("i-7", "ip addr show eth0").contains("10.0.0.107"));
    });
}
