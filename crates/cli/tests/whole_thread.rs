//! One template through the whole house, with real packets: API, region, store, data plane, sandboxes, trace;
//! killed in the middle and adopted again; and nothing left at the end. As root, and as an ordinary user.
#![allow(clippy::unwrap_used)]

mod house;

use std::collections::BTreeSet;
use std::path::Path;

use house::{House, Serving, nothing_is_left, until};
use serde_json::Value;

const TEMPLATE: &str = r#"
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  Ipv6: {Type: AWS::EC2::VPCCidrBlock, Properties: {VpcId: !Ref Vpc, AmazonProvidedIpv6CidrBlock: true}}
  Gateway: {Type: AWS::EC2::InternetGateway}
  Attachment: {Type: AWS::EC2::VPCGatewayAttachment, Properties: {VpcId: !Ref Vpc, InternetGatewayId: !Ref Gateway}}
  Public:
    Type: AWS::EC2::Subnet
    DependsOn: Ipv6
    Properties:
      VpcId: !Ref Vpc
      CidrBlock: 10.0.0.0/24
      Ipv6CidrBlock: !Select [0, !Cidr [!Select [0, !GetAtt Vpc.Ipv6CidrBlocks], 2, 64]]
      AvailabilityZone: !Select [0, !GetAZs ""]
      MapPublicIpOnLaunch: true
      AssignIpv6AddressOnCreation: true
  Private:
    Type: AWS::EC2::Subnet
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.1.0/24, AvailabilityZone: !Select [1, !GetAZs ""]}
  Routes: {Type: AWS::EC2::RouteTable, Properties: {VpcId: !Ref Vpc}}
  Default:
    Type: AWS::EC2::Route
    DependsOn: Attachment
    Properties: {RouteTableId: !Ref Routes, DestinationCidrBlock: 0.0.0.0/0, GatewayId: !Ref Gateway}
  DefaultIpv6:
    Type: AWS::EC2::Route
    DependsOn: Attachment
    Properties: {RouteTableId: !Ref Routes, DestinationIpv6CidrBlock: "::/0", GatewayId: !Ref Gateway}
  PublicRoutes:
    Type: AWS::EC2::SubnetRouteTableAssociation
    Properties: {RouteTableId: !Ref Routes, SubnetId: !Ref Public}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      VpcId: !Ref Vpc
      GroupDescription: web
      SecurityGroupIngress:
        - {IpProtocol: tcp, FromPort: 80, ToPort: 80, CidrIp: 0.0.0.0/0}
        - {IpProtocol: tcp, FromPort: 80, ToPort: 80, CidrIpv6: "::/0"}
  Web:
    Type: AWS::EC2::Instance
    CreationPolicy: {ResourceSignal: {Timeout: PT5M}}
    Properties:
      ImageId: ami-12345678
      SubnetId: !Ref Public
      SecurityGroupIds: [!Ref Group]
      UserData:
        Fn::Base64: |
          #!/bin/sh
          mkdir /srv/web && cd /srv/web && echo "from the web" > index.html
          setsid python3 -m http.server --bind :: 80 >/dev/null 2>&1 &
          until curl -s -o /dev/null http://127.0.0.1/; do :; done
  Client:
    Type: AWS::EC2::Instance
    Properties:
      ImageId: ami-12345678
      SubnetId: !Ref Private
      SecurityGroupIds: [!Ref Group]
      Tags: [{Key: Name, Value: the client}]
Outputs:
  Address: {Value: !GetAtt Web.PublicIp}
"#;

struct Web {
    public: String,
    private: String,
    v6: String,
}

fn instances(status: &Value) -> &Vec<Value> {
    status["regions"][0]["instances"].as_array().unwrap()
}

fn web(status: &Value) -> Web {
    let web = instances(status)
        .iter()
        .find(|i| !i["public_addresses"].as_array().unwrap().is_empty());
    let web = web.expect("an instance with a public address");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let addresses: Vec<String> = web["addresses"].as_array().unwrap().iter().map(text).collect();
    let family = |v6: bool| addresses.iter().find(|a| a.contains(':') == v6).unwrap().clone();
    Web {
        public: text(&web["public_addresses"][0]),
        private: family(false),
        v6: family(true),
    }
}

fn fetch(house: &House, serving: &Serving, from: &str, url: &str) -> String {
    let words = ["exec", from, "--", "curl", "-sS", "--max-time", "100", url];
    house.say(serving, &words)
}

/// The stage at which a live packet to a closed port was dropped must be the one that a trace says.
fn live_drop_is_the_traced_one(house: &House, serving: &Serving, address: &str) {
    let url = if address.contains(':') {
        format!("http://[{address}]:81/")
    } else {
        format!("http://{address}:81/")
    };
    let words = ["exec", "internet", "--", "curl", "-s", "--max-time", "1", &url];
    let destination = url.trim_start_matches("http://").trim_end_matches('/');
    // Within its second it may not have come to send anything, nor the plane to look at it.
    let live = until("the live drop", || {
        let fetched = house.ask(serving, &words).status.code();
        assert_eq!(fetched, Some(28), "curl's status for a time-out");
        let drops = house.json(serving, &["drops", "--json"]);
        let mut live = drops.as_array().unwrap().iter().rev();
        live.find(|drop| drop["destination"] == destination)
            .cloned()
            .ok_or_else(|| format!("{drops:#}"))
    });

    let output = house.ask(serving, &["trace", "internet", address, "--port", "81", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let traced: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(traced["verdict"], "dropped");
    assert_eq!(traced["stage"], "security-group-ingress");
    assert_eq!((&live["stage"], &live["at"]), (&traced["stage"], &traced["at"]));
}

/// The network namespaces of the instances, the internet and the fabric.
fn namespaces(house: &House, serving: &Serving) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in ["internet", "Web", "the client"] {
        let words = ["exec", name, "--", "readlink", "/proc/self/ns/net"];
        found.insert(house.say(serving, &words).trim().to_owned());
    }
    let daemon = Path::new("/proc").join(house.status(serving)["pid"].to_string());
    // The daemon's worker threads stand in the fabric's; an ordinary user's is not ours to look at.
    if let Ok(fabric) = std::fs::read_link(daemon.join("ns/net")) {
        found.insert(fabric.display().to_string());
    }
    found
}

fn whole_thread(house: &House) {
    let data = house.data();
    let data = data.to_str().unwrap();
    let Some(mut serving) = house.serve_where_permitted(&["--data-dir", data]) else {
        return;
    };
    let template = house.path().join("thread.yaml");
    std::fs::write(&template, TEMPLATE).unwrap();
    house.say(&serving, &["up", template.to_str().unwrap()]);
    let before = house.status(&serving);
    let web = web(&before);

    let v4 = format!("http://{}/", web.public);
    let v6 = format!("http://[{}]/", web.v6);
    assert_eq!(fetch(house, &serving, "internet", &v4), "from the web\n");
    assert_eq!(fetch(house, &serving, "internet", &v6), "from the web\n");
    assert_eq!(
        fetch(house, &serving, "the client", &format!("http://{}/", web.private)),
        "from the web\n"
    );
    let inside = house.say(&serving, &["exec", "Web", "--", "ip", "address"]);
    assert!(
        !inside.contains(&web.public),
        "semantics 66: the instance never sees its public address"
    );
    let traced = house.ask(&serving, &["trace", "internet", "Web", "--port", "80", "--json"]);
    assert_eq!(
        traced.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&traced.stdout)
    );
    live_drop_is_the_traced_one(house, &serving, &web.public);
    live_drop_is_the_traced_one(house, &serving, &web.v6);
    let status_of = house.ask(&serving, &["exec", "Web", "--", "sh", "-c", "exit 7"]);
    assert_eq!(status_of.status.code(), Some(7));

    // The daemon is killed; sandboxes go on, and the next daemon has everything.
    house.say(&serving, &["exec", "Web", "--", "touch", "/run/before"]);
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let mut serving = house.serve(&["--data-dir", data]);
    // Ports are taken up again as the holder reports them: the first packets may be early, TCP repeats them.
    assert_eq!(fetch(house, &serving, "internet", &v4), "from the web\n");
    house.say(&serving, &["exec", "Web", "--", "test", "-e", "/run/before"]);
    assert_eq!(instances(&before), instances(&house.status(&serving)));

    let namespaces = namespaces(house, &serving);
    let cgroup = house.status(&serving)["limits"]["cgroup"].clone();
    house.say(&serving, &["down", "thread"]);
    assert_eq!(instances(&house.status(&serving)), &Vec::<Value>::new());
    house.say(&serving, &["down", "--all"]);
    assert!(serving.child.wait().unwrap().success());
    nothing_is_left(house, &namespaces, &cgroup);
}

#[test]
fn a_template_carries_real_packets_and_leaves_nothing() {
    whole_thread(&House::new());
}

#[test]
fn down_all_leaves_nothing_also_when_every_process_was_killed() {
    let house = House::new();
    let data = house.data();
    let mut serving = house.serve(&["--data-dir", data.to_str().unwrap()]);
    let inside = ["exec", "internet", "--", "readlink", "/proc/self/ns/net"];
    let mut namespaces = BTreeSet::from([house.say(&serving, &inside).trim().to_owned()]);
    let status = house.status(&serving);
    let daemon = Path::new("/proc").join(status["pid"].to_string());
    // Holder and shims stand where the daemon's threads do, and nobody else.
    let fabric = std::fs::read_link(daemon.join("ns/net")).unwrap();
    namespaces.insert(fabric.display().to_string());
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let mut killed = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        if std::fs::read_link(process.path().join("ns/net")).ok().as_ref() != Some(&fabric) {
            continue;
        }
        let pid = process.file_name().to_string_lossy().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // One that has ended meanwhile is as good.
        if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    assert!(killed >= 2, "the holder and the internet's shim");
    let everything = house.ask(&serving, &["down", "--all"]);
    assert!(everything.status.success(), "{everything:?}");
    nothing_is_left(&house, &namespaces, &status["limits"]["cgroup"]);
}

#[test]
fn the_same_as_an_ordinary_user() {
    whole_thread(&House::rootless());
}

#[test]
fn a_data_plane_that_is_not_permitted_is_refused_and_leaves_nothing() {
    let house = House::rootless();
    let error = match house.try_serve(&["--data-plane", "ebpf"]) {
        Ok(_) => panic!("an ordinary user got the eBPF data plane"),
        Err(error) => error,
    };
    assert!(error.contains("from root alone"), "{error}");
    nothing_is_left(&house, &BTreeSet::new(), &Value::Null);
}
