//! The `atoll` program as a person uses it, without a data plane: starting, asking, killing, ending.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A place of its own: nothing of the person's who runs the tests is touched.
struct House {
    top: tempfile::TempDir,
}

struct Serving {
    child: Child,
    endpoint: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl House {
    fn new() -> Self {
        Self {
            top: tempfile::tempdir().unwrap(),
        }
    }

    fn run_base(&self) -> PathBuf {
        self.top.path().join("run")
    }

    fn atoll(&self, words: &[&str]) -> Command {
        std::fs::create_dir_all(self.run_base()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.top.path())
            .env("XDG_STATE_HOME", self.top.path())
            .env("XDG_RUNTIME_DIR", self.run_base())
            .stdin(Stdio::null());
        command
    }

    /// Starts a daemon and waits until it says that it serves.
    fn serve(&self, words: &[&str]) -> Serving {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--data-plane", "none"];
        all.extend_from_slice(words);
        let mut child = self
            .atoll(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let Some(endpoint) = said
            .trim()
            .rsplit(' ')
            .next()
            .filter(|word| word.starts_with("http"))
        else {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("it does not serve: {said}{error}");
        };
        Serving {
            endpoint: endpoint.to_owned(),
            child,
        }
    }

    fn ask(&self, serving: &Serving, words: &[&str]) -> Output {
        self.atoll(words)
            .env("AWS_ENDPOINT_URL", &serving.endpoint)
            .output()
            .unwrap()
    }

    fn vpcs(&self, serving: &Serving) -> BTreeSet<String> {
        ids(&text(&self.ask(serving, &["api", "DescribeVpcs"])))
    }
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn ids(document: &str) -> BTreeSet<String> {
    let after = document.split("<vpcId>").skip(1);
    after
        .filter_map(|rest| rest.split('<').next())
        .map(str::to_owned)
        .collect()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn env_says_where_and_how_to_call() {
    let house = House::new();
    let serving = house.serve(&["--ephemeral", "--region", "eu-west-1", "--region", "us-east-1"]);
    let status = text(&house.ask(&serving, &["status", "--json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["endpoint"], serving.endpoint.as_str());
    let regions = status["regions"].as_array().unwrap();
    assert!(
        regions
            .iter()
            .map(|r| r["name"].as_str().unwrap())
            .eq(["eu-west-1", "us-east-1"])
    );
    assert!(
        regions.iter().all(|r| r["vpcs"].as_array().unwrap().len() == 1),
        "each its default VPC"
    );
    let env = text(&house.ask(&serving, &["env"]));
    assert!(
        env.contains(&format!("export AWS_ENDPOINT_URL='{}'", serving.endpoint)),
        "{env}"
    );
    assert!(env.contains("export AWS_REGION='eu-west-1'"), "{env}");
    let who = text(&house.ask(&serving, &["api", "GetCallerIdentity"]));
    assert!(who.contains("<Account>123456789012</Account>"), "{who}");
}

#[test]
fn without_a_daemon_a_command_says_so_in_one_sentence() {
    let house = House::new();
    for (words, status) in [(&["status"][..], 1), (&["exec", "i-0", "--", "true"], 125)] {
        let output = house
            .atoll(words)
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("atoll: no atoll daemon answers"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let wrong = house.atoll(&["serve", "--auth", "maybe"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// Calls CreateVpc until a call fails: killed, or at the region's quota.
fn create_until_killed(
    house: &House,
    endpoint: &str,
    done: &std::sync::mpsc::Sender<()>,
) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    loop {
        let mut command = house.atoll(&["api", "CreateVpc", "CidrBlock=10.9.0.0/16"]);
        let output = command.env("AWS_ENDPOINT_URL", endpoint).output().unwrap();
        if !output.status.success() {
            return made;
        }
        made.extend(ids(&String::from_utf8_lossy(&output.stdout)));
        let _ = done.send(());
    }
}

#[test]
fn a_daemon_killed_while_it_works_loses_nothing_that_it_acknowledged() {
    let house = House::new();
    let data = house.top.path().join("data");
    let data = data.to_str().unwrap();
    let mut acknowledged = BTreeSet::new();
    for _ in 0..2 {
        let mut serving = house.serve(&["--data-dir", data]);
        assert!(house.vpcs(&serving).is_superset(&acknowledged));
        let made: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
            let (house, endpoint) = (&house, serving.endpoint.clone());
            let (done, finished) = std::sync::mpsc::channel();
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let (done, endpoint) = (done.clone(), endpoint.clone());
                    scope.spawn(move || create_until_killed(house, &endpoint, &done))
                })
                .collect();
            // A first acknowledgement, then the kill: the other call is anywhere in between.
            finished.recv().unwrap();
            serving.child.kill().unwrap();
            serving.child.wait().unwrap();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        acknowledged.extend(made.into_iter().flatten());
    }
    assert!(acknowledged.len() >= 2, "each round acknowledged something");
    let serving = house.serve(&["--data-dir", data]);
    assert!(house.vpcs(&serving).is_superset(&acknowledged));
}

#[test]
fn down_all_leaves_no_file_behind() {
    let house = House::new();
    assert!(names(house.top.path()).is_empty());
    let data = house.top.path().join("data");
    let mut serving = house.serve(&["--data-dir", data.to_str().unwrap()]);
    assert!(names(&data).contains("credentials"));
    let output = house.ask(&serving, &["down", "--all"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(serving.child.wait().unwrap().success());
    assert!(!data.exists());
    assert!(
        names(&house.run_base()).is_empty(),
        "{:?}",
        names(&house.run_base())
    );
}

#[test]
fn a_second_daemon_at_the_same_port_is_refused_with_what_to_do() {
    let house = House::new();
    let serving = house.serve(&["--ephemeral"]);
    let listen = serving.endpoint.strip_prefix("http://").unwrap();
    let words = ["serve", "--ephemeral", "--data-plane", "none", "--listen", listen];
    let output = house.atoll(&words).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--listen"), "{error}");
}
