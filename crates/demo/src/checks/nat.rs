//! Checks 5 and 6: databases reach the internet as the NAT gateway of their zone; nobody comes back that way.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET, INTERNET_V4};
use crate::world::World;

/// Runs the checks.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let _server = world.server(INTERNET, INTERNET_V4, 7000)?;
    for (database, output) in [("db-a", "NatAddressA"), ("db-b", "NatAddressB")] {
        let nat = world.output(output)?;
        let seen = world.exchange(database, INTERNET_V4, 7000, "")?;
        world.expect_answer(
            5,
            &format!("{database} → internet port 7000"),
            &seen,
            &[&format!("you are {nat}")],
        );
    }
    for output in ["NatAddressA", "NatAddressB"] {
        let nat = world.output(output)?;
        world.expect_drop(&ExpectedDrop {
            check: 6,
            tried: &format!("internet → NAT gateway ({nat}) port 5432"),
            from: INTERNET,
            to: &nat,
            port: 5432,
            stage: "nat-no-mapping",
            on_return: false,
            answering: None,
        })?;
    }
    Ok(())
}
