//! TCP throughput of one stream through the userspace plane against a bare veth pair's, as root and rootless, in
//! one run and alternating: `cargo run -p atoll-plane --example throughput -- [ROUNDS] [SECONDS]` as root.
//! Needs iperf3, iproute2 and util-linux. Prints medians and ratios.
#![allow(clippy::unwrap_used)]

#[path = "../tests/rig/mod.rs"]
mod rig;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use atoll_plane::{Capacity, PlaneConfig};
use rig::{Namespace, Rig, bare_pair, quiet, rows};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "station") {
        return station();
    }
    let rounds: usize = args.first().map_or(5, |a| a.parse().unwrap());
    let seconds = args.get(1).map_or("2", |a| a.as_str()).to_owned();
    // The ordinary user may not look into this one's directories.
    let directory = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let exe = directory.path().join("throughput");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let mut root = Station::start(Command::new(&exe).arg("station"));
    let mut rootless = Station::start(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .args(["unshare", "--user", "--map-root-user", "--net", "--"])
            .arg(&exe)
            .arg("station"),
    );
    let mut results = [("bare", vec![]), ("plane", vec![]), ("rootless plane", vec![])];
    for round in 0..rounds {
        results[0].1.push(root.measure("bare", &seconds));
        results[1].1.push(root.measure("plane", &seconds));
        results[2].1.push(rootless.measure("plane", &seconds));
        let of = |n: usize| results[n].1[round];
        println!(
            "round {round}: bare {:.2}, plane {:.2}, rootless plane {:.2} Gbit/s",
            of(0),
            of(1),
            of(2)
        );
    }
    let medians = results.map(|(name, mut values)| {
        values.sort_by(f64::total_cmp);
        (name, values[values.len() / 2])
    });
    let bare = medians[0].1;
    for (name, median) in medians {
        println!("{name}: median {median:.2} Gbit/s, {:.2} of bare", median / bare);
    }
    println!("{}", root.ask("counters"));
    println!("{}", rootless.ask("counters"));
}

/// A process with a bare pair and a plane, which measures on request.
struct Station {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Station {
    fn start(command: &mut Command) -> Station {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Station { child, output }
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn measure(&mut self, what: &str, seconds: &str) -> f64 {
        let answer = self.ask(&format!("{what} {seconds}"));
        answer.parse().unwrap_or_else(|_| panic!("{what}: {answer}"))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn station() {
    let (bare_a, bare_b) = bare_pair();
    let config = PlaneConfig {
        capacity: Capacity::SMALL,
        ..PlaneConfig::HOST
    };
    let mut rig = Rig::with_config(config);
    let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
    let mut servers = [&bare_b, &b.namespace].map(|n| n.spawn(&mut quiet("iperf3", &["-s"])));
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let answer = match line.split_once(' ') {
            Some(("bare", seconds)) => iperf(&bare_a, "10.9.0.2", seconds),
            Some(("plane", seconds)) => iperf(&a.namespace, &b.v4.to_string(), seconds),
            _ => format!("{:?}", rig.plane.counters().unwrap()),
        };
        println!("{answer}");
    }
    for server in &mut servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// Gbit/s as the receiver saw them.
fn iperf(from: &Namespace, to: &str, seconds: &str) -> String {
    // The server may not listen yet, or still be at the end of the last run.
    for _ in 0..50 {
        let output = from.run(|| {
            Command::new("iperf3")
                .args(["-c", to, "-t", seconds, "-J"])
                .output()
                .unwrap()
        });
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if let Some(rate) = report["end"]["sum_received"]["bits_per_second"].as_f64() {
            return format!("{}", rate / 1e9);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    "no connection".into()
}
