use atoll_region::egress_only_gateway::*;
use atoll_region::elastic_ip::{AddressRef, AssociateAddress, AssociateTarget};
use atoll_region::internet_gateway::*;

use crate::world::*;

#[test]
fn a_vpc_has_one_internet_gateway_and_a_gateway_one_vpc() {
    let mut world = World::new();
    let (vpc, other) = (world.vpc("10.0.0.0/16"), world.vpc("10.0.0.0/16"));
    let gateway = world.gateway(vpc);
    let again = world
        .run(AttachInternetGateway { gateway, vpc: other })
        .unwrap_err();
    assert_eq!(
        again.message,
        format!("resource {gateway} is already attached to network {vpc}")
    );
    let second = world.run(CreateInternetGateway::default()).unwrap();
    let attach = AttachInternetGateway { gateway: second, vpc };
    // semantics 74
    assert_eq!(
        world.run(attach).unwrap_err().message,
        format!("Network {vpc} already has an internet gateway attached")
    );
    let detach = DetachInternetGateway { gateway, vpc: other };
    assert_eq!(code(world.run(detach)), "Gateway.NotAttached");
    assert_eq!(
        code(world.run(DeleteInternetGateway { gateway })),
        "DependencyViolation"
    );
    world.run(DetachInternetGateway { gateway, vpc }).unwrap();
    world.run(DeleteInternetGateway { gateway }).unwrap();
    assert_eq!(
        code(world.run(DeleteInternetGateway { gateway })),
        "InvalidInternetGatewayID.NotFound"
    );
}

#[test]
fn a_public_address_holds_the_gateway() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let gateway = world.gateway(vpc);
    let (eni, allocation) = (world.eni(subnet, "10.0.0.9"), world.elastic_ip());
    let associate = AssociateAddress {
        address: AddressRef::Allocation(allocation),
        target: AssociateTarget::NetworkInterface(eni),
        private: None,
        allow_reassociation: false,
    };
    world.run(associate).unwrap();
    let error = world.run(DetachInternetGateway { gateway, vpc }).unwrap_err();
    assert_eq!(error.code, "DependencyViolation");
    assert_eq!(
        error.message,
        format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching \
             the gateway."
        )
    );
}

#[test]
fn a_vpc_has_one_egress_only_gateway() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let new = CreateEgressOnlyInternetGateway {
        vpc,
        client_token: Some("a".into()),
        tags: Default::default(),
    };
    let gateway = world.run(new.clone()).unwrap();
    assert_eq!(world.run(new.clone()).unwrap(), gateway);
    let second = CreateEgressOnlyInternetGateway {
        client_token: None,
        ..new
    };
    assert_eq!(code(world.run(second)), "InvalidParameterValue");
    world.run(DeleteEgressOnlyInternetGateway { gateway }).unwrap();
    let gone = world.run(DeleteEgressOnlyInternetGateway { gateway });
    assert_eq!(code(gone), "InvalidGatewayID.NotFound");
}
