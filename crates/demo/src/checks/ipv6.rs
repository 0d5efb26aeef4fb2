//! Check 14: IPv6 to the web servers from the internet, and out of the databases only through an egress-only gateway.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET, INTERNET_V6};
use crate::world::World;

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    for name in ["web-a", "web-b"] {
        let own = world.ipv6(name)?;
        let seen = world.page(INTERNET, &own)?;
        world.expect_answer(
            14,
            &format!("internet → {name} ({own}) port 80"),
            &seen,
            &[&own, INTERNET_V6],
        );
    }
    let _server = world.server(INTERNET, INTERNET_V6, 7004)?;
    let database = world.ipv6("db-a")?;
    let seen = world.exchange("db-a", INTERNET_V6, 7004, "")?;
    world.expect_answer(
        14,
        "db-a → internet by the egress-only gateway",
        &seen,
        &[&format!("you are {database}")],
    );
    // semantics 75
    world.expect_drop(&ExpectedDrop {
        check: 14,
        tried: &format!("internet → db-a ({database}) port 5432"),
        from: INTERNET,
        to: &database,
        port: 5432,
        stage: "eigw-inbound",
        on_return: false,
        answering: None,
    })?;
    Ok(())
}
