//! Check 12: another VPC with the same CIDR reaches nothing.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET_V4};
use crate::world::World;

/// The name of the second stack.
const TWIN: &str = "twin";

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    world.up("same-cidr.yaml", TWIN)?;
    for name in ["web-b", "db-a", "db-b"] {
        let to = world.addresses(name)?;
        let port = if name == "web-b" { 80 } else { 5432 };
        world.expect_drop(&ExpectedDrop {
            check: 12,
            tried: &format!(
                "twin, in another 10.0.0.0/16 → {name} ({}) port {port}",
                to.private
            ),
            from: "twin",
            to: &to.private,
            port,
            stage: "no-such-address",
            on_return: false,
            answering: None,
        })?;
    }
    world.expect_drop(&ExpectedDrop {
        check: 12,
        tried: "twin → internet, without a route there",
        from: "twin",
        to: INTERNET_V4,
        port: 7003,
        stage: "no-route",
        on_return: false,
        answering: None,
    })?;
    world.succeed(["down", TWIN])?;
    Ok(())
}
