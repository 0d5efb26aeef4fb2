//! `atoll flows` and `atoll top` over a daemon with real packets, on each data plane.
#![allow(clippy::unwrap_used)]

mod house;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use house::{DEADLINE, House, Serving, until};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

const TEMPLATE: &str = r#"
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  Gateway: {Type: AWS::EC2::InternetGateway}
  Attachment: {Type: AWS::EC2::VPCGatewayAttachment, Properties: {VpcId: !Ref Vpc, InternetGatewayId: !Ref Gateway}}
  Public:
    Type: AWS::EC2::Subnet
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.0.0/24, MapPublicIpOnLaunch: true}
  Routes: {Type: AWS::EC2::RouteTable, Properties: {VpcId: !Ref Vpc}}
  Default:
    Type: AWS::EC2::Route
    DependsOn: Attachment
    Properties: {RouteTableId: !Ref Routes, DestinationCidrBlock: 0.0.0.0/0, GatewayId: !Ref Gateway}
  PublicRoutes:
    Type: AWS::EC2::SubnetRouteTableAssociation
    Properties: {RouteTableId: !Ref Routes, SubnetId: !Ref Public}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      VpcId: !Ref Vpc
      GroupDescription: web
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 80, ToPort: 80, CidrIp: 198.51.100.0/24}]
  Web:
    Type: AWS::EC2::Instance
    DependsOn: Default
    CreationPolicy: {ResourceSignal: {Timeout: PT5M}}
    Properties:
      ImageId: ami-12345678
      SubnetId: !Ref Public
      SecurityGroupIds: [!Ref Group]
      UserData:
        Fn::Base64: |
          #!/bin/sh
          setsid python3 -m http.server 80 >/dev/null 2>&1 &
          until curl -s -o /dev/null http://127.0.0.1/; do :; done
  Idle:
    Type: AWS::EC2::Instance
    Properties: {ImageId: ami-12345678, SubnetId: !Ref Public, SecurityGroupIds: [!Ref Group]}
"#;

/// A request that does not end while the test runs, a byte at a time.
const CLIENT: &str = "
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80), 100)
end = time.time() + 600
while time.time() < end:
    s.sendall(b'x')
    time.sleep(.02)
";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn refused(house: &House, serving: &Serving, words: &[&str]) -> String {
    let output = house.ask(serving, words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// Asks for the flows of a place until there is one that is as wanted.
fn flow(house: &House, serving: &Serving, place: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until("a flow", || {
        let found = house.json(serving, &["flows", place, "--json"]);
        let mut flows = found["flows"].as_array().unwrap().iter();
        flows
            .find(|flow| wanted(flow))
            .cloned()
            .ok_or_else(|| format!("{found:#}"))
    })
}

fn flows_and_top(house: &House, plane: &str) {
    let Some(serving) = house.serve_where_permitted(&["--ephemeral", "--data-plane", plane]) else {
        return;
    };
    let template = house.path().join("flows.yaml");
    std::fs::write(&template, TEMPLATE).unwrap();
    house.say(&serving, &["up", template.to_str().unwrap()]);
    assert_eq!(house.say(&serving, &["flows", "Idle"]), "no flow is known\n");
    let status = house.status(&serving);
    assert_eq!(status["flows"]["written_down"], true, "{status:#}");
    assert_eq!(status["flows"]["misses_refused"], 0, "{status:#}");
    let said = house.say(&serving, &["status"]);
    assert!(
        said.contains(" tracked, 0 NAT mappings; they outlive this daemon"),
        "{said}"
    );
    let instances = status["regions"][0]["instances"].as_array().unwrap();
    let enis: Vec<(&str, &str)> = instances
        .iter()
        .map(|instance| (&instance["public_addresses"][0], &instance["addresses"][0]))
        .map(|(public, private)| (public.as_str().unwrap(), private.as_str().unwrap()))
        .collect();
    let mut clients = Vec::new();
    for (public, _) in &enis {
        // One of them serves nothing: its connection is refused.
        let mut command = house.atoll(&["exec", "internet", "--", "python3", "-c", CLIENT, public]);
        let command = command.env("AWS_ENDPOINT_URL", &serving.endpoint);
        clients.push(Running(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        ));
    }
    let counts = plane == "ebpf";
    let counted = |way: &Value| match counts {
        true => way["packets"].as_u64().is_some_and(|packets| packets > 0) && way["bytes"].as_u64() > Some(0),
        false => way["packets"].is_null() && way["idle_ms"].is_null(),
    };
    let found = flow(house, &serving, "Web", |flow| {
        // The answer's way may not be known yet.
        let back = &flow["return"];
        flow["state"] == "established" && back.is_object() && counted(&flow["forward"]) && counted(back)
    });
    let (forward, back) = (&found["forward"], &found["return"]);
    let (public, private) = enis
        .iter()
        .find(|(public, _)| forward["destination"] == format!("{public}:80"))
        .unwrap();
    let web = format!("{private}:80");
    assert_eq!(
        (&forward["from"], &forward["to_name"]),
        (&"internet".into(), &"Web".into())
    );
    assert_eq!(forward["translated_destination"], web.as_str());
    assert_eq!(
        (&back["source"], &back["translated_source"]),
        (&web.into(), &forward["destination"])
    );
    assert_eq!(
        (&forward["plane"], &back["plane"]),
        (&plane.into(), &plane.into())
    );
    assert_eq!(forward["mtu"], 1500);
    let kinds: Vec<_> = found["path"]
        .as_array()
        .unwrap()
        .iter()
        .map(|station| &station["kind"])
        .collect();
    assert_eq!(kinds, ["internet", "internet-gateway", "network-interface"]);

    let table = house.say(&serving, &["flows", "internet"]);
    let row = table
        .lines()
        .find(|line| line.contains(&format!("{public}:80")))
        .unwrap();
    assert!(
        row.contains("198.51.100.10 → igw → Web") && row.contains("established"),
        "{row}"
    );
    assert!(
        row.contains(&format!("to {private}:80")) && row.contains(plane),
        "{row}"
    );
    let none = house.ask(&serving, &["flows", "--limit", "0"]);
    assert!(none.status.success());
    assert!(
        String::from_utf8_lossy(&none.stderr).contains("--limit"),
        "{none:?}"
    );
    let error = refused(house, &serving, &["flows", "nobody"]);
    assert!(error.starts_with("atoll: \"nobody\" is no instance"), "{error}");

    // The client may have sent nothing within an interval: then it is looked at again.
    let above_zero = |figure: &Value| figure.as_f64().is_some_and(|figure| figure > 0.0);
    let ours = until("rates", || {
        let top = house.json(&serving, &["top", "--json", "--interval", "0.5"]);
        let mut flows = top["flows"].as_array().unwrap().iter();
        let ours = flows.find(|flow| flow["destination"] == format!("{public}:80"));
        let all = above_zero(&top["packets_per_second"]) && above_zero(&top["hit_ratio"]);
        match ours {
            Some(ours) if all && (!counts || above_zero(&ours["packets_per_second"])) => Ok(ours.clone()),
            _ => Err(format!("{top:#}")),
        }
    });
    assert_eq!(above_zero(&ours["packets_per_second"]), counts, "{ours:#}");
    // Without a terminal, a frame is printed all the same.
    for words in [
        &["top", "--once", "--interval", "0.2"][..],
        &["top", "--interval", "0.2"],
    ] {
        let frame = house.say(&serving, words);
        assert!(frame.starts_with("atoll top   http://127.0.0.1:"), "{frame}");
        assert!(frame.contains(&format!("data plane {plane}")), "{frame}");
        assert!(frame.contains(&format!("Web {public}:80")), "{frame}");
        assert!(!frame.contains('\u{1b}'), "{frame:?}");
    }
    for end in [End::Key(b"q"), End::Key(b"\x03"), End::Signal] {
        a_terminal_is_given_back(house, &serving, end);
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Key(&'static [u8]),
    Signal,
}

/// What is written to a pseudo-terminal, as it comes.
fn listen(master: OwnedFd) -> Receiver<Vec<u8>> {
    let (give, take) = channel();
    std::thread::spawn(move || {
        let mut master = File::from(master);
        let mut buffer = [0; 4096];
        // It ends with an error once nobody has the other end open.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            if give.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    take
}

fn a_terminal_is_given_back(house: &House, serving: &Serving, end: End) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let before = tcgetattr(&terminal).unwrap();
    let said = listen(master.try_clone().unwrap());
    let stdio = || Stdio::from(terminal.try_clone().unwrap());
    let mut command = house.atoll(&["top", "--interval", "0.2"]);
    command
        .env("AWS_ENDPOINT_URL", &serving.endpoint)
        .env("TERM", "xterm");
    let mut child = Running(
        command
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap(),
    );
    // `Command` holds the terminal too.
    drop(command);
    let mut all = Vec::new();
    let contains = |all: &[u8], text: &[u8]| all.windows(text.len()).any(|window| window == text);
    while !contains(&all, b"quit") {
        all.extend(said.recv_timeout(DEADLINE).unwrap());
    }
    assert_ne!(
        tcgetattr(&terminal).unwrap().local_modes,
        before.local_modes,
        "it is taken"
    );
    match end {
        End::Key(key) => File::from(master).write_all(key).unwrap(),
        End::Signal => {
            let pid = rustix::process::Pid::from_child(&child.0);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
    }
    while !contains(&all, b"\x1b[?1049l") {
        all.extend(said.recv_timeout(DEADLINE).unwrap());
    }
    assert!(child.0.wait().unwrap().success(), "{end:?}");
    let after = tcgetattr(&terminal).unwrap();
    assert_eq!(after.local_modes, before.local_modes, "{end:?}");
    assert_eq!(after.input_modes, before.input_modes, "{end:?}");
    assert!(contains(&all, b"\x1b[?25h"), "{end:?}: the cursor is shown again");
}

#[test]
fn flows_and_top_show_what_the_engine_carries() {
    flows_and_top(&House::new(), "userspace");
}

#[test]
fn flows_and_top_show_what_the_kernel_carries() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not shown here: only root may load eBPF programs");
    }
    flows_and_top(&House::new(), "ebpf");
}

#[test]
fn without_a_data_plane_they_say_so() {
    let house = House::new();
    let serving = house.serve(&["--ephemeral", "--data-plane", "none"]);
    for words in [
        &["flows"][..],
        &["flows", "--json"],
        &["top", "--once"],
        &["top", "--json"],
    ] {
        let error = refused(&house, &serving, words);
        assert!(error.contains("no data plane"), "{error}");
    }
}
