use atoll_api::Backend;
use atoll_model::{NatGatewayId, RegionName};
use atoll_region::nat_gateway::{NatGatewayGone, NatGatewayReady};

use crate::support::{Memory, call, elements};
use crate::{filter, first, ok, refused, subnet, vpc};

#[test]
fn a_nat_gateway_shows_its_life() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let public = subnet(&memory, &id, "10.0.0.0/24");
    let make = format!(
        "Action=CreateNatGateway&SubnetId={public}&ConnectivityType=private&PrivateIpAddress=10.0.0.50"
    );
    let made = ok(&memory, &make);
    let nat = first(&made, "natGatewayId");
    assert_eq!(first(&made, "privateIp"), "10.0.0.50");
    assert_eq!(first(&made, "createTime"), "2026-01-31T09:30:00.000Z");
    let state = || {
        first(
            &ok(
                &memory,
                &format!("Action=DescribeNatGateways&NatGatewayId.1={nat}"),
            ),
            "state",
        )
    };
    assert_eq!(state(), "pending");
    let gateway: NatGatewayId = nat.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime
        .block_on(call(&memory).submit(NatGatewayReady { gateway }))
        .unwrap();
    assert_eq!(state(), "available");
    for (name, value) in [
        ("nat-gateway-id", nat.as_str()),
        ("state", "available"),
        ("subnet-id", &public),
        ("vpc-id", &id),
    ] {
        let found = ok(
            &memory,
            &format!("Action=DescribeNatGateways{}", filter(name, value)),
        );
        assert_eq!(elements(&found, "natGatewayId"), [nat.as_str()], "{name}");
        assert_eq!(first(&found, "status"), "succeeded");
    }
    let deleted = ok(&memory, &format!("Action=DeleteNatGateway&NatGatewayId={nat}"));
    assert_eq!(first(&deleted, "natGatewayId"), nat);
    assert_eq!(state(), "deleting");
    runtime
        .block_on(call(&memory).submit(NatGatewayGone { gateway }))
        .unwrap();
    assert_eq!(state(), "deleted");
    assert!(memory.snapshot(RegionName::DEFAULT).unwrap().index_is_true());
    for (query, code) in [
        ("Action=CreateNatGateway".to_owned(), "MissingParameter"),
        (
            format!("Action=CreateNatGateway&SubnetId={public}"),
            "MissingParameter",
        ),
        (
            format!("{make}&AvailabilityMode=regional"),
            "UnsupportedOperation",
        ),
        (format!("{make}&VpcId={id}"), "UnsupportedOperation"),
        (
            format!("Action=CreateNatGateway&SubnetId={public}&AllocationId=eipalloc-12345678"),
            "InvalidAllocationID.NotFound",
        ),
        (
            "Action=DescribeNatGateways&NatGatewayId.1=nat-12345678".to_owned(),
            "NatGatewayNotFound",
        ),
        (
            "Action=DeleteNatGateway&NatGatewayId=x".to_owned(),
            "NatGatewayMalformed",
        ),
    ] {
        assert_eq!(refused(&memory, &query), code, "{query}");
    }
}

#[test]
fn a_public_nat_gateway_holds_its_address() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let public = subnet(&memory, &id, "10.0.0.0/24");
    let igw = first(&ok(&memory, "Action=CreateInternetGateway"), "internetGatewayId");
    ok(
        &memory,
        &format!("Action=AttachInternetGateway&InternetGatewayId={igw}&VpcId={id}"),
    );
    let allocated = ok(&memory, "Action=AllocateAddress&Domain=vpc");
    let (allocation, address) = (first(&allocated, "allocationId"), first(&allocated, "publicIp"));
    let make = format!("Action=CreateNatGateway&SubnetId={public}&AllocationId={allocation}&ClientToken=n");
    let made = ok(&memory, &make);
    assert_eq!(first(&made, "publicIp"), address);
    assert_eq!(first(&made, "connectivityType"), "public");
    let again = ok(&memory, &make);
    assert_eq!(first(&again, "natGatewayId"), first(&made, "natGatewayId"));
    let second = format!("Action=CreateNatGateway&SubnetId={public}&AllocationId={allocation}");
    assert_eq!(refused(&memory, &second), "Resource.AlreadyAssociated");
    for query in [
        format!("Action=DetachInternetGateway&InternetGatewayId={igw}&VpcId={id}"),
        format!("Action=DeleteSubnet&SubnetId={public}"),
        format!("Action=DeleteVpc&VpcId={id}"),
    ] {
        assert_eq!(refused(&memory, &query), "DependencyViolation", "{query}");
    }
    let listed = ok(
        &memory,
        &format!("Action=DescribeAddresses&AllocationId.1={allocation}"),
    );
    assert_eq!(first(&listed, "associationId"), first(&made, "associationId"));
    assert_eq!(
        first(&listed, "networkInterfaceId"),
        first(&made, "networkInterfaceId")
    );
}
