//! A region of several hosts as people make it, with real packets: each host a network namespace with a daemon of its own.
#![allow(clippy::unwrap_used)]

mod house;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use house::{House, Serving, until};
use serde_json::Value;

/// Two zones, both families, NAT gateways, groups that name groups.
const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/two-tier.yaml");

/// A network namespace; it goes with this.
struct Network(Child);

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Network {
    fn new() -> Network {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let network = Network(
            Command::new("unshare")
                .args(["-n", "sleep", "infinity"])
                .spawn()
                .unwrap(),
        );
        until("a network namespace", || {
            match std::fs::read_link(network.path()) {
                Ok(made) if made != own => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        network.ip("link set lo up");
        network
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }

    /// What a program prints there.
    fn say(&self, words: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--");
        house::text(&command.args(words).output().unwrap())
    }

    fn ip(&self, line: &str) {
        let words: Vec<&str> = std::iter::once("ip").chain(line.split(' ')).collect();
        self.say(&words);
    }
}

/// A host with its daemon.
struct Machine {
    house: House,
    serving: Option<Serving>,
    address: String,
    name: &'static str,
    // After the daemon.
    network: Network,
}

impl Machine {
    fn serving(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    fn serve(&mut self) {
        let (data, address) = (self.house.data(), self.address.clone());
        let words = ["--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:4600"];
        let host = ["--underlay", &*address, "--host-name", self.name];
        self.serving = Some(self.house.serve(&[&words[..], &host].concat()));
    }

    /// Joins the region that another one serves.
    fn join(&mut self, zone: &str, region: &House) {
        let (data, address) = (self.house.data(), self.address.clone());
        let run = format!("XDG_RUNTIME_DIR={}", region.path().join("run").display());
        let words = ["--name", self.name, "--underlay", &*address, "--zone", zone];
        let data = ["--data-dir", data.to_str().unwrap(), "--"];
        let feed = ["env", &*run, env!("CARGO_BIN_EXE_atoll"), "feed"];
        self.serving = Some(self.house.join(&[&words[..], &data, &feed].concat()));
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        drop(self.serving.take());
    }

    fn say(&self, words: &[&str]) -> String {
        self.house.say(self.serving(), words)
    }

    fn status(&self) -> Value {
        self.house.status(self.serving())
    }

    /// What a command inside an instance of this host prints.
    fn inside(&self, instance: &str, words: &[&str]) -> String {
        self.say(&[&["exec", instance, "--"], words].concat())
    }

    fn fetch(&self, instance: &str, address: &str) -> String {
        let url = match address.contains(':') {
            true => format!("http://[{address}]/"),
            false => format!("http://{address}/"),
        };
        self.inside(instance, &["curl", "-sS", "--max-time", "100", &url])
    }

    fn python(&self, instance: &str, program: &str, words: &[&str]) -> String {
        self.inside(instance, &[&["python3", "-c", program], words].concat())
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.house.ask(self.serving(), words);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Waits until this one says of the other how it stands with it.
    fn sees(&self, other: &str, connected: bool) {
        until("the connection", || {
            let status = self.status();
            let hosts = status["regions"][0]["hosts"].as_array().unwrap();
            let found = hosts.iter().find(|host| host["name"] == other);
            match found.is_some_and(|host| host["connected"] == connected) {
                true => Ok(()),
                false => Err(format!("{hosts:#?}")),
            }
        });
    }

    /// Ends everything and looks whether anything is left.
    fn down(&mut self) {
        self.say(&["down", "--all"]);
        let mut serving = self.serving.take().unwrap();
        assert!(serving.child.wait().unwrap().success());
        drop(serving);
        let top = self.house.path().to_str().unwrap().to_owned();
        until("nothing is left", || {
            let mut left = Vec::new();
            for directory in ["home", "run"] {
                let entries = std::fs::read_dir(Path::new(&top).join(directory)).unwrap();
                left.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
            }
            for process in std::fs::read_dir("/proc").unwrap().flatten() {
                let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                // The other host's connection may be on its way to it.
                if command.contains(&top) && !command.contains(" feed") {
                    left.push(command);
                }
            }
            let sockets = self.network.say(&["ss", "-Huln"]);
            left.extend(
                sockets
                    .lines()
                    .filter(|line| line.contains(":4789"))
                    .map(str::to_owned),
            );
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
    }
}

/// Hosts on one switch. The first one is to serve the region.
struct Machines {
    hosts: Vec<Machine>,
    _switch: Network,
}

/// `None`, and said aloud, where nothing of this can be shown.
fn machines(names: &[&'static str], v6: bool, mtu: u32) -> Option<Machines> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not shown here: only root may load eBPF programs");
        return None;
    }
    let switch = Network::new();
    switch.ip("link add br0 type bridge");
    switch.ip(&format!("link set br0 mtu {mtu} up"));
    let host = |(nth, name): (usize, &&'static str)| {
        let network = Network::new();
        let nth = nth + 1;
        switch.ip(&format!(
            "link add p{nth} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
            network.path().display()
        ));
        switch.ip(&format!("link set p{nth} master br0 up"));
        network.ip("link set eth0 up");
        let (address, words) = match v6 {
            false => (format!("192.0.2.{nth}"), "/24 dev eth0"),
            true => (format!("2001:db8:eeee::{nth}"), "/64 dev eth0 nodad"),
        };
        network.ip(&format!("address add {address}{words}"));
        Machine {
            house: House::within(network.path()),
            serving: None,
            address,
            name,
            network,
        }
    };
    Some(Machines {
        hosts: names.iter().enumerate().map(host).collect(),
        _switch: switch,
    })
}

/// An instance's private addresses, IPv4 first, and its public one.
struct Instance {
    id: String,
    v4: String,
    v6: String,
    public: Option<String>,
    host: String,
}

fn instance(status: &Value, name: &str) -> Instance {
    let mut instances = status["regions"][0]["instances"].as_array().unwrap().iter();
    let found = instances.find(|instance| instance["name"] == name).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let addresses: Vec<String> = found["addresses"].as_array().unwrap().iter().map(text).collect();
    let family = |v6: bool| addresses.iter().find(|address| address.contains(':') == v6);
    Instance {
        id: text(&found["id"]),
        v4: family(false).unwrap().clone(),
        v6: family(true).cloned().unwrap_or_default(),
        public: found["public_addresses"].get(0).map(text),
        host: text(&found["host"]),
    }
}

/// The first line that the database says.
const GREETING: &str = "
import socket, sys
print(socket.create_connection((sys.argv[1], 5432), float(sys.argv[2])).makefile().readline(), end='')
";

/// Three megabytes to the database and back.
const BULK: &str = r"
import socket, sys, threading
s = socket.create_connection((sys.argv[1], 5432), 100)
f = s.makefile('rb')
f.readline()
line, n = b'x' * 999 + b'\n', 3000
threading.Thread(target=lambda: [s.sendall(line) for _ in range(n)]).start()
assert all(f.readline() == line for _ in range(n))
print('whole')
";

/// Gives datagrams back.
const ECHO: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 7000))
print('ready', flush=True)
while True:
    data, address = s.recvfrom(100)
    s.sendto(data, address)
";

/// Sends a datagram once the one before has come back: one that is lost ends it.
const LOCKSTEP: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(100)
s.connect((sys.argv[1], 7000))
n = 0
while True:
    s.send(b'%d' % n)
    assert s.recv(100) == b'%d' % n
    n += 1
    print(n, flush=True)
    time.sleep(.005)
";

/// Who asks, as a server on the internet sees it.
const WHO: &str = "
import socket
s = socket.create_server(('', 7100))
print('ready', flush=True)
while True:
    c, address = s.accept()
    c.sendall(address[0].encode() + b'\\n')
    c.close()
";

const ASK: &str = "
import socket, sys
print(socket.create_connection((sys.argv[1], 7100), 100).makefile().readline(), end='')
";

/// A program that goes on inside an instance.
struct Inside {
    child: Child,
    /// What it printed last.
    said: Arc<AtomicU64>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Inside {
    /// Runs until it has printed a line.
    fn start(host: &Machine, instance: &str, program: &str, words: &[&str]) -> Inside {
        let all = [&["exec", instance, "--", "python3", "-c", program], words].concat();
        let mut command = host.house.atoll(&all);
        command.env("AWS_ENDPOINT_URL", &host.serving().endpoint);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(lines.next().is_some(), "{instance}: it ended at once");
        let said = Arc::new(AtomicU64::new(0));
        let heard = said.clone();
        std::thread::spawn(move || {
            lines.for_each(|line| heard.store(line.parse().unwrap_or(0), Ordering::Relaxed));
        });
        Inside { child, said }
    }

    /// Waits until it has come further by so much.
    fn goes_on(&mut self, by: u64) {
        let begun = self.said.load(Ordering::Relaxed);
        until("it goes on", || {
            let now = self.said.load(Ordering::Relaxed);
            assert!(self.child.try_wait().unwrap().is_none(), "it ended at {now}");
            std::thread::sleep(std::time::Duration::from_millis(5));
            if now >= begun + by {
                Ok(())
            } else {
                Err(format!("{now} after {begun}"))
            }
        });
    }
}

/// The group of that description.
fn group(host: &Machine, description: &str) -> String {
    let filter = [
        "Filter.1.Name=description",
        &format!("Filter.1.Value.1={description}"),
    ];
    let xml = host.say(&[&["api", "DescribeSecurityGroups"], &filter[..]].concat());
    let (_, rest) = xml.split_once("<groupId>").unwrap();
    rest.split('<').next().unwrap().to_owned()
}

/// Lets a group's members in, or not any more.
fn rule(host: &Machine, action: &str, group: &str, protocol: &str, port: u16, of: &str) {
    let words = [
        format!("GroupId={group}"),
        format!("IpPermissions.1.IpProtocol={protocol}"),
        format!("IpPermissions.1.FromPort={port}"),
        format!("IpPermissions.1.ToPort={port}"),
        format!("IpPermissions.1.Groups.1.GroupId={of}"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    host.say(&[&["api", action], &words[..]].concat());
}

/// The first host serves, the others have a zone's instances each.
fn a_region(machines: &mut Machines, zones: &[&str]) {
    let (a, others) = machines.hosts.split_first_mut().unwrap();
    a.serve();
    for (other, zone) in others.iter_mut().zip(zones) {
        other.join(zone, &a.house);
        a.sees(other.name, true);
    }
}

#[test]
fn two_hosts_are_one_region() {
    let Some(mut machines) = machines(&["a", "b"], false, 1500) else {
        return;
    };
    a_region(&mut machines, &["us-east-1b"]);
    let [a, b] = machines.hosts.as_mut_slice() else {
        panic!()
    };
    a.say(&["up", TEMPLATE]);
    let status = a.status();
    let of = |name: &str| instance(&status, name);
    let (web_a, web_b, db_a, db_b) = (of("web-a"), of("web-b"), of("db-a"), of("db-b"));
    let hosts = [&web_a, &web_b, &db_a, &db_b].map(|instance| instance.host.clone());
    assert_eq!(hosts, ["a", "b", "a", "b"]);

    packets_go_both_ways(a, b, [&web_a, &web_b, &db_a, &db_b]);
    what_people_are_told(a, b, &db_b, &web_a);
    a_revoked_rule_cuts(a, b, &db_b);

    let (web, db) = (
        group(a, "HTTP from anywhere"),
        group(a, "The database port from web servers"),
    );
    rule(a, "AuthorizeSecurityGroupIngress", &db, "udp", 7000, &web);
    let _echo = Inside::start(b, "db-b", ECHO, &[]);
    let mut lockstep = Inside::start(a, "web-a", LOCKSTEP, &[&db_b.v4]);
    lockstep.goes_on(200);
    for (host, own, other) in [(&*a, "web-a", "b"), (b, "db-b", "a")] {
        // By the end that is here, and by the other.
        for name in [own, "db-b"] {
            let flows = host.say(&["flows", name]);
            assert!(flows.contains(&format!("host {other}")), "{flows}");
        }
    }
    // Nothing is lost when the other host's daemon is killed, while there is none, and when the next one takes over.
    b.kill();
    a.sees("b", false);
    lockstep.goes_on(200);
    b.join("us-east-1b", &a.house);
    lockstep.goes_on(200);
    a.sees("b", true);
    // Likewise with the region's host's; and on the other one new connections are made meanwhile.
    a.kill();
    b.sees("a", false);
    lockstep.goes_on(200);
    let greeting = b.python("web-b", GREETING, &[&db_b.v4, "100"]);
    assert_eq!(greeting, format!("hello {}\n", web_b.v4));
    a.serve();
    lockstep.goes_on(200);
    a.sees("b", true);
    assert!(
        a.fetch("web-a", &web_b.v4)
            .contains(&format!("answers {}", web_a.v4))
    );
    assert!(
        b.fetch("db-b", &web_a.v6)
            .contains(&format!("answers {}", db_b.v6))
    );
    drop(lockstep);

    b.down();
    a.sees("b", false);
    let refused = a.refused(&["forget-host", "b"]);
    assert!(
        refused.contains("2 instances that are not terminated"),
        "{refused}"
    );
    a.say(&["forget-host", "b", "--force"]);
    let status = a.status();
    assert_eq!(status["regions"][0]["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(status["regions"][0]["instances"].as_array().unwrap().len(), 4);
    a.down();
}

fn packets_go_both_ways(a: &Machine, b: &Machine, [web_a, web_b, db_a, db_b]: [&Instance; 4]) {
    // Web servers' groups let no IPv6 out.
    let pairs = [
        (a, "web-a", &web_a.v4, &web_b.v4),
        (b, "web-b", &web_b.v4, &web_a.v4),
        (a, "db-a", &db_a.v6, &web_b.v6),
        (b, "db-b", &db_b.v6, &web_a.v6),
    ];
    for (host, from, own, to) in pairs {
        let said = host.fetch(from, to);
        assert!(said.contains(&format!("{to} answers {own}")), "{said}");
    }
    // By a group that names the sender's group, with longer packets than the underlay takes.
    for (host, from, own, to) in [(a, "web-a", web_a, db_b), (b, "web-b", web_b, db_a)] {
        assert_eq!(
            host.python(from, GREETING, &[&to.v4, "100"]),
            format!("hello {}\n", own.v4)
        );
        assert_eq!(host.python(from, BULK, &[&to.v4]), "whole\n");
    }
    let words = ["exec", "db-b", "--", "python3", "-c", GREETING, &db_a.v4, "1"];
    b.refused(&words);
    // To the internet, which is on the region's host, by the NAT gateway of the zone and by an own public address.
    let _who = Inside::start(a, "internet", WHO, &[]);
    let (public, internet) = (web_b.public.as_ref().unwrap(), "198.51.100.10");
    assert_eq!(b.python("web-b", ASK, &[internet]), format!("{public}\n"));
    let gateway = b.python("db-b", ASK, &[internet]);
    assert!(
        gateway.starts_with("203.0.113.") && gateway.trim() != public,
        "{gateway}"
    );
    assert!(a.fetch("internet", public).contains("answers 198.51.100.10"));
    assert!(
        a.fetch("internet", &web_b.v6)
            .contains("answers 2001:db8:ffff::10")
    );
}

fn what_people_are_told(a: &Machine, b: &Machine, db_b: &Instance, web_a: &Instance) {
    let table = a.say(&["status"]);
    for words in [
        "Connection",
        "this host",
        "192.0.2.2",
        "us-east-1b",
        "connected since",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let refused = a.refused(&["exec", "db-b", "--", "true"]);
    assert_eq!(
        refused,
        format!(
            "atoll: instance {} is on the host b: run `atoll exec` there\n",
            db_b.id
        )
    );
    let refused = b.refused(&["exec", "web-a", "--", "true"]);
    assert_eq!(
        refused,
        format!(
            "atoll: instance {} is on the host a: run `atoll exec` there\n",
            web_a.id
        )
    );
    let refused = b.refused(&["exec", "internet", "--", "true"]);
    assert!(refused.contains("the internet is on the host a"), "{refused}");
    let refused = b.refused(&["forget-host", "a"]);
    assert!(refused.contains("served at the host a"), "{refused}");
    for (host, other) in [(a, "b"), (b, "a")] {
        let traced = host.say(&["trace", "web-a", "db-b", "--port", "5432"]);
        assert!(traced.contains("forward: delivered"), "{traced}");
        assert!(
            traced.contains(&format!("is on the host {other}: what is tracked there")),
            "{traced}"
        );
    }
}

fn a_revoked_rule_cuts(a: &Machine, b: &Machine, db_b: &Instance) {
    let (web, db) = (
        group(a, "HTTP from anywhere"),
        group(a, "The database port from web servers"),
    );
    rule(a, "RevokeSecurityGroupIngress", &db, "tcp", 5432, &web);
    let words = ["exec", "web-a", "--", "python3", "-c", GREETING, &db_b.v4, "1"];
    let to = format!("{}:5432", db_b.v4);
    // The call's answer waits for the other host, but not for ever.
    until("the revoked rule", || {
        if a.house.ask(a.serving(), &words).status.success() {
            return Err("it still lets in".into());
        }
        let drops = b.house.json(b.serving(), &["drops", "--json"]);
        let its = |drop: &&Value| drop["destination"] == *to && drop["stage"] == "security-group-empty";
        match drops.as_array().unwrap().iter().find(its) {
            Some(_) => Ok(()),
            None => Err(format!("{drops:#}")),
        }
    });
    rule(a, "AuthorizeSecurityGroupIngress", &db, "tcp", 5432, &web);
    a.python("web-a", GREETING, &[&db_b.v4, "100"]);
}

#[test]
fn hosts_that_do_not_serve_speak_to_each_other_also_while_the_one_that_does_is_away() {
    let Some(mut machines) = machines(&["a", "b", "c"], true, 1600) else {
        return;
    };
    a_region(&mut machines, &["us-east-1b", "us-east-1b"]);
    machines.hosts[0].say(&["up", TEMPLATE]);
    let status = machines.hosts[0].status();
    let of = |name: &str| instance(&status, name);
    let (web_a, web_b, db_b) = (of("web-a"), of("web-b"), of("db-b"));
    // One zone, two hosts: each has one of its instances.
    let hosts = BTreeSet::from([&*web_b.host, &*db_b.host]);
    assert_eq!(hosts, BTreeSet::from(["b", "c"]));
    let [a, others @ ..] = machines.hosts.as_mut_slice() else {
        panic!()
    };
    let of_web = others.iter().find(|host| host.name == web_b.host).unwrap();
    let of_db = others.iter().find(|host| host.name == db_b.host).unwrap();
    let greeted = |by: &Machine, name: &str, own: &Instance| {
        let greeting = by.python(name, GREETING, &[&db_b.v4, "100"]);
        assert_eq!(greeting, format!("hello {}\n", own.v4));
    };
    greeted(of_web, "web-b", &web_b);
    greeted(a, "web-a", &web_a);
    assert_eq!(of_web.python("web-b", BULK, &[&db_b.v4]), "whole\n");
    for (from, own, to) in [
        ("web-a", &web_a.v4, &web_b.v4),
        ("db-a", &of("db-a").v6, &web_b.v6),
    ] {
        assert!(a.fetch(from, to).contains(&format!("{to} answers {own}")));
    }
    let _who = Inside::start(a, "internet", WHO, &[]);
    let gateway = of_db.python("db-b", ASK, &["198.51.100.10"]);
    assert!(gateway.starts_with("203.0.113."), "{gateway}");
    a.kill();
    of_web.sees("a", false);
    for _ in 0..10 {
        greeted(of_web, "web-b", &web_b);
    }
    a.serve();
    greeted(a, "web-a", &web_a);
    others.iter_mut().for_each(Machine::down);
    a.down();
}

#[test]
fn why_there_can_be_no_other_hosts_is_one_sentence() {
    let (house, rootless) = (House::new(), House::rootless());
    let userspace = ["--data-plane", "userspace"];
    for (house, words, wanted) in [
        (&house, &userspace[..], "leave --data-plane userspace out"),
        (&rootless, &[], "--underlay needs root and the eBPF data plane"),
    ] {
        let all = [&["--ephemeral", "--underlay", "192.0.2.1"], words].concat();
        let error = house.try_serve(&all).err().unwrap();
        assert!(error.contains(wanted), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let Some(mut machines) = machines(&["a", "b"], false, 1500) else {
        return;
    };
    let [a, b] = machines.hosts.as_mut_slice() else {
        panic!()
    };
    let data = a.house.data();
    let refused = |a: &Machine, address: &str| {
        let words = ["--data-dir", data.to_str().unwrap(), "--underlay", address];
        a.house.try_serve(&words).err().unwrap()
    };
    let error = refused(a, "192.0.2.99");
    assert!(
        error.contains("the underlay's address 192.0.2.99 is not this host's"),
        "{error}"
    );
    a.network.ip("link add other type vxlan external dstport 4789");
    a.network.ip("link set other up");
    let error = refused(a, &a.address);
    assert!(error.contains("UDP port 4789"), "{error}");
    a.network.ip("link del other");
    // A host of the other family would be reached by nobody.
    a.serve();
    b.network.ip("address add 2001:db8:eeee::2/64 dev eth0 nodad");
    let run = format!("XDG_RUNTIME_DIR={}", a.house.path().join("run").display());
    let feed = ["--", "env", &*run, env!("CARGO_BIN_EXE_atoll"), "feed"];
    let words = ["join", "--name", "b", "--zone", "us-east-1b", "--underlay"];
    let all = [&words[..], &["2001:db8:eeee::2"], &feed].concat();
    let output = b.house.atoll(&all).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("name one of the same family"), "{error}");
    // A host of another region of this name, whose command leads here: it would end all that it runs.
    let mut feed = a.house.atoll(&["feed"]);
    let mut feed = feed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let asked = serde_json::json!({
        "ask": "follow", "protocol": 1, "name": "b", "underlay": "192.0.2.2", "mtu": 1500,
        "zones": ["us-east-1b"], "region": "us-east-1", "serving": "h-00000000000000001",
    });
    writeln!(feed.stdin.take().unwrap(), "{asked}").unwrap();
    let mut answer = String::new();
    feed.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    feed.wait().unwrap();
    assert!(answer.contains("another us-east-1"), "{answer}");
    assert_eq!(
        a.status()["regions"][0]["hosts"].as_array().map(Vec::len),
        Some(1)
    );
    a.down();
}
