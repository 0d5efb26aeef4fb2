//! A plane in namespaces of its own: the fabric's, one a guest, one for the internet. Everything is held by file
//! descriptors, so that it goes with the process, however that ends.
#![allow(dead_code, clippy::unwrap_used)]

pub mod elsewhere;
pub mod errors;
pub mod lockstep;
pub mod rows;
pub mod socket;
pub mod tap;
pub mod two_hosts;
pub mod wire;

use std::cell::Cell;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use atoll_model::{Change, Delta, EniId, Row};
use atoll_net::Mac;
use atoll_plane::{Attachment, Capacity, FastCapacity, Plane, PlaneConfig};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Set in the process that an ordinary user's test runs again in, with a user namespace of its own.
const INSIDE: &str = "ATOLL_RIG_INSIDE";

thread_local! {
    /// Whether the kernel takes part in the planes that this thread starts.
    static FAST: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test that needs namespaces, on each plane: as root as it is, without and with the kernel forwarding; else
/// once more in a user namespace, where the kernel takes no programs.
pub fn scenario(test: impl Fn()) {
    // There one is root, too, as far as that namespace goes.
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    if rustix::process::geteuid().is_root() {
        eprintln!("userspace plane:");
        test();
        eprintln!("eBPF plane:");
        FAST.set(true);
        test();
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its user namespace");
}

/// Runs a test on the eBPF plane alone, where the kernel takes its programs.
pub fn kernel_scenario(test: impl Fn()) {
    if rustix::process::geteuid().is_root() {
        FAST.set(true);
        test();
    } else {
        println!("SKIPPED: the kernel takes programs from root alone");
    }
}

/// A network namespace.
pub struct Namespace(File);

impl Namespace {
    pub fn new() -> Namespace {
        let made = std::thread::spawn(|| {
            // SAFETY: only this thread gets another network namespace; memory and descriptors stay shared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET).unwrap() };
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Namespace(made.join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs something inside.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&self.0),
                    Some(LinkNameSpaceType::Network),
                )
                .unwrap();
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a program inside.
    pub fn spawn(&self, command: &mut Command) -> Child {
        self.run(|| command.spawn().unwrap())
    }

    /// `ip` with words split at spaces.
    pub fn ip(&self, line: &str) {
        let output = self.run(|| Command::new("ip").args(line.split(' ')).output().unwrap());
        assert!(
            output.status.success(),
            "ip {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Waits until an interface can send.
    pub fn wait_for_carrier(&self, interface: &str) {
        self.wait_for(&["-o", "link", "show", "dev", interface], " state UP ");
    }

    /// Waits until `ip` says something.
    fn wait_for(&self, words: &[&str], said: &str) {
        let start = std::time::Instant::now();
        loop {
            let output = self.run(|| Command::new("ip").args(words).output().unwrap());
            if String::from_utf8_lossy(&output.stdout).contains(said) {
                return;
            }
            assert!(
                start.elapsed() < socket::DEADLINE,
                "ip {words:?} never says {said}"
            );
        }
    }

    /// Gives `eth0` an IPv6 address and waits until packets to it are taken: the kernel adds the route later.
    fn ipv6(&self, address: Ipv6Addr) {
        self.ip(&format!("addr add {address}/64 dev eth0 nodad"));
        self.wait_for(
            &["-6", "route", "show", "table", "local"],
            &format!("local {address} "),
        );
    }

    pub fn sysctl(&self, name: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    /// A path by which another process finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// An instance, as far as its network goes.
pub struct Guest {
    pub namespace: Namespace,
    pub eni: EniId,
    pub mac: Mac,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// Name and index of the port in the fabric's namespace.
    pub port: (String, u32),
    /// What carries its frames, if its port is a TAP.
    pub relay: Option<tap::Relay>,
}

pub struct Rig {
    pub fabric: Namespace,
    pub plane: Plane,
    ports: u32,
    /// The index that the next port is to have, if that matters.
    next_index: Option<u32>,
    config: PlaneConfig,
    /// Where planes write flows down.
    directory: tempfile::TempDir,
    /// What the next plane is told.
    applied: Mutex<Vec<Delta>>,
    attached: Vec<(u32, Attachment)>,
}

/// The address of the internet's station.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The same in IPv6.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x10);
pub const OUTSIDE_ROUTER: Mac = Mac([0x02, 0xff, 0, 0, 0, 1]);
pub const OUTSIDE_STATION: Mac = Mac([0x02, 0xff, 0, 0, 0, 2]);

impl Rig {
    /// A fabric with the VPC of [`rows::base`].
    pub fn new(capacity: Capacity) -> Rig {
        Rig::with_config(Rig::config(capacity))
    }

    /// How a plane of a test is started.
    pub fn config(capacity: Capacity) -> PlaneConfig {
        PlaneConfig {
            capacity,
            ipv4_frames: 40,
            ipv6_frames: 60,
            small_frames: 512,
            fast: None,
        }
    }

    pub fn with_config(mut config: PlaneConfig) -> Rig {
        config.fast = FAST.get().then_some(config.fast.unwrap_or(FastCapacity::SMALL));
        let fabric = Namespace::new();
        fabric.sysctl("ipv6/conf/all/disable_ipv6", "1");
        fabric.sysctl("ipv6/conf/default/disable_ipv6", "1");
        let directory = tempfile::tempdir().unwrap();
        let flows = directory.path().join("flows");
        let plane = fabric.run(|| Plane::resume(config, &flows)).unwrap();
        let rig = Rig {
            fabric,
            plane,
            ports: 0,
            next_index: None,
            config,
            directory,
            applied: Mutex::default(),
            attached: Vec::new(),
        };
        rig.apply(&rows::base());
        rig
    }

    pub fn apply(&self, delta: &Delta) {
        self.plane.apply(delta).unwrap();
        self.applied.lock().unwrap().push(delta.clone());
    }

    /// What makes the kernel forward without a plane, as the holder has it.
    pub fn links(&self) -> Vec<OwnedFd> {
        let links = self.attached.iter();
        links
            .filter_map(|(port, _)| self.plane.link(*port).unwrap())
            .collect()
    }

    /// Has the next plane not be told of an interface.
    pub fn forget_row(&mut self, eni: EniId) {
        let of_it =
            |change: &Change| matches!(change, Change::Put(Row::NetworkInterface(row)) if row.id == eni);
        self.applied
            .lock()
            .unwrap()
            .retain(|delta| !delta.changes.iter().any(of_it));
    }

    /// Starts another plane in the place of the one that has stopped; it has neither rules nor ports.
    pub fn start_again(&mut self) {
        let flows = self.directory.path().join("flows");
        self.plane = self.fabric.run(|| Plane::resume(self.config, &flows)).unwrap();
    }

    /// Tells it what the other one was told.
    pub fn tell_again(&mut self) {
        for delta in self.applied.lock().unwrap().iter() {
            self.plane.apply(delta).unwrap();
        }
        self.plane.settle().unwrap();
        for (port, attachment) in &self.attached {
            self.plane.port_up(*port, *attachment).unwrap();
        }
    }

    fn port(&mut self, station: &Namespace, mac: Mac, mtu: u32, attachment: Attachment) -> (String, u32) {
        self.ports += 1;
        let name = format!("port{}", self.ports);
        let index = self.next_index.take();
        let index = index.map_or(String::new(), |index| format!("index {index} "));
        self.fabric.ip(&format!(
            "link add {name} {index}mtu {mtu} type veth peer name eth0 mtu {mtu} address {mac} netns {}",
            station.path()
        ));
        self.fabric.ip(&format!("link set {name} up"));
        Self::raise(station);
        // A queue is attached some time after the carrier is there; until then frames are lost.
        self.fabric.wait_for_carrier(&name);
        station.wait_for_carrier("eth0");
        self.join(name, station, attachment)
    }

    /// The same behind a TAP.
    fn tap(&mut self, station: &Namespace, mac: Mac, attachment: Attachment) -> ((String, u32), tap::Relay) {
        self.ports += 1;
        let name = format!("port{}", self.ports);
        let (port, machine) = (tap::Tap::new(&self.fabric, &name), tap::Tap::new(station, "eth0"));
        port.takes(tap::EVERYTHING);
        machine.takes(tap::EVERYTHING);
        self.fabric.ip(&format!("link set {name} mtu 9001"));
        station.ip(&format!("link set eth0 mtu 9001 address {mac}"));
        let relay = tap::Relay::new(port, machine);
        // It has its carrier and its queue from the start.
        self.fabric.ip(&format!("link set {name} up"));
        Self::raise(station);
        (self.join(name, station, attachment), relay)
    }

    /// Brings the interface of a station up, which says nothing of its own.
    fn raise(station: &Namespace) {
        station.sysctl("ipv6/conf/eth0/router_solicitations", "0");
        station.sysctl("ipv6/conf/eth0/accept_dad", "0");
        // Nobody is given up for want of an answer within the usual three seconds: a datagram that waits would be lost.
        for family in ["ipv4", "ipv6"] {
            for kind in ["mcast_solicit", "ucast_solicit"] {
                station.sysctl(&format!("{family}/neigh/eth0/{kind}"), "60");
            }
        }
        station.ip("link set eth0 up");
    }

    /// Tells the plane of a wire whose ends are up.
    fn join(&mut self, name: String, station: &Namespace, attachment: Attachment) -> (String, u32) {
        // IPv6 addresses count from when the kernel has given the link-local one.
        let link_local = ["-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"];
        station.wait_for(&link_local, " fe80");
        let index = self.fabric.run(|| Plane::interface_index(&name)).unwrap();
        self.plane.port_up(index, attachment).unwrap();
        self.attached.push((index, attachment));
        (name, index)
    }

    /// A running instance `10.0.{subnet}.{host}` in subnet 1 or 2, with security groups from [`rows`].
    pub fn guest(&mut self, subnet: u8, host: u8, groups: &[u64]) -> Guest {
        self.guest_with(subnet, host, groups, None)
    }

    /// The same, its port having this index: small frames of those that are alike modulo eight come by one lane.
    pub fn guest_at(&mut self, index: u32, subnet: u8, host: u8, groups: &[u64]) -> Guest {
        self.next_index = Some(index);
        self.guest(subnet, host, groups)
    }

    /// The same as a virtual machine: its port is a TAP.
    pub fn machine(&mut self, subnet: u8, host: u8, groups: &[u64], public: Option<Ipv4Addr>) -> Guest {
        self.instance(subnet, host, groups, public, true)
    }

    /// The same, with a public address.
    pub fn guest_with(&mut self, subnet: u8, host: u8, groups: &[u64], public: Option<Ipv4Addr>) -> Guest {
        self.instance(subnet, host, groups, public, false)
    }

    fn instance(
        &mut self,
        subnet: u8,
        host: u8,
        groups: &[u64],
        public: Option<Ipv4Addr>,
        machine: bool,
    ) -> Guest {
        let row = rows::Interface {
            subnet,
            host,
            groups: groups.to_vec(),
            public,
            ..rows::Interface::default()
        };
        self.apply(&row.delta());
        let namespace = Namespace::new();
        let attachment = Attachment::Eni(row.id());
        let (port, relay) = if machine {
            let (port, relay) = self.tap(&namespace, row.mac(), attachment);
            (port, Some(relay))
        } else {
            (self.port(&namespace, row.mac(), 9001, attachment), None)
        };
        let guest = Guest {
            namespace,
            eni: row.id(),
            mac: row.mac(),
            v4: row.v4(),
            v6: row.v6(),
            port,
            relay,
        };
        guest.namespace.ip(&format!("addr add {}/24 dev eth0", guest.v4));
        guest
            .namespace
            .ip(&format!("route add default via 10.0.{subnet}.1"));
        guest.namespace.ipv6(guest.v6);
        guest.namespace.ip(&format!(
            "-6 route add default via {} dev eth0",
            rows::subnet(subnet).router_link_local()
        ));
        guest
    }

    /// The world outside the internet gateways.
    pub fn internet(&mut self) -> Namespace {
        let namespace = Namespace::new();
        let attachment = Attachment::Internet {
            router: OUTSIDE_ROUTER,
            station: OUTSIDE_STATION,
        };
        self.port(&namespace, OUTSIDE_STATION, 1500, attachment);
        namespace.ip(&format!("addr add {OUTSIDE_V4}/24 dev eth0"));
        namespace.ip("route add default via 198.51.100.1");
        namespace.ipv6(OUTSIDE_V6);
        namespace.ip("-6 route add default via 2001:db8:ff::1 dev eth0");
        namespace
    }
}

/// Two namespaces joined by a bare veth pair, 10.9.0.1 and 10.9.0.2: what there is without Atoll.
pub fn bare_pair() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    a.ip(&format!(
        "link add eth0 mtu 9001 type veth peer name eth0 mtu 9001 netns {}",
        b.path()
    ));
    for (namespace, host) in [(&a, 1), (&b, 2)] {
        namespace.ip("link set eth0 up");
        namespace.ip(&format!("addr add 10.9.0.{host}/24 dev eth0"));
    }
    a.wait_for_carrier("eth0");
    b.wait_for_carrier("eth0");
    (a, b)
}

/// A program's output goes nowhere.
pub fn quiet(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A test that fails says what its plane saw.
impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:#?}\n{:#?}", self.plane.counters(), self.plane.drops());
        }
    }
}
