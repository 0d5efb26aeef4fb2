//! Check 9: the longest prefix wins; a blackhole drops and says so.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET, INTERNET_V4};
use crate::world::World;

/// Runs the check.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let _server = world.server(INTERNET, INTERNET_V4, 7001)?;
    let (table, nat) = (world.id("PrivateRouteTableA")?, world.id("NatGatewayB")?);
    let other = world.output("NatAddressB")?;
    let block = format!("{INTERNET_V4}/32");

    // semantics 1
    let route = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", "198.51.100.0/24"),
    ];
    world.api("CreateRoute", &[route[0], route[1], ("NatGatewayId", &nat)])?;
    let seen = world.exchange("db-a", INTERNET_V4, 7001, "")?;
    world.expect_answer(
        9,
        "db-a → internet; 198.51.100.0/24 by the other zone's NAT beside 0.0.0.0/0",
        &seen,
        &[&format!("you are {other}")],
    );

    // A longer one to an interface that is attached to nothing: a blackhole, longer than what works.
    let subnet = world.id("PrivateSubnetA")?;
    let eni = world
        .api("CreateNetworkInterface", &[("SubnetId", &subnet)])?
        .need("networkInterfaceId")?;
    let hole = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", block.as_str()),
    ];
    world.api("CreateRoute", &[hole[0], hole[1], ("NetworkInterfaceId", &eni)])?;
    world.expect_drop(&ExpectedDrop {
        check: 9,
        tried: "db-a → internet; the /32 leads to an unattached interface",
        from: "db-a",
        to: INTERNET_V4,
        port: 7001,
        stage: "blackhole-route",
        on_return: false,
        answering: None,
    })?;
    world.api("DeleteRoute", &hole)?;
    world.api("DeleteRoute", &route)?;
    world.api("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)])?;

    let nat = world.output("NatAddressA")?;
    let seen = world.exchange("db-a", INTERNET_V4, 7001, "")?;
    world.expect_answer(
        9,
        "db-a → internet; both routes deleted",
        &seen,
        &[&format!("you are {nat}")],
    );
    Ok(())
}
