//! Checks 1 and 2: the web servers answer the internet in both zones, the databases cannot be reached from there.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET, INTERNET_V4};
use crate::world::World;

/// Runs the checks.
pub fn run(world: &mut World) -> Result<(), Failure> {
    for name in ["web-a", "web-b"] {
        let web = world.addresses(name)?;
        let public = world.public(name)?;
        let seen = world.page(INTERNET, &public)?;
        // The server says by which of its own addresses it was reached: the private one (semantics 66).
        let wanted = format!("{} answers", web.private);
        world.expect_answer(
            1,
            &format!("internet → {name} ({public}) port 80"),
            &seen,
            &[&wanted, INTERNET_V4],
        );
    }
    for name in ["db-a", "db-b"] {
        let database = world.addresses(name)?;
        world.expect_drop(&ExpectedDrop {
            check: 2,
            tried: &format!("internet → {name} ({}) port 5432", database.private),
            from: INTERNET,
            to: &database.private,
            port: 5432,
            // semantics 69: no public address stands for it.
            stage: "igw-unknown-public-destination",
            on_return: false,
            answering: None,
        })?;
    }
    Ok(())
}
