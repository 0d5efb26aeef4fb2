//! Machines of the person's own: TAPs in the fabric's namespace, and one command at a time that has them.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]
mod bed;
use atoll_instance::{Error, InstanceKind, InstanceSpec, InstanceState, PortSpec, UserDataStatus};
use bed::{Bed, as_root_and_as_ordinary_user, as_root_and_as_user_with_taps, instance, port};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A small host that answers ARP, neighbour discovery, ping and UDP.
const HOST: &str = include_str!("../../../examples/machine/host.py");
/// Longer than a command takes to end by itself on any machine.
const GRACE: Duration = Duration::from_secs(100);

fn machine(id: &str) -> InstanceSpec {
    InstanceSpec {
        kind: InstanceKind::Machine,
        ..instance(id)
    }
}

/// Starts it; `false`, and said aloud, where TAPs cannot be made: then that is said with what to do.
fn launched(bed: &mut Bed, spec: &InstanceSpec, ports: &[PortSpec]) -> bool {
    match bed.host.launch(spec, ports) {
        Ok(report) => {
            bed.seen(&report);
            assert_eq!(report.state, InstanceState::Running);
            assert_eq!(report.ports.len(), ports.len());
            true
        }
        Err(error) => {
            let said = error.to_string();
            assert!(
                said.contains("/dev/net/tun, by which machines get their interfaces, cannot be opened: "),
                "{said}; {}",
                bed.log()
            );
            assert!(said.contains("; run `sudo "), "{said}");
            eprintln!("NOT TESTED: {said}");
            false
        }
    }
}

fn command(bed: &Bed, id: &str, words: &[&str]) -> Command {
    let mut command = Command::new(&bed.program);
    command
        .arg("machine")
        .arg(bed.host.exec_socket(id).unwrap())
        .arg("--")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The small host, once it is there.
fn host(bed: &Bed, id: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let child = command(bed, id, &["/usr/bin/python3", "-c", HOST]);
    ready(child)
}

fn ready(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    if line != "ready\n" {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        panic!("{line}{said}");
    }
    (child, output)
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn answers(bed: &Bed, from: &str, address: &str) -> bool {
    bed.exec(from, &format!("ping -c 1 -W 10 {address}"))
        .status
        .success()
}

#[test]
fn a_machine_answers_and_one_is_there_at_a_time() {
    as_root_and_as_user_with_taps("a_machine_answers_and_one_is_there_at_a_time", |bed: &mut Bed| {
        let (own, neighbour) = (port("eni-1", 0, 5), port("eni-2", 0, 6));
        if !launched(bed, &machine("i-vm"), std::slice::from_ref(&own)) {
            return;
        }
        bed.launch(&instance("i-box"), std::slice::from_ref(&neighbour));
        bed.bridge(&[&own, &neighbour]);
        let (child, _output) = host(bed, "i-vm");
        for address in ["10.0.0.5", "2001:db8::5"] {
            assert!(answers(bed, "i-box", address), "{address}");
        }
        let echo = "import socket; s = socket.socket(); s.close()\n\
            for family, address in ((socket.AF_INET, '10.0.0.5'), (socket.AF_INET6, '2001:db8::5')):\n \
            s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(60)\n \
            for size in (0, 1, 1472, 8000):\n  s.sendto(b'x' * size, (address, 7)); assert s.recv(9000) == b'x' * size, size\n";
        let output = bed.exec_with("i-box", "python3 -", echo.as_bytes());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );

        let report = bed.until("i-vm", "what is at it", |report| report.machine.is_some());
        let there = report.machine.unwrap();
        assert_eq!(
            (there.pid, there.command.as_str()),
            (child.id(), "/usr/bin/python3")
        );
        let (code, said) = ended(command(bed, "i-vm", &["true"]).spawn().unwrap());
        assert_eq!(code, Some(255));
        assert!(
            said.contains(&format!("has its machine already: process {}", child.id())),
            "{said}"
        );

        // What is no machine has none, and nothing runs inside of one.
        let (code, said) = ended(command(bed, "i-box", &["true"]).spawn().unwrap());
        assert!(
            code == Some(255) && said.contains("instance i-box is not a machine of your own"),
            "{said}"
        );
        let output = bed.exec("i-vm", "true");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("instance i-vm is a machine of your own"), "{said}");

        // Its holder is killed, and the next one has it.
        kill_process(
            Pid::from_raw(bed.host.holder_pid().unwrap() as i32).unwrap(),
            Signal::KILL,
        )
        .unwrap();
        bed.until_gone();
        bed.reopen();
        assert_eq!(
            bed.host.instance("i-vm").unwrap().machine.map(|there| there.pid),
            Some(child.id())
        );
        assert!(answers(bed, "i-box", "10.0.0.5"));

        bed.host.stop("i-vm", GRACE).unwrap();
        let (code, said) = ended(child);
        assert_eq!(
            (code, said.as_str()),
            (Some(128 + 15), "the instance stops, and so its machine\n")
        );
        let (code, said) = ended(command(bed, "i-vm", &["true"]).spawn().unwrap());
        assert!(
            code == Some(255) && said.contains("instance i-vm is not running"),
            "{said}"
        );
        assert!(!bed.in_fabric(&["ip", "link"], b"").contains(&own.host_name()));
    });
}

#[test]
fn its_command_is_the_callers_own() {
    as_root_and_as_user_with_taps("its_command_is_the_callers_own", |bed: &mut Bed| {
        let ports = [port("eni-b", 1, 6), port("eni-a", 0, 5)];
        let spec = InstanceSpec {
            user_data: Some(b"#!/bin/sh\necho never\n".to_vec()),
            ..machine("i-vm")
        };
        if !launched(bed, &spec, &ports) {
            return;
        }
        let report = bed.host.instance("i-vm").unwrap();
        assert_eq!(report.user_data_status, UserDataStatus::None);
        let line = "cat; echo $ATOLL_TAPS $ATOLL_TAP_MAC $ATOLL_TAP1_FD $ATOLL_TAP1_ADDRESS $ATOLL_TAP_ROUTER6; \
            echo $ATOLL_USER_DATA | base64 -d; readlink /proc/self/fd/3 /proc/self/fd/4; \
            readlink /proc/self/ns/net; cat /proc/self/cgroup | md5sum; exit 7";
        let mut child = command(bed, "i-vm", &["sh", "-c", line]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"what went in\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7));
        let here = Command::new("sh")
            .args(["-c", "readlink /proc/self/ns/net; cat /proc/self/cgroup | md5sum"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "what went in\n0 1 02:00:00:00:00:05 4 10.0.0.6/24 fe80::1\n#!/bin/sh\necho never\n/dev/net/tun\n/dev/net/tun\n"
                .to_owned()
                + &String::from_utf8_lossy(&here.stdout)
        );
        let (code, said) = ended(command(bed, "i-vm", &["/no/such/program"]).spawn().unwrap());
        assert!(
            code == Some(127) && said.contains("cannot run \"/no/such/program\": No such file"),
            "{said}"
        );
        // Signals to it are the command's.
        let (child, _output) = ready(command(
            bed,
            "i-vm",
            &[
                "sh",
                "-c",
                "trap 'exit 3' USR1; echo ready; while :; do read x; done",
            ],
        ));
        kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
        assert_eq!(ended(child).0, Some(3));
        bed.until("i-vm", "nothing at it", |report| report.machine.is_none());
    });
}

#[test]
fn a_reboot_begins_the_command_again() {
    as_root_and_as_user_with_taps("a_reboot_begins_the_command_again", |bed: &mut Bed| {
        if !launched(bed, &machine("i-vm"), &[port("eni-1", 0, 5)]) {
            return;
        }
        let before = bed.host.instance("i-vm").unwrap().ports;
        // It leaves a process behind when it is asked to end.
        let line = "trap 'echo asked; exit 0' TERM; sleep 1000 & echo $!; while :; do sleep 0.1; done";
        let mut child = command(bed, "i-vm", &["sh", "-c", line]).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        let left = line();
        let report = bed.host.reboot("i-vm", GRACE).unwrap();
        assert_eq!((report.state, report.boots), (InstanceState::Running, 2));
        assert_ne!(report.ports, before);
        assert_eq!(report.machine.unwrap().pid, child.id());
        // What was left ended, too.
        assert!(!std::path::Path::new("/proc").join(left).join("exe").exists());
        assert_eq!(line(), "asked");
        let left = line();

        // When it ends by itself, what it leaves is its own matter, but the TAPs are still open there.
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(line(), "asked");
        let mut said = String::new();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        bed.until("i-vm", "nothing at it", |report| report.machine.is_none());
        let (code, refusal) = ended(command(bed, "i-vm", &["true"]).spawn().unwrap());
        assert!(
            code == Some(255) && refusal.contains("the TAP of eni-1 of instance i-vm is still open"),
            "{refusal}"
        );
        bed.host.reboot("i-vm", GRACE).unwrap();
        assert_eq!(ended(command(bed, "i-vm", &["true"]).spawn().unwrap()).0, Some(0));
        kill_process(Pid::from_raw(left.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(
            said.starts_with("the instance reboots: its machine stops and begins again\n"),
            "{said}"
        );
    });
}

#[test]
fn what_does_not_end_with_its_instance_is_killed() {
    as_root_and_as_user_with_taps(
        "what_does_not_end_with_its_instance_is_killed",
        |bed: &mut Bed| {
            if !launched(bed, &machine("i-vm"), &[port("eni-1", 0, 5)]) {
                return;
            }
            let line =
                "trap '' TERM; sh -c 'while :; do sleep 0.1; done' & echo ready; while :; do sleep 0.1; done";
            let (child, mut output) = ready(command(bed, "i-vm", &["sh", "-c", line]));
            bed.host.terminate("i-vm").unwrap();
            let (code, said) = ended(child);
            assert_eq!(
                (code, said.as_str()),
                (
                    Some(128 + 9),
                    "the instance is terminated, and so its machine\nthe machine did not stop in time and is killed\n"
                )
            );
            // Nobody has its standard output any more.
            assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
            assert!(matches!(bed.host.instance("i-vm"), Err(Error::NoSuchInstance(_))));
        },
    );
}

/// What a command can do to its TAP that the device keeps when it is gone.
const SPOILER: &str = r"
import ctypes, fcntl, struct, sys
TUNSETPERSIST, TUNATTACHFILTER, TUNSETTXFILTER, TUNSETSNDBUF = 0x400454cb, 0x401054d5, 0x400454d1, 0x400454d4
if 'filters' in sys.argv:
    # One address, that is nobody's; a program that takes no byte of anything.
    fcntl.ioctl(3, TUNSETTXFILTER, struct.pack('=HH6s', 0, 1, b''))
    program = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0))
    fcntl.ioctl(3, TUNATTACHFILTER, struct.pack('@HP', 1, ctypes.addressof(program)))
    fcntl.ioctl(3, TUNSETSNDBUF, struct.pack('=i', 1))
else:
    fcntl.ioctl(3, TUNSETPERSIST, 0)
";

#[test]
fn what_a_command_did_to_its_tap_is_not_the_next_ones() {
    let name = "what_a_command_did_to_its_tap_is_not_the_next_ones";
    as_root_and_as_user_with_taps(name, |bed: &mut Bed| {
        let (own, neighbour) = (port("eni-1", 0, 5), port("eni-2", 0, 6));
        if !launched(bed, &machine("i-vm"), std::slice::from_ref(&own)) {
            return;
        }
        bed.launch(&instance("i-box"), std::slice::from_ref(&neighbour));
        bed.bridge(&[&own, &neighbour]);
        for what in ["filters", "persistence"] {
            let before = bed.host.instance("i-vm").unwrap().ports;
            let spoiler = ["/usr/bin/python3", "-c", SPOILER, what];
            let (code, said) = ended(command(bed, "i-vm", &spoiler).spawn().unwrap());
            assert_eq!((code, said.as_str()), (Some(0), ""), "{what}");
            let (child, _output) = host(bed, "i-vm");
            let report = bed.until("i-vm", "what is at it", |report| report.machine.is_some());
            // The planes see a port by its index.
            if what == "persistence" {
                assert_eq!(report.ports.len(), 1);
                assert_ne!(report.ports, before);
                let host_name = own.host_name();
                bed.in_fabric(&["ip", "link", "set", "dev", &host_name, "master", "br0"], b"");
            } else {
                assert_eq!(report.ports, before);
            }
            assert!(answers(bed, "i-box", "10.0.0.5"), "{what}");
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            ended(child);
            bed.until("i-vm", "nothing at it", |report| report.machine.is_none());
        }
        // It stands without a reader, too.
        assert!(bed.in_fabric(&["ip", "link"], b"").contains(&own.host_name()));
        bed.host.stop("i-vm", GRACE).unwrap();
        assert!(!bed.in_fabric(&["ip", "link"], b"").contains(&own.host_name()));
    });
}

#[test]
fn interfaces_come_and_go_while_it_runs_and_a_shim_that_dies_leaves_nothing() {
    let name = "interfaces_come_and_go_while_it_runs_and_a_shim_that_dies_leaves_nothing";
    as_root_and_as_user_with_taps(name, |bed: &mut Bed| {
        let (own, neighbour) = (port("eni-1", 0, 5), port("eni-2", 0, 6));
        if !launched(bed, &machine("i-vm"), std::slice::from_ref(&own)) {
            return;
        }
        bed.launch(&instance("i-box"), std::slice::from_ref(&neighbour));
        let added = port("eni-3", 1, 7);
        let report = bed.host.port_create("i-vm", &added).unwrap();
        assert_eq!(report.ports.len(), 2);
        bed.bridge(&[&added, &neighbour]);
        let (child, _output) = host(bed, "i-vm");
        assert!(answers(bed, "i-box", "10.0.0.7"));
        let more = PortSpec {
            mtu: 1500,
            ..added.clone()
        };
        bed.host.port_update("i-vm", &more).unwrap();
        assert!(answers(bed, "i-box", "10.0.0.7"));
        bed.host.port_delete("i-vm", "eni-3").unwrap();
        assert!(!bed.in_fabric(&["ip", "link"], b"").contains(&added.host_name()));
        assert_eq!(
            bed.host.instance("i-vm").unwrap().machine.unwrap().pid,
            child.id()
        );

        let shim = bed.host.instance("i-vm").unwrap().shim_pid.unwrap();
        kill_process(Pid::from_raw(shim as i32).unwrap(), Signal::KILL).unwrap();
        // It may see first that its interface has gone, and end by itself.
        let (code, said) = ended(child);
        assert!(matches!(code, Some(0 | 143)), "{code:?} {said}");
        let report = bed.until("i-vm", "its end", |report| {
            matches!(report.state, InstanceState::Exited { .. })
        });
        assert_eq!((report.ports.len(), report.machine), (0, None));
        assert!(!bed.in_fabric(&["ip", "link"], b"").contains(&own.host_name()));
        assert!(launched(bed, &machine("i-vm"), &[own]));
    });
}

#[test]
fn where_taps_cannot_be_made_that_is_said() {
    as_root_and_as_ordinary_user("where_taps_cannot_be_made_that_is_said", |bed: &mut Bed| {
        if !launched(bed, &machine("i-vm"), &[port("eni-1", 0, 5)]) {
            let report = bed.host.instance("i-vm").unwrap();
            assert!(matches!(report.state, InstanceState::Exited { .. }));
            assert!(report.ports.is_empty());
        }
    });
}
