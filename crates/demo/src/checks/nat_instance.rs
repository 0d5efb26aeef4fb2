//! Check 11: an ordinary instance that forwards, with the source/destination check off and on.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET, INTERNET_V4};
use crate::world::World;

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let _server = world.server(INTERNET, INTERNET_V4, 7002)?;
    let nat = world.addresses("nat-instance")?;
    let public = world.public("nat-instance")?;
    let seen = world.exchange("legacy", INTERNET_V4, 7002, "")?;
    world.expect_answer(
        11,
        "legacy → internet through the NAT instance, source/destination check off",
        &seen,
        &[&format!("you are {public}")],
    );
    let set = |world: &World, value: &str| {
        world.api(
            "ModifyInstanceAttribute",
            &[("InstanceId", &nat.id), ("SourceDestCheck.Value", value)],
        )
    };
    set(world, "true")?;
    // semantics 65
    world.expect_drop(&ExpectedDrop {
        check: 11,
        tried: "the same with the check on",
        from: "legacy",
        to: INTERNET_V4,
        port: 7002,
        stage: "source-dest-check",
        on_return: false,
        answering: None,
    })?;
    set(world, "false")?;
    Ok(())
}
