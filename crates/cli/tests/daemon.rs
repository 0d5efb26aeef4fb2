//! The `atoll` program as a person uses it, without a data plane: starting, asking, killing, ending.
#![allow(clippy::unwrap_used)]

mod house;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Sender, channel};

use house::{House, Serving, until};

/// Starts a daemon without a data plane.
fn serve(house: &House, words: &[&str]) -> Serving {
    let mut all = vec!["--data-plane", "none"];
    all.extend_from_slice(words);
    house.serve(&all)
}

fn groups(house: &House, serving: &Serving) -> BTreeSet<String> {
    ids(&house.say(serving, &["api", "DescribeSecurityGroups"]), "groupId")
}

/// The texts of the elements of that name.
fn ids(document: &str, element: &str) -> BTreeSet<String> {
    let open = format!("<{element}>");
    let after = document.split(open.as_str()).skip(1);
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
    let serving = serve(
        &house,
        &["--ephemeral", "--region", "eu-west-1", "--region", "us-east-1"],
    );
    let status = house.say(&serving, &["status", "--json"]);
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
    let env = house.say(&serving, &["env"]);
    assert!(
        env.contains(&format!("export AWS_ENDPOINT_URL='{}'", serving.endpoint)),
        "{env}"
    );
    assert!(env.contains("export AWS_REGION='eu-west-1'"), "{env}");
    let who = house.say(&serving, &["api", "GetCallerIdentity"]);
    assert!(who.contains("<Account>123456789012</Account>"), "{who}");
}

#[test]
fn status_says_which_limits_are_in_force_and_why_others_are_not() {
    let house = House::new();
    let serving = house.serve(&["--ephemeral"]);
    let status = house.say(&serving, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let limits = &status["limits"];
    let all = ["memory", "processes", "cpu"]
        .iter()
        .all(|kind| limits[kind].as_bool().unwrap());
    assert_eq!(limits["reason"].is_null(), all, "{limits}");
    let table = house.say(&serving, &["status"]);
    match limits["reason"].as_str() {
        Some(reason) => {
            eprintln!("NOT TESTED: limits in force: {reason}");
            assert!(table.contains(reason), "{table}");
        }
        None => assert!(table.contains("memory, processes and CPU"), "{table}"),
    }
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

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let house = House::new();
    let serving = serve(&house, &["--ephemeral"]);
    let template = house.path().join("net.yaml");
    std::fs::write(
        &template,
        "Resources: {V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}}\n\
         Outputs: {Id: {Value: !Ref V}}\n",
    )
    .unwrap();
    let template = template.to_str().unwrap();
    let elsewhere = [
        "serve",
        "--ephemeral",
        "--data-plane",
        "none",
        "--listen",
        "192.0.2.1:0",
    ];
    for (words, wanted) in [
        (
            &["up", template, "--region", "eu-west-1"][..],
            "eu-west-1 is not served here: name one of us-east-1",
        ),
        (&["up", "nowhere.yaml"], "cannot read the template nowhere.yaml"),
        (
            &["trace", "internet", "internet", "--proto", "icmp", "--port", "80"],
            "ICMP has no ports",
        ),
        (&elsewhere, "an address that this host has"),
    ] {
        let output = house.ask(&serving, words);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(wanted), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let made = house.json(&serving, &["up", template, "--json"]);
    assert_eq!(made["status"], "CREATE_COMPLETE", "{made:#}");
    assert_eq!(made["outputs"][0]["key"], "Id", "{made:#}");
}

/// Makes security groups, of which there may be thousands, until a call fails because the daemon was killed.
fn create_until_killed(house: &House, endpoint: &str, name: &str, done: &Sender<()>) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    loop {
        let (nth, name) = (made.len(), format!("GroupName={name}-{}", made.len()));
        let mut command = house.atoll(&["api", "CreateSecurityGroup", &name, "GroupDescription=d"]);
        let output = command.env("AWS_ENDPOINT_URL", endpoint).output().unwrap();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(
                !error.contains("LimitExceeded"),
                "it was not killed for long: {error}"
            );
            return made;
        }
        made.extend(ids(&String::from_utf8_lossy(&output.stdout), "groupId"));
        assert_eq!(made.len(), nth + 1, "each has an id of its own");
        let _ = done.send(());
    }
}

#[test]
fn a_daemon_killed_while_it_works_loses_nothing_that_it_acknowledged() {
    let house = House::new();
    let data = house.data();
    let data = data.to_str().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..2 {
        let mut serving = serve(&house, &["--data-dir", data]);
        assert!(groups(&house, &serving).is_superset(&acknowledged));
        let made: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
            let (house, endpoint) = (&house, serving.endpoint.clone());
            let (done, finished) = channel();
            let callers: Vec<_> = (0..2)
                .map(|caller| {
                    let (done, endpoint) = (done.clone(), endpoint.clone());
                    let name = format!("group-{round}-{caller}");
                    scope.spawn(move || create_until_killed(house, &endpoint, &name, &done))
                })
                .collect();
            drop(done);
            // A first acknowledgement, then the kill: the other call is anywhere in between.
            finished.recv().unwrap();
            serving.child.kill().unwrap();
            serving.child.wait().unwrap();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        acknowledged.extend(made.into_iter().flatten());
    }
    assert!(acknowledged.len() >= 2, "each round acknowledged something");
    let serving = serve(&house, &["--data-dir", data]);
    assert!(groups(&house, &serving).is_superset(&acknowledged));
}

#[test]
fn down_all_leaves_no_file_behind() {
    let house = House::new();
    let data = house.data();
    let mut serving = serve(&house, &["--data-dir", data.to_str().unwrap()]);
    assert!(names(&data).contains("credentials"));
    let output = house.ask(&serving, &["down", "--all"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(serving.child.wait().unwrap().success());
    for left in ["home", "run"] {
        assert_eq!(names(&house.path().join(left)), BTreeSet::new());
    }
}

#[test]
fn a_second_daemon_at_the_same_port_is_refused_with_what_to_do() {
    let house = House::new();
    let serving = serve(&house, &["--ephemeral"]);
    let listen = serving.endpoint.strip_prefix("http://").unwrap();
    let words = ["serve", "--ephemeral", "--data-plane", "none", "--listen", listen];
    let output = house.atoll(&words).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--listen"), "{error}");
}

/// The status of the stack of that name, if there is one.
fn stack_status(house: &House, serving: &Serving, name: &str) -> Result<String, String> {
    let status = house.status(serving);
    let mut stacks = status["regions"][0]["stacks"].as_array().unwrap().iter();
    let found = stacks.find(|stack| stack["name"] == name);
    found
        .map(|stack| stack["status"].as_str().unwrap().to_owned())
        .ok_or_else(|| format!("there is no stack {name}"))
}

/// So many that the kill comes long before the last one, mostly.
const LINKS: usize = 150;

#[test]
fn a_stack_whose_daemon_is_killed_is_finished_by_the_next_one() {
    let house = House::new();
    let mut template =
        String::from("Resources:\n  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}\n");
    // A chain: one after the other.
    for n in 0..LINKS {
        let after = match n {
            0 => "Vpc".to_owned(),
            n => format!("S{}", n - 1),
        };
        template += &format!(
            "  S{n}: {{Type: AWS::EC2::Subnet, DependsOn: {after}, Properties: \
             {{VpcId: !Ref Vpc, CidrBlock: 10.0.{n}.0/24}}}}\n"
        );
    }
    let data = house.data();
    let data = data.to_str().unwrap();
    let path = house.path().join("chain.yaml");
    std::fs::write(&path, template).unwrap();
    let mut serving = serve(&house, &["--data-dir", data]);
    until("no stack was seen in progress", || {
        let mut up = house.atoll(&["up", path.to_str().unwrap()]);
        let mut up = up
            .env("AWS_ENDPOINT_URL", &serving.endpoint)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let seen = until("the stack", || stack_status(&house, &serving, "chain"));
        if seen == "CREATE_IN_PROGRESS" {
            serving.child.kill().unwrap();
            serving.child.wait().unwrap();
            up.wait().unwrap();
            return Ok(());
        }
        // This process was slower than the daemon: once more.
        up.wait().unwrap();
        house.say(&serving, &["down", "chain"]);
        Err(seen)
    });
    let serving = serve(&house, &["--data-dir", data]);
    until("the stack", || {
        let status = stack_status(&house, &serving, "chain")?;
        if status == "CREATE_COMPLETE" {
            Ok(())
        } else {
            Err(status)
        }
    });
    let subnets = house.say(
        &serving,
        &[
            "api",
            "DescribeSubnets",
            "Filter.1.Name=tag:aws:cloudformation:stack-name",
            "Filter.1.Value.1=chain",
        ],
    );
    assert_eq!(subnets.matches("<subnetId>").count(), LINKS, "each once");
}
