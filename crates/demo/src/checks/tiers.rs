//! Checks 3 and 4: web servers reach the databases by group reference, also across zones; nothing else is open.

use crate::Failure;
use crate::traffic::ExpectedDrop;
use crate::world::World;

/// Runs the checks.
pub fn run(world: &mut World) -> Result<(), Failure> {
    for (web, database) in [
        ("web-a", "db-a"),
        ("web-a", "db-b"),
        ("web-b", "db-a"),
        ("web-b", "db-b"),
    ] {
        let from = world.addresses(web)?;
        let to = world.addresses(database)?;
        let seen = world.exchange(web, &to.private, 5432, "a row\\n")?;
        let hello = format!("hello {}", from.private);
        world.expect_answer(
            3,
            &format!("{web} → {database} port 5432"),
            &seen,
            &[&hello, "a row"],
        );
    }
    for (database, web) in [("db-a", "web-a"), ("db-b", "web-a")] {
        let to = world.addresses(web)?;
        world.expect_drop(&ExpectedDrop {
            check: 4,
            tried: &format!("{database} → {web} port 8080"),
            from: database,
            to: &to.private,
            port: 8080,
            stage: "security-group-ingress",
            on_return: false,
            answering: None,
        })?;
    }
    Ok(())
}
