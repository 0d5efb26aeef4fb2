//! A machine of one's own through the whole house, with real packets: a program that speaks frames, reached from a sandbox
//! under the rules; on both data planes, and as an ordinary user.
#![allow(clippy::unwrap_used)]

mod house;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use house::{House, Serving, nothing_is_left, until};
use serde_json::Value;

/// A small host that answers ARP, neighbour discovery, ping and UDP.
const HOST: &str = include_str!("../../../examples/machine/host.py");

const TEMPLATE: &str = r#"
Parameters:
  Image: {Type: String}
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  Ipv6: {Type: AWS::EC2::VPCCidrBlock, Properties: {VpcId: !Ref Vpc, AmazonProvidedIpv6CidrBlock: true}}
  Subnet:
    Type: AWS::EC2::Subnet
    DependsOn: Ipv6
    Properties:
      VpcId: !Ref Vpc
      CidrBlock: 10.0.0.0/24
      AvailabilityZone: !Select [0, !GetAZs ""]
      Ipv6CidrBlock: !Select [0, !Cidr [!Select [0, !GetAtt Vpc.Ipv6CidrBlocks], 2, 64]]
      AssignIpv6AddressOnCreation: true
  Other:
    Type: AWS::EC2::Subnet
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.1.0/24, AvailabilityZone: !Select [0, !GetAZs ""]}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      VpcId: !Ref Vpc
      GroupDescription: the machine
      SecurityGroupIngress:
        - {IpProtocol: udp, FromPort: 7, ToPort: 7, CidrIp: 10.0.0.0/16}
        - {IpProtocol: udp, FromPort: 7, ToPort: 7, CidrIpv6: "::/0"}
        - {IpProtocol: icmp, FromPort: -1, ToPort: -1, CidrIp: 10.0.0.0/16}
  Second:
    Type: AWS::EC2::NetworkInterface
    Properties: {SubnetId: !Ref Other, GroupSet: [!Ref Group]}
  Machine:
    Type: AWS::EC2::Instance
    Properties:
      ImageId: !Ref Image
      SubnetId: !Ref Subnet
      SecurityGroupIds: [!Ref Group]
      Tags: [{Key: Name, Value: vm}]
  Box:
    Type: AWS::EC2::Instance
    Properties:
      ImageId: ami-12345678
      SubnetId: !Ref Subnet
      Tags: [{Key: Name, Value: box}]
Outputs:
  Group: {Value: !Ref Group}
  Second: {Value: !Ref Second}
"#;

/// Sends a datagram from a new port, and says whether it comes back within ten seconds.
const ONCE: &str = "import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[2]))
s.sendto(b'x' * 1200, (sys.argv[1], 7))
sys.exit(s.recv(2000) != b'x' * 1200)
";

/// Sends datagrams without end from one port, and writes a line for each that comes back.
const ALWAYS: &str = "import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7))
while True:
    try:
        s.send(b'x' * 1200)
        if select.select([s], [], [], 0.02)[0]:
            s.recv(2000)
            print('back', flush=True)
    except ConnectionRefusedError:
        pass
";

struct Lab {
    house: House,
    serving: Serving,
    /// The machine's instance.
    id: String,
    addresses: Vec<String>,
}

impl Lab {
    fn api(&self, words: &[&str]) -> String {
        let mut all = vec!["api"];
        all.extend_from_slice(words);
        self.house.say(&self.serving, &all)
    }

    fn instance(&self) -> Value {
        let status = self.house.status(&self.serving);
        let instances = status["regions"][0]["instances"].as_array().unwrap().clone();
        instances
            .into_iter()
            .find(|instance| instance["name"] == "vm")
            .unwrap()
    }

    fn until_state(&self, wanted: &str) {
        until("its state", || match self.instance()["state"].as_str().unwrap() {
            state if state == wanted => Ok(()),
            other => Err(other.to_owned()),
        });
    }

    /// The small host runs as the machine.
    fn machine(&self) -> (Child, BufReader<ChildStdout>) {
        let mut child = self
            .house
            .atoll(&["machine", "vm", "--", "/usr/bin/python3", "-c", HOST])
            .env("AWS_ENDPOINT_URL", &self.serving.endpoint)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
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

    fn comes_back(&self, address: &str, seconds: &str) -> bool {
        let words = ["exec", "box", "--", "python3", "-c", ONCE, address, seconds];
        self.house.ask(&self.serving, &words).status.success()
    }

    /// Datagrams may be early: the first are lost while ports are taken up.
    fn until_it_comes_back(&self, address: &str) {
        until("a datagram's way back", || match self.comes_back(address, "5") {
            true => Ok(()),
            false => Err(address.to_owned()),
        });
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.house.ask(&self.serving, words);
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn addresses(&mut self) {
        self.addresses = self.instance()["addresses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|address| address.as_str().unwrap().to_owned())
            .collect();
    }
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn between<'a>(document: &'a str, element: &str) -> &'a str {
    let open = format!("<{element}>");
    let after = document.split(open.as_str()).nth(1).unwrap();
    after.split('<').next().unwrap()
}

fn lab(house: House, plane: &str) -> Option<Lab> {
    let data = house.data();
    let words = ["--data-dir", data.to_str().unwrap(), "--data-plane", plane];
    let serving = house.serve_where_permitted(&words)?;
    let images = house.say(
        &serving,
        &[
            "api",
            "DescribeImages",
            "Filter.1.Name=name",
            "Filter.1.Value.1=atoll-machine-x86_64",
        ],
    );
    let template = house.path().join("machine.yaml");
    std::fs::write(&template, TEMPLATE).unwrap();
    let image = format!("Image={}", between(&images, "imageId"));
    let output = house.ask(&serving, &["up", template.to_str().unwrap(), "--param", &image]);
    if !output.status.success() {
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("/dev/net/tun, by which machines get their interfaces, cannot be opened"),
            "{said}"
        );
        eprintln!("NOT TESTED: {said}");
        return None;
    }
    let mut lab = Lab {
        house,
        serving,
        id: String::new(),
        addresses: Vec::new(),
    };
    lab.id = lab.instance()["id"].as_str().unwrap().to_owned();
    lab.addresses();
    Some(lab)
}

/// An output of the stack.
fn output(lab: &Lab, name: &str) -> String {
    let stacks = lab.api(&["DescribeStacks"]);
    let (before, _) = stacks
        .split_once(&format!("<OutputKey>{name}</OutputKey>"))
        .unwrap();
    let member = before.rfind("<member>").unwrap();
    between(&stacks[member..], "OutputValue").to_owned()
}

fn a_machine(house: House, plane: &str) {
    let Some(mut lab) = lab(house, plane) else { return };
    assert_eq!(
        lab.instance()["machine"],
        serde_json::json!({"pid": null, "command": null})
    );
    let table = lab.house.say(&lab.serving, &["status"]);
    assert!(table.contains("running, no machine is at it"), "{table}");
    assert!(
        lab.refused(&["machine", "box", "--", "true"])
            .contains("is not a machine of your own")
    );
    assert!(
        lab.refused(&["machine", "nobody", "--", "true"])
            .contains("nobody")
    );
    assert!(
        lab.refused(&["exec", "vm", "--", "true"])
            .contains("is a machine of your own")
    );

    // Reached by both families, under the rules.
    let (child, _said) = lab.machine();
    for address in lab.addresses.clone() {
        lab.until_it_comes_back(&address);
    }
    let v4 = lab.addresses[0].clone();
    lab.house.say(
        &lab.serving,
        &[
            "exec", "box", "--", "ping", "-c", "3", "-i", "0.2", "-W", "10", &v4,
        ],
    );
    until("what is at it", || {
        match lab.instance()["machine"]["pid"].as_u64() {
            Some(pid) if pid == u64::from(child.id()) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(
        lab.refused(&["machine", "vm", "--", "true"])
            .contains("has its machine already")
    );
    let group = format!("GroupId={}", output(&lab, "Group"));
    let rule = [
        group.as_str(),
        "IpPermissions.1.IpProtocol=udp",
        "IpPermissions.1.FromPort=7",
        "IpPermissions.1.ToPort=7",
        "IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/16",
    ];
    let change = |action| {
        let mut words = vec![action];
        words.extend(rule);
        lab.api(&words);
    };
    change("RevokeSecurityGroupIngress");
    assert!(!lab.comes_back(&v4, "0.5"));
    let drops = lab.house.json(&lab.serving, &["drops", "--json"]);
    let cut = |drop: &Value| drop["stage"] == "security-group-ingress" && drop["protocol"] == "udp";
    assert!(drops.as_array().unwrap().iter().any(cut), "{drops}");
    change("AuthorizeSecurityGroupIngress");
    lab.until_it_comes_back(&v4);

    // The daemon is killed while packets go back and forth; the machine goes on, and the next daemon has it.
    let mut traffic = lab
        .house
        .atoll(&["exec", "box", "--", "python3", "-c", ALWAYS, &v4])
        .env("AWS_ENDPOINT_URL", &lab.serving.endpoint)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut back = BufReader::new(traffic.stdout.take().unwrap()).lines();
    let mut some = |count| {
        for _ in 0..count {
            assert_eq!(back.next().unwrap().unwrap(), "back");
        }
    };
    some(50);
    lab.serving.child.kill().unwrap();
    lab.serving.child.wait().unwrap();
    let data = lab.house.data();
    lab.serving = lab
        .house
        .serve(&["--data-dir", data.to_str().unwrap(), "--data-plane", plane]);
    // More than were on their way when it was killed.
    some(1000);
    traffic.kill().unwrap();
    traffic.wait().unwrap();
    assert_eq!(
        lab.instance()["machine"]["pid"].as_u64(),
        Some(u64::from(child.id()))
    );

    // It stops with its instance, and has one more interface when it comes again.
    let instance = format!("InstanceId.1={}", lab.id);
    lab.api(&["StopInstances", &instance]);
    let (code, said) = ended(child);
    assert!(matches!(code, Some(137 | 143)), "{code:?} {said}");
    assert!(
        said.contains(": the instance stops, and so its machine\n"),
        "{said}"
    );
    lab.until_state("stopped");
    assert!(
        lab.refused(&["machine", "vm", "--", "true"])
            .contains("is not running")
    );
    let second = format!("NetworkInterfaceId={}", output(&lab, "Second"));
    let to = format!("InstanceId={}", lab.id);
    lab.api(&["AttachNetworkInterface", &second, &to, "DeviceIndex=1"]);
    lab.api(&["StartInstances", &instance]);
    lab.until_state("running");
    lab.addresses();
    assert!(
        lab.addresses.iter().any(|address| address.starts_with("10.0.1.")),
        "{:?}",
        lab.addresses
    );
    let (child, _said) = lab.machine();
    for address in lab.addresses.clone() {
        lab.until_it_comes_back(&address);
    }

    let mut namespaces = BTreeSet::new();
    for name in ["internet", "box"] {
        let words = ["exec", name, "--", "readlink", "/proc/self/ns/net"];
        namespaces.insert(lab.house.say(&lab.serving, &words).trim().to_owned());
    }
    let daemon = Path::new("/proc").join(lab.serving.child.id().to_string());
    namespaces.extend(
        std::fs::read_link(daemon.join("ns/net"))
            .ok()
            .map(|path| path.display().to_string()),
    );
    let cgroup = lab.house.status(&lab.serving)["limits"]["cgroup"].clone();
    lab.house.say(&lab.serving, &["down", "--all"]);
    let (code, said) = ended(child);
    assert!(matches!(code, Some(137 | 143)), "{code:?} {said}");
    assert!(lab.serving.child.wait().unwrap().success());
    nothing_is_left(&lab.house, &namespaces, &cgroup);
}

#[test]
fn a_machine_of_ones_own_on_the_userspace_plane() {
    a_machine(House::new(), "userspace");
}

#[test]
fn a_machine_of_ones_own_on_the_ebpf_plane() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: the eBPF data plane is for root");
        return;
    }
    a_machine(House::new(), "ebpf");
}

#[test]
fn a_machine_of_ones_own_as_an_ordinary_user() {
    a_machine(House::rootless_with_taps(), "userspace");
}
