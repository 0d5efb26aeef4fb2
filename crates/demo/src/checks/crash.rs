//! Check 13: the daemon is killed during traffic and started again.

use crate::traffic::{INTERNET, INTERNET_V4};
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

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let before = lives(world)?;
    let database = world.addresses("db-a")?.private;
    let mut open = world.connect("web-a", &database, 5432)?;
    open.say("one\\n")?;
    world.kill_daemon()?;
    world.serve()?;
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
