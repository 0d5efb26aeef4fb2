use crate::support::{Memory, elements};
use crate::{filter, first, ok, refused, vpc};

#[test]
fn subnets_are_told_apart_by_every_filter() {
    let memory = Memory::new();
    let id = vpc(&memory, "&AmazonProvidedIpv6CidrBlock=true");
    let vpcs = ok(&memory, "Action=DescribeVpcs");
    let ipv6 = first(&vpcs, "ipv6CidrBlock").replace("::/56", "::/64");
    let a = ok(
        &memory,
        &format!(
            "Action=CreateSubnet&VpcId={id}&CidrBlock=10.0.1.0/24&AvailabilityZone=us-east-1b&Ipv6CidrBlock={ipv6}"
        ),
    );
    let a = first(&a, "subnetId");
    let b = ok(
        &memory,
        &format!("Action=CreateSubnet&VpcId={id}&CidrBlock=10.0.2.0/28&AvailabilityZoneId=use1-az1"),
    );
    let b = first(&b, "subnetId");
    ok(
        &memory,
        &format!("Action=ModifySubnetAttribute&SubnetId={b}&MapPublicIpOnLaunch.Value=true"),
    );
    for (name, value, expected) in [
        ("availability-zone", "us-east-1b", &a),
        ("availabilityZone", "us-east-1a", &b),
        ("availability-zone-id", "use1-az2", &a),
        ("availabilityZoneId", "use1-az1", &b),
        ("available-ip-address-count", "251", &a),
        ("available-ip-address-count", "11", &b),
        ("cidr", "10.0.1.0/24", &a),
        ("cidr-block", "10.0.2.0/28", &b),
        ("cidrBlock", "10.0.2.*", &b),
        ("ipv6-cidr-block-association.ipv6-cidr-block", &ipv6, &a),
        ("map-public-ip-on-launch", "true", &b),
        ("subnet-arn", &format!("*{a}"), &a),
        ("subnet-id", &b, &b),
    ] {
        let found = ok(&memory, &format!("Action=DescribeSubnets{}", filter(name, value)));
        assert_eq!(elements(&found, "subnetId"), [expected.as_str()], "{name}");
    }
    for (name, value, count) in [
        ("default-for-az", "true", 0),
        ("ipv6-native", "false", 2),
        ("enable-dns64", "false", 2),
        ("outpost-arn", "*", 0),
        ("private-dns-name-options-on-launch.hostname-type", "ip-name", 2),
        ("state", "available", 2),
        ("vpc-id", &id, 2),
    ] {
        let found = ok(&memory, &format!("Action=DescribeSubnets{}", filter(name, value)));
        assert_eq!(elements(&found, "subnetId").len(), count, "{name}");
    }
    for (query, code) in [
        (format!("Action=CreateSubnet&VpcId={id}"), "MissingParameter"),
        (
            format!("Action=CreateSubnet&VpcId={id}&CidrBlock=10.0.9.0/24&AvailabilityZone=us-east-1z"),
            "InvalidParameterValue",
        ),
        (
            format!(
                "Action=CreateSubnet&VpcId={id}&CidrBlock=10.0.9.0/24&AvailabilityZone=us-east-1a&AvailabilityZoneId=use1-az2"
            ),
            "InvalidParameterCombination",
        ),
        (
            format!("Action=CreateSubnet&VpcId={id}&CidrBlock=10.0.1.128/25"),
            "InvalidSubnet.Conflict",
        ),
        (
            format!("Action=CreateSubnet&VpcId={id}&CidrBlock=10.9.0.0/24"),
            "InvalidSubnet.Range",
        ),
        (
            format!("Action=CreateSubnet&VpcId={id}&CidrBlock=10.0.9.0/24&OutpostArn=x"),
            "UnsupportedOperation",
        ),
        (
            format!("Action=ModifySubnetAttribute&SubnetId={b}&AssignIpv6AddressOnCreation.Value=true"),
            "InvalidParameterValue",
        ),
        (
            format!("Action=ModifySubnetAttribute&SubnetId={b}&MapCustomerOwnedIpOnLaunch.Value=true"),
            "UnsupportedOperation",
        ),
        (
            "Action=DescribeSubnets&SubnetId.1=subnet-12345678".to_owned(),
            "InvalidSubnetID.NotFound",
        ),
    ] {
        assert_eq!(refused(&memory, &query), code, "{query}");
    }
    let gone = ok(&memory, &format!("Action=DescribeSubnets&SubnetId.1={a}"));
    let association = first(&gone, "associationId");
    ok(
        &memory,
        &format!("Action=DisassociateSubnetCidrBlock&AssociationId={association}"),
    );
    let again = format!("Action=AssociateSubnetCidrBlock&SubnetId={a}&Ipv6CidrBlock={ipv6}");
    assert_eq!(first(&ok(&memory, &again), "ipv6CidrBlock"), ipv6);
    ok(&memory, &format!("Action=DeleteSubnet&SubnetId={b}"));
}
