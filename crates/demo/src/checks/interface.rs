//! Check 10: a second interface with an Elastic IP moves between instances and keeps what is its own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::traffic::INTERNET;
use crate::world::World;
use crate::{Failure, Observation};

/// A page server on the second interface's address, for an instance whose user data starts none.
const PAGE: &str = r#"
import http.server, socket
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        page = f"{socket.gethostname()} {self.connection.getsockname()[0]} answers {self.client_address[0]}\n"
        self.send_response(200); self.end_headers(); self.wfile.write(page.encode())
    def log_message(self, *what): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Page).serve_forever()
"#;

/// How long an attachment may take to show inside the instance.
const ATTACH_DEADLINE: Duration = Duration::from_secs(120);

/// What must not change when the interface moves.
#[derive(Debug, PartialEq)]
struct Identity {
    mac: String,
    private: String,
    group: String,
    description: String,
    public: String,
}

fn identity(world: &World, eni: &str) -> Result<Identity, Failure> {
    let row = world.api("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", eni)])?;
    Ok(Identity {
        mac: row.need("macAddress")?,
        private: row.need("privateIpAddress")?,
        group: row.need("groupId")?,
        description: row.need("description")?,
        public: row.need("publicIp")?,
    })
}

/// Waits until the interface shows inside the instance with its address.
fn arrived(world: &World, name: &str, private: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + ATTACH_DEADLINE;
    loop {
        let output = world.run(["exec", name, "--", "ip", "-br", "address"])?;
        if String::from_utf8_lossy(&output.stdout).contains(&format!(" {private}/")) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{private} did not show in {name}").into());
        }
    }
}

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let subnet = world.id("PublicSubnetA")?;
    let group = world.id("WebSecurityGroup")?;
    let eni = world
        .api(
            "CreateNetworkInterface",
            &[
                ("SubnetId", &subnet),
                ("SecurityGroupId.1", &group),
                ("Description", "moves about"),
            ],
        )?
        .need("networkInterfaceId")?;
    let allocation = world.api("AllocateAddress", &[("Domain", "vpc")])?;
    let (allocation, public) = (allocation.need("allocationId")?, allocation.need("publicIp")?);
    let association = world
        .api(
            "AssociateAddress",
            &[("AllocationId", &allocation), ("NetworkInterfaceId", &eni)],
        )?
        .need("associationId")?;
    let (web, database) = (world.addresses("web-a")?, world.addresses("db-a")?);

    let mut before = None;
    for (name, instance) in [("web-a", &web.id), ("db-a", &database.id)] {
        let attachment = world
            .api(
                "AttachNetworkInterface",
                &[
                    ("NetworkInterfaceId", &eni),
                    ("InstanceId", instance),
                    ("DeviceIndex", "1"),
                ],
            )?
            .need("attachmentId")?;
        let now = identity(world, &eni)?;
        arrived(world, name, &now.private)?;
        // The second instance runs no web server yet.
        let mut server = None;
        if name == "db-a" {
            let mut command = world.atoll(["exec", name, "--", "python3", "-c", PAGE]);
            server = Some(
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?,
            );
            listening(world, name)?;
        }
        let seen = world.page(INTERNET, &public)?;
        let wanted = format!("{} answers", now.private);
        world.expect_answer(
            10,
            &format!("internet → {public} on {name}'s second interface"),
            &seen,
            &[&wanted],
        );
        if let Some(mut child) = server {
            let _ = rustix::process::Pid::from_raw(child.id() as i32)
                .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
            child.wait()?;
        }
        match before.take() {
            None => before = Some(now),
            Some(first) => world.observe(Observation {
                check: 10,
                tried: "the interface moved from web-a to db-a".into(),
                expected: "same MAC, addresses, group, description".into(),
                seen: if first == now {
                    format!("the same: {}", now.mac)
                } else {
                    format!("{first:?} → {now:?}")
                },
                dropped_by: None,
                holds: first == now,
            }),
        }
        world.api("DetachNetworkInterface", &[("AttachmentId", &attachment)])?;
    }

    let primary = world.describe("web-a")?.need("attachmentId")?;
    let said = world.refused("DetachNetworkInterface", &[("AttachmentId", &primary)])?;
    refusal(
        world,
        "detach web-a's primary interface",
        "OperationNotPermitted",
        &said,
    );
    let other_zone = world.addresses("web-b")?.id;
    let said = world.refused(
        "AttachNetworkInterface",
        &[
            ("NetworkInterfaceId", &eni),
            ("InstanceId", &other_zone),
            ("DeviceIndex", "1"),
        ],
    )?;
    refusal(
        world,
        "attach it to web-b in the other zone",
        "InvalidParameterCombination",
        &said,
    );

    world.api("DisassociateAddress", &[("AssociationId", &association)])?;
    world.api("ReleaseAddress", &[("AllocationId", &allocation)])?;
    world.api("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)])?;
    Ok(())
}

fn refusal(world: &mut World, tried: &str, code: &str, said: &str) {
    world.observe(Observation {
        check: 10,
        tried: tried.into(),
        expected: format!("refused: {code}"),
        seen: said.lines().next().unwrap_or_default().into(),
        dropped_by: None,
        holds: said.contains(code),
    });
}

/// Waits until something listens on port 80 of an instance.
fn listening(world: &World, name: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + ATTACH_DEADLINE;
    loop {
        // 0050 is port 80, 0A the state LISTEN in the kernel's own table.
        let output = world.run([
            "exec",
            name,
            "--",
            "grep",
            "-q",
            "00000000:0050 00000000:0000 0A",
            "/proc/net/tcp",
        ])?;
        if output.status.success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("nothing listens on port 80 of {name}").into());
        }
    }
}
