use atoll_model::RegionName;

use crate::support::{Memory, elements};
use crate::{filter, first, ok, refused, vpc};

#[test]
fn a_vpc_is_made_described_filtered_and_deleted() {
    let memory = Memory::new();
    let tag = "&TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a";
    let made = ok(
        &memory,
        &format!("Action=CreateVpc&CidrBlock=10.0.3.4/16&AmazonProvidedIpv6CidrBlock=true{tag}"),
    );
    // semantics 32: host bits are dropped.
    assert_eq!(first(&made, "cidrBlock"), "10.0.0.0/16");
    let mut states = elements(&made, "state");
    states.sort();
    assert_eq!(states, ["associated", "associated", "available"]);
    assert_eq!(first(&made, "value"), "a");
    let id = first(&made, "vpcId");
    let other = vpc(&memory, "");
    let block = first(&made, "ipv6CidrBlock");
    for (name, value) in [
        ("vpc-id", id.as_str()),
        ("tag:Name", "a"),
        ("tag-key", "Na*"),
        ("ipv6-cidr-block-association.ipv6-cidr-block", &block),
        ("ipv6-cidr-block-association.state", "associated"),
        ("ipv6-cidr-block-association.ipv6-pool", "Amazon"),
    ] {
        let found = ok(&memory, &format!("Action=DescribeVpcs{}", filter(name, value)));
        assert_eq!(elements(&found, "vpcId"), [id.as_str()], "{name}");
    }
    for (name, value) in [
        ("cidr", "10.0.0.0/16"),
        ("cidr-block-association.cidr-block", "10.0.*"),
        ("cidr-block-association.state", "associated"),
        ("dhcp-options-id", "default"),
        ("is-default", "false"),
        ("isDefault", "false"),
        ("owner-id", "123456789012"),
        ("state", "available"),
    ] {
        let found = ok(&memory, &format!("Action=DescribeVpcs{}", filter(name, value)));
        assert_eq!(elements(&found, "vpcId").len(), 2, "{name}");
    }
    assert_eq!(
        refused(&memory, &format!("Action=DescribeVpcs{}", filter("no-such", "x"))),
        "InvalidParameterValue"
    );
    ok(&memory, &format!("Action=DeleteVpc&VpcId={other}"));
    assert_eq!(
        refused(&memory, &format!("Action=DescribeVpcs&VpcId.1={other}")),
        "InvalidVpcID.NotFound"
    );
    for (query, code) in [
        ("Action=DeleteVpc&VpcId=vpc-xyz", "InvalidVpcID.Malformed"),
        ("Action=CreateVpc", "MissingParameter"),
        ("Action=CreateVpc&CidrBlock=10.0.0.0/8", "InvalidVpc.Range"),
        ("Action=CreateVpc&CidrBlock=ten", "InvalidParameterValue"),
        (
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&Ipv4IpamPoolId=ipam-pool-1",
            "UnsupportedOperation",
        ),
        (
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&InstanceTenancy=host",
            "InvalidParameterValue",
        ),
        (
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&Colour=red",
            "UnknownParameter",
        ),
        (
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&DryRun=true",
            "DryRunOperation",
        ),
        (
            "Action=CreateVpc&CidrBlock=10.0.0.0/8&DryRun=true",
            "InvalidVpc.Range",
        ),
    ] {
        assert_eq!(refused(&memory, query), code, "{query}");
    }
    let left = ok(&memory, "Action=DescribeVpcs");
    assert_eq!(elements(&left, "vpcId"), [id]);
}

#[test]
fn vpcs_come_in_pages() {
    let memory = Memory::new();
    let mut made: Vec<String> = (0..7).map(|_| vpc(&memory, "")).collect();
    made.sort();
    let page = ok(&memory, "Action=DescribeVpcs&MaxResults=5");
    let token: String = form_urlencoded::byte_serialize(first(&page, "nextToken").as_bytes()).collect();
    let rest = ok(
        &memory,
        &format!("Action=DescribeVpcs&MaxResults=5&NextToken={token}"),
    );
    let seen: Vec<_> = [elements(&page, "vpcId"), elements(&rest, "vpcId")].concat();
    assert_eq!(seen, made);
    assert!(elements(&rest, "nextToken").is_empty());
    assert_eq!(
        refused(&memory, "Action=DescribeVpcs&MaxResults=4"),
        "InvalidParameterValue"
    );
}

#[test]
fn attributes_of_a_vpc_change_one_at_a_time() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    for (attribute, parameter, before, after) in [
        ("enableDnsSupport", "EnableDnsSupport", "true", "false"),
        ("enableDnsHostnames", "EnableDnsHostnames", "false", "true"),
        (
            "enableNetworkAddressUsageMetrics",
            "EnableNetworkAddressUsageMetrics",
            "false",
            "true",
        ),
    ] {
        let ask = format!("Action=DescribeVpcAttribute&VpcId={id}&Attribute={attribute}");
        assert_eq!(first(&ok(&memory, &ask), "value"), before);
        ok(
            &memory,
            &format!("Action=ModifyVpcAttribute&VpcId={id}&{parameter}.Value={after}"),
        );
        assert_eq!(first(&ok(&memory, &ask), "value"), after);
    }
    let both = format!(
        "Action=ModifyVpcAttribute&VpcId={id}&EnableDnsSupport.Value=true&EnableDnsHostnames.Value=true"
    );
    assert_eq!(refused(&memory, &both), "InvalidParameterCombination");
    let none = format!("Action=ModifyVpcAttribute&VpcId={id}");
    assert_eq!(refused(&memory, &none), "MissingParameter");
    let odd = format!("Action=DescribeVpcAttribute&VpcId={id}&Attribute=colour");
    assert_eq!(refused(&memory, &odd), "InvalidParameterValue");
}

#[test]
fn blocks_of_a_vpc_come_and_go() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let associate = |more: &str| format!("Action=AssociateVpcCidrBlock&VpcId={id}&{more}");
    let added = ok(&memory, &associate("CidrBlock=10.1.0.0/16"));
    assert_eq!(first(&added, "cidrBlock"), "10.1.0.0/16");
    let v6 = ok(&memory, &associate("AmazonProvidedIpv6CidrBlock=true"));
    let association = first(&v6, "associationId");
    assert!(first(&v6, "ipv6CidrBlock").ends_with("/56"));
    assert_eq!(
        refused(&memory, &associate("CidrBlock=172.16.0.0/16")),
        "InvalidVpc.Range"
    );
    assert_eq!(
        refused(
            &memory,
            &associate("CidrBlock=10.2.0.0/16&AmazonProvidedIpv6CidrBlock=true")
        ),
        "InvalidParameterCombination"
    );
    assert_eq!(
        refused(&memory, &format!("Action=AssociateVpcCidrBlock&VpcId={id}")),
        "MissingParameter"
    );
    let gone = ok(
        &memory,
        &format!("Action=DisassociateVpcCidrBlock&AssociationId={association}"),
    );
    assert_eq!(first(&gone, "state"), "disassociated");
    let left = ok(&memory, "Action=DescribeVpcs");
    assert!(elements(&left, "ipv6CidrBlock").is_empty());
}

#[test]
fn the_default_vpc_is_made_once() {
    let memory = Memory::new();
    let made = ok(&memory, "Action=CreateDefaultVpc");
    assert_eq!(first(&made, "isDefault"), "true");
    let subnets = ok(
        &memory,
        &format!("Action=DescribeSubnets{}", filter("default-for-az", "true")),
    );
    assert_eq!(
        elements(&subnets, "subnetId").len(),
        RegionName::DEFAULT.zones().len()
    );
    assert_eq!(
        refused(&memory, "Action=CreateDefaultVpc"),
        "DefaultVpcAlreadyExists"
    );
}
