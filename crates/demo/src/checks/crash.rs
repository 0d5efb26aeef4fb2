//! Check 13: the daemon is killed during traffic and started again; connections that stood go on.

use crate::traffic::{INTERNET, INTERNET_V4, Session};
use crate::world::World;
use crate::{Failure, Observation};

/// Names every instance's network namespace, its servers' process included: a restarted one would be another.
fn lives(world: &World) -> Result<Vec<String>, Failure> {
    let mut lives = Vec::new();
    for name in ["web-a", "web-b", "db-a", "db-b", "nat-instance", "legacy"] {
        let namespace = world.succeed([
            "exec",
            name,
            "--",
            "readlink",
            "/proc/self/ns/net",
            "/proc/self/ns/pid",
        ])?;
        lives.push(format!("{name} {}", namespace.replace('\n', " ")));
    }
    Ok(lives)
}

/// A connection that stands: in words, its client, and what every answer has in it.
type Open = (&'static str, Session, String);

/// Sends a line over each connection and notes whether it is answered.
fn carry(world: &mut World, open: &mut [Open], when: &str, line: &str) -> Result<(), Failure> {
    for (what, session, wanted) in open {
        let answer = session.say(line)?;
        let holds = answer.contains(wanted.as_str()) && answer.contains(line);
        world.observe(Observation {
            check: 13,
            tried: format!("{when}: a line over the connection {what}"),
            expected: format!("answered: {}", format!("{wanted} {line}").trim()),
            seen: format!("answered: {answer}"),
            dropped_by: None,
            holds,
        });
    }
    Ok(())
}

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let before = lives(world)?;
    let database = world.addresses("db-a")?.private;
    let nat = world.output("NatAddressA")?;
    let _server = world.echo(INTERNET, INTERNET_V4, 7001)?;
    let mut open: Vec<Open> = vec![
        (
            "db-a → internet, through the NAT gateway",
            world.converse("db-a", INTERNET_V4, 7001, 0)?,
            nat,
        ),
        (
            "web-a → db-a port 5432",
            world.converse("web-a", &database, 5432, 1)?,
            String::new(),
        ),
    ];
    carry(world, &mut open, "with a daemon", "one")?;
    let kernel = world.json(&["status"])?["data_plane"] == "ebpf";
    world.kill_daemon()?;
    if kernel {
        for line in ["two", "three", "four"] {
            carry(world, &mut open, "while there is none", line)?;
        }
    }
    world.serve()?;
    carry(world, &mut open, "started again", "five")?;
    let after = lives(world)?;
    world.observe(Observation {
        check: 13,
        tried: "kill -9 of the daemon during traffic; started again".into(),
        expected: "the same six instances run".into(),
        seen: if before == after {
            "the same six instances run".into()
        } else {
            format!("{before:?} → {after:?}")
        },
        dropped_by: None,
        holds: before == after,
    });
    drop(open);
    let public = world.public("web-a")?;
    let seen = world.page(INTERNET, &public)?;
    world.expect_answer(
        13,
        "a new connection internet → web-a port 80",
        &seen,
        &[INTERNET_V4],
    );
    let seen = world.exchange("web-b", &database, 5432, "again\\n")?;
    world.expect_answer(13, "a new connection web-b → db-a port 5432", &seen, &["again"]);
    Ok(())
}
