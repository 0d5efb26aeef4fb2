//! Another host joins a region, as people do it, without a data plane: any user can run this. What packets do between hosts is
//! shown elsewhere.
#![allow(clippy::unwrap_used)]

mod house;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use house::{House, Serving, until};
use serde_json::Value;

/// The region's host.
struct RegionHost {
    house: House,
    serving: Option<Serving>,
    listen: String,
}

impl RegionHost {
    fn new() -> RegionHost {
        let mut host = RegionHost {
            house: House::new(),
            serving: None,
            listen: "127.0.0.1:0".into(),
        };
        host.start();
        host
    }

    fn start(&mut self) {
        let words = ["--data-plane", "none", "--listen", &self.listen];
        let serving = self.house.serve(&words);
        self.listen = serving.endpoint.strip_prefix("http://").unwrap().to_owned();
        self.serving = Some(serving);
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        drop(self.serving.take());
    }

    fn say(&self, words: &[&str]) -> String {
        self.house.say(self.serving.as_ref().unwrap(), words)
    }

    fn status(&self) -> Value {
        self.house.status(self.serving.as_ref().unwrap())
    }

    /// What another host has to run to reach it.
    fn feed(&self) -> Vec<String> {
        let run = self.house.path().join("run");
        vec![
            "env".into(),
            format!("XDG_RUNTIME_DIR={}", run.display()),
            env!("CARGO_BIN_EXE_atoll").into(),
            "feed".into(),
            "--endpoint".into(),
            format!("http://{}", self.listen),
        ]
    }

    fn state(&self, instance: &str) -> Option<String> {
        state(&self.status(), instance)
    }
}

fn state(status: &Value, instance: &str) -> Option<String> {
    let instances = status["regions"][0]["instances"].as_array()?;
    let found = instances.iter().find(|row| row["id"] == instance)?;
    Some(found["state"].as_str()?.to_owned())
}

/// Another host.
struct Other {
    house: House,
    child: Option<Child>,
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Other {
    fn new() -> Other {
        Other {
            house: House::new(),
            child: None,
        }
    }

    fn words<'a>(name: &'a str, zone: &'a str, command: &'a [String]) -> Vec<&'a str> {
        let mut words = vec!["join", "--data-plane", "none", "--underlay", "192.0.2.2"];
        words.extend(["--name", name, "--zone", zone, "--"]);
        words.extend(command.iter().map(String::as_str));
        words
    }

    fn join(&mut self, name: &str, command: &[String]) {
        let words = Self::words(name, "us-east-1b", command);
        let mut child = self.house.atoll(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        assert_eq!(said, format!("atoll is the host {name} of us-east-1\n"));
        self.child = Some(child);
    }

    /// What it says if it does not join.
    fn refused(&self, zone: &str, command: &[String]) -> String {
        let output = self
            .house
            .atoll(&Self::words("b", zone, command))
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        last.strip_prefix("atoll: ")
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn status(&self) -> Value {
        let output = self.house.atoll(&["status", "--json"]).output().unwrap();
        serde_json::from_str(&house::text(&output)).unwrap()
    }

    fn until_connected(&self) {
        until("the region's host is connected", || {
            let joined = self.status()["joined"].clone();
            match joined["connected"] == true {
                true => Ok(()),
                false => Err(joined.to_string()),
            }
        })
    }

    fn until_away(&self, why: &str) {
        until("the region's host is away", || {
            let joined = self.status()["joined"].clone();
            let said = joined["why"].as_str().unwrap_or_default();
            match joined["connected"] == false && said.contains(why) {
                true => Ok(()),
                false => Err(joined.to_string()),
            }
        })
    }

    fn until_state(&self, instance: &str, wanted: Option<&str>) {
        until("an instance's state on its host", || {
            match state(&self.status(), instance) {
                found if found.as_deref() == wanted => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
    }
}

fn run_instance(host: &RegionHost, zone: &str) -> String {
    let zone = format!("Placement.AvailabilityZone={zone}");
    let words = [
        "api",
        "RunInstances",
        "ImageId=ami-12345678",
        "MinCount=1",
        "MaxCount=1",
        &zone,
    ];
    let said = host.say(&words);
    let after = said.split("<instanceId>").nth(1).unwrap();
    after.split('<').next().unwrap().to_owned()
}

fn until_state(host: &RegionHost, instance: &str, wanted: Option<&str>) {
    until("an instance's state", || match host.state(instance) {
        found if found.as_deref() == wanted => Ok(()),
        found => Err(format!("{found:?}")),
    })
}

#[test]
fn a_host_runs_its_zones_instances_and_goes_on_without_the_regions_host() {
    let mut a = RegionHost::new();
    let before = run_instance(&a, "us-east-1b");
    let mut b = Other::new();
    b.join("b", &a.feed());
    b.until_connected();
    // What ran in the zone before runs where it was; what comes now runs on the host that has the zone.
    let (there, here) = (run_instance(&a, "us-east-1b"), run_instance(&a, "us-east-1a"));
    for instance in [&before, &there, &here] {
        until_state(&a, instance, Some("running"));
        b.until_state(instance, Some("running"));
    }
    // Nobody but its host says that it stops.
    b.kill();
    let stop = format!("InstanceId.1={there}");
    a.say(&["api", "StopInstances", &stop]);
    until_state(&a, &there, Some("stopping"));
    a.kill();
    // The host starts again by what it keeps, while the region's is away.
    b.join("b", &a.feed());
    b.until_away("no atoll daemon answers");
    assert_eq!(state(&b.status(), &there).as_deref(), Some("running"));
    let asked = b.house.atoll(&["env"]).output().unwrap();
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(
        !asked.status.success() && said.contains("is the host b of us-east-1"),
        "{said}"
    );
    // The region's host comes again, and so does what happened meanwhile.
    a.start();
    b.until_connected();
    until_state(&a, &there, Some("stopped"));
    b.until_state(&there, Some("stopped"));
    a.say(&["api", "TerminateInstances", &stop]);
    until_state(&a, &there, None);
    b.until_state(&there, None);
}

#[test]
fn why_a_host_does_not_join_is_one_sentence() {
    let a = RegionHost::new();
    let b = Other::new();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let refused = |command: &[String]| b.refused("us-east-1b", command);
    let said = refused(&words("/nonexistent/ssh host-a atoll feed"));
    assert!(
        said.starts_with("cannot run `/nonexistent/ssh host-a atoll feed`: No such file"),
        "{said}"
    );
    let said = refused(&words("false"));
    assert_eq!(said, "`false` said nothing and ended with status 1");
    let said = refused(&[
        "sh".into(),
        "-c".into(),
        "echo No route to host >&2; exit 255".into(),
    ]);
    assert!(
        said.ends_with("ended with status 255; its last words: No route to host"),
        "{said}"
    );
    let said = refused(&words("echo Welcome to Debian"));
    assert!(
        said.contains("said \"Welcome to Debian\", which is no answer of atoll's"),
        "{said}"
    );
    let said = refused(&words("yes"));
    assert!(
        said.contains("said \"y\", which is no answer of atoll's"),
        "{said}"
    );
    let said = refused(&words("cat /dev/zero"));
    assert!(said.contains("is not answered: a line was longer than"), "{said}");
    let said = b.refused("eu-west-1a", &a.feed());
    assert!(
        said.contains("the region \"eu-west-1\" is not served there: name zones of us-east-1"),
        "{said}"
    );
    let data = a.house.path().join("home").join("atoll");
    let mut words = vec!["join", "--data-dir", data.to_str().unwrap()];
    let feed = a.feed();
    words.extend(Other::words("b", "us-east-1b", &feed).into_iter().skip(1));
    let output = b.house.atoll(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("in use by another atoll daemon"), "{said}");
    // None of them left anything that would be in the way.
    let mut b = b;
    b.join("b", &a.feed());
    b.kill();
    let output = b
        .house
        .atoll(&["serve", "--data-plane", "none"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("is host b of us-east-1, which is served elsewhere"),
        "{said}"
    );
}

#[test]
fn the_latest_host_of_a_name_has_it_and_the_earlier_one_stays_away() {
    let a = RegionHost::new();
    let (mut first, mut second) = (Other::new(), Other::new());
    first.join("b", &a.feed());
    first.until_connected();
    second.join("b", &a.feed());
    second.until_connected();
    first.until_away("another daemon joined by this host's name");
    // Another name with the same address is refused.
    let third = Other::new();
    let feed = a.feed();
    let words = Other::words("c", "us-east-1b", &feed);
    let output = third.house.atoll(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("The address 192.0.2.2 is the host 'b'"), "{said}");
}

/// Says lines to the region's host as another host's command would hand them on; gives what comes back.
fn told(a: &RegionHost, lines: &[&[u8]]) -> String {
    told_by(&a.feed(), lines)
}

fn told_by(command: &[String], lines: &[&[u8]]) -> String {
    let mut child = std::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        // It may have been shown the door already.
        let _ = input.write_all(line);
    }
    drop(input);
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    let _ = child.wait();
    String::from_utf8(said).unwrap()
}

#[test]
fn what_a_hostile_host_says_is_refused_and_hurts_nobody() {
    let a = RegionHost::new();
    let instance = run_instance(&a, "us-east-1b");
    until_state(&a, &instance, Some("running"));
    for line in [
        &b"{\"ask\":\"env\"}\n"[..],
        b"{\"ask\":\"down_all\"}\n",
        b"{\"ask\":\"status\"}\n",
    ] {
        let said = told(&a, &[line]);
        assert!(said.contains("answers nothing else"), "{said}");
    }
    let said = told(
        &a,
        &[b"{\"ask\":\"follow\",\"protocol\":99,\"colour\":\"green\"}\n"],
    );
    assert!(
        said.contains("with protocol 99: install the same one on both"),
        "{said}"
    );
    let follow = |name: &str, underlay: &str| {
        format!(
            "{{\"ask\":\"follow\",\"protocol\":1,\"name\":\"{name}\",\"underlay\":\"{underlay}\",\"mtu\":1500,\"zones\":[\"us-east-1b\"],\"region\":\"us-east-1\"}}\n"
        )
    };
    for (name, underlay, why) in [
        ("B!", "192.0.2.2", "is no name for a host"),
        ("b", "127.0.0.1", "is no address that other hosts can reach"),
    ] {
        let said = told(&a, &[follow(name, underlay).as_bytes()]);
        assert!(said.contains(why), "{said}");
    }
    // A key of one host's own, and more than one question.
    let feed = |host: &str| format!("{{\"ask\":\"feed\",\"host\":{host}}}\n");
    let mut only_c = a.feed();
    only_c.extend(["--host".into(), "c".into()]);
    for lines in [
        vec![follow("b", "192.0.2.2")],
        vec![feed("null"), follow("b", "192.0.2.2")],
        vec![feed("\"b\""), follow("b", "192.0.2.2")],
    ] {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let said = told_by(&only_c, &lines);
        assert!(
            said.contains("as the host c alone") || said.contains("answers nothing else"),
            "{said}"
        );
        assert!(!said.contains("welcome") && said.lines().count() == 1, "{said}");
    }
    let welcome = follow("b", "192.0.2.2");
    let observed = |number: u64, instance: &str| {
        format!(
            "{{\"observed\":{{\"number\":{number},\"observation\":{{\"instance\":\"{instance}\",\"state\":\"terminated\",\"user_data_run\":null,\"failure\":null}}}}}}\n"
        )
    };
    // An instance of another host is not its own to speak of; one that is not there is nobody's.
    let said = told(
        &a,
        &[
            welcome.as_bytes(),
            observed(7, &instance).as_bytes(),
            observed(8, "i-00000000000000000").as_bytes(),
            b"{\"obeyed\":{\"revision\":18446744073709551615}}\n",
        ],
    );
    assert!(said.contains("\"welcome\""), "{said}");
    assert_eq!(a.state(&instance).as_deref(), Some("running"));
    let long = vec![b'x'; 1024 * 1024];
    let deep = "[".repeat(200_000) + "\n";
    for line in [
        &long[..],
        b"\xff\xfe\n",
        b"{\"alive\":7}\n",
        b"\n",
        deep.as_bytes(),
    ] {
        told(&a, &[welcome.as_bytes(), line]);
    }
    // It still serves.
    let mut b = Other::new();
    b.join("b", &a.feed());
    b.until_connected();
    assert_eq!(a.state(&instance).as_deref(), Some("running"));
}
