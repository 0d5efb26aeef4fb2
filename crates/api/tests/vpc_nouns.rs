//! VPCs, subnets, route tables, gateways and network ACLs, as a client asks for them.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use atoll_api::Backend;
use atoll_model::{NatGatewayId, RegionName};
use atoll_region::nat_gateway::{NatGatewayGone, NatGatewayReady};
use support::{Memory, call, elements, run};

/// Runs an operation that succeeds.
fn ok(memory: &Arc<Memory>, query: &str) -> String {
    run(memory, query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// The code with which an operation is refused.
fn refused(memory: &Arc<Memory>, query: &str) -> String {
    match run(memory, query) {
        Ok(answer) => panic!("{query}: {answer}"),
        Err(error) => error.code.into_owned(),
    }
}

/// The text of the first element of that name.
fn first(document: &str, name: &str) -> String {
    elements(document, name)
        .first()
        .unwrap_or_else(|| panic!("no {name} in {document}"))
        .to_string()
}

fn vpc(memory: &Arc<Memory>, more: &str) -> String {
    let made = ok(memory, &format!("Action=CreateVpc&CidrBlock=10.0.0.0/16{more}"));
    first(&made, "vpcId")
}

fn subnet(memory: &Arc<Memory>, vpc: &str, block: &str) -> String {
    let made = ok(
        memory,
        &format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock={block}"),
    );
    first(&made, "subnetId")
}

/// `&Filter.1.Name=…&Filter.1.Value.1=…`
fn filter(name: &str, value: &str) -> String {
    format!("&Filter.1.Name={name}&Filter.1.Value.1={value}")
}

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

#[test]
fn routes_lead_to_one_target_and_show_their_state() {
    let memory = Memory::new();
    let id = vpc(&memory, "&AmazonProvidedIpv6CidrBlock=true");
    let web = subnet(&memory, &id, "10.0.0.0/24");
    let table = first(
        &ok(
            &memory,
            &format!("Action=CreateRouteTable&VpcId={id}&ClientToken=t"),
        ),
        "routeTableId",
    );
    let again = ok(
        &memory,
        &format!("Action=CreateRouteTable&VpcId={id}&ClientToken=t"),
    );
    assert_eq!(first(&again, "routeTableId"), table);
    let igw = first(&ok(&memory, "Action=CreateInternetGateway"), "internetGatewayId");
    let eigw = first(
        &ok(
            &memory,
            &format!("Action=CreateEgressOnlyInternetGateway&VpcId={id}"),
        ),
        "egressOnlyInternetGatewayId",
    );
    let create = |more: &str| format!("Action=CreateRoute&RouteTableId={table}&{more}");
    let v4 = "DestinationCidrBlock=0.0.0.0/0";
    let to_igw = create(&format!("{v4}&GatewayId={igw}"));
    assert_eq!(refused(&memory, &to_igw), "InvalidParameterValue");
    ok(
        &memory,
        &format!("Action=AttachInternetGateway&InternetGatewayId={igw}&VpcId={id}"),
    );
    assert_eq!(first(&ok(&memory, &to_igw), "return"), "true");
    ok(
        &memory,
        &create(&format!(
            "DestinationIpv6CidrBlock=::/0&EgressOnlyInternetGatewayId={eigw}"
        )),
    );
    let associated = ok(
        &memory,
        &format!("Action=AssociateRouteTable&RouteTableId={table}&SubnetId={web}"),
    );
    let association = first(&associated, "associationId");
    assert_eq!(first(&associated, "state"), "associated");
    for (name, value) in [
        ("association.route-table-association-id", association.as_str()),
        ("association.subnet-id", &web),
        ("association.main", "false"),
        ("route.gateway-id", &igw),
        ("route.egress-only-internet-gateway-id", &eigw),
        ("route.destination-cidr-block", "0.0.0.0/0"),
        ("route.destination-ipv6-cidr-block", "::/0"),
        ("route.origin", "CreateRoute"),
        ("route-table-id", &table),
    ] {
        let found = ok(
            &memory,
            &format!("Action=DescribeRouteTables{}", filter(name, value)),
        );
        assert_eq!(first(&found, "routeTableId"), table, "{name}");
    }
    let main = ok(
        &memory,
        &format!("Action=DescribeRouteTables{}", filter("association.main", "true")),
    );
    assert_ne!(first(&main, "routeTableId"), table);
    assert_eq!(elements(&main, "gatewayId"), ["local", "local"]);

    for (query, code) in [
        (create(v4), "MissingParameter"),
        (create(&format!("GatewayId={igw}")), "MissingParameter"),
        (
            create(&format!("{v4}&GatewayId={igw}&NatGatewayId=nat-12345678")),
            "InvalidParameterCombination",
        ),
        (
            create(&format!("{v4}&GatewayId=nat-12345678")),
            "InvalidGatewayID.NotFound",
        ),
        (
            create("DestinationCidrBlock=9.0.0.0/8&NatGatewayId=nat-12345678"),
            "InvalidNatGatewayID.NotFound",
        ),
        (
            create(&format!("{v4}&GatewayId=vgw-12345678")),
            "UnsupportedOperation",
        ),
        (
            create(&format!("{v4}&TransitGatewayId=tgw-12345678")),
            "UnsupportedOperation",
        ),
        (
            create(&format!("{v4}&VpcPeeringConnectionId=pcx-12345678")),
            "UnsupportedOperation",
        ),
        (
            create(&format!("DestinationPrefixListId=pl-12345678&GatewayId={igw}")),
            "UnsupportedOperation",
        ),
        (to_igw.clone(), "RouteAlreadyExists"),
        (
            create(&format!("DestinationCidrBlock=10.0.0.0/24&GatewayId={igw}")),
            "InvalidParameterValue",
        ),
        (
            create(&format!(
                "DestinationCidrBlock=169.254.169.254/32&GatewayId={igw}"
            )),
            "InvalidParameterValue",
        ),
        (
            format!("Action=DeleteRoute&RouteTableId={table}&DestinationCidrBlock=10.0.0.0/16"),
            "InvalidParameterValue",
        ),
        (
            format!("Action=DeleteRouteTable&RouteTableId={table}"),
            "DependencyViolation",
        ),
    ] {
        assert_eq!(refused(&memory, &query), code, "{query}");
    }
    ok(
        &memory,
        &format!("Action=DetachInternetGateway&InternetGatewayId={igw}&VpcId={id}"),
    );
    let holes = ok(
        &memory,
        &format!("Action=DescribeRouteTables{}", filter("route.state", "blackhole")),
    );
    assert_eq!(
        elements(&holes, "destinationCidrBlock"),
        ["0.0.0.0/0", "10.0.0.0/16"]
    );
    ok(
        &memory,
        &format!("Action=DeleteRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0"),
    );
    let replaced = ok(
        &memory,
        &format!(
            "Action=ReplaceRouteTableAssociation&AssociationId={association}&RouteTableId={}",
            first(&main, "routeTableId")
        ),
    );
    let association = first(&replaced, "newAssociationId");
    ok(
        &memory,
        &format!("Action=DisassociateRouteTable&AssociationId={association}"),
    );
    ok(&memory, &format!("Action=DeleteRouteTable&RouteTableId={table}"));
    assert_eq!(
        refused(
            &memory,
            &format!("Action=DisassociateRouteTable&AssociationId={association}")
        ),
        "InvalidAssociationID.NotFound"
    );
}

#[test]
fn a_local_target_is_set_back() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let table = first(
        &ok(&memory, &format!("Action=CreateRouteTable&VpcId={id}")),
        "routeTableId",
    );
    let replace = format!("Action=ReplaceRoute&RouteTableId={table}&DestinationCidrBlock=10.0.0.0/16");
    ok(&memory, &format!("{replace}&LocalTarget=true"));
    ok(&memory, &format!("{replace}&GatewayId=local"));
    assert_eq!(
        refused(&memory, &format!("{replace}&LocalTarget=false")),
        "MissingParameter"
    );
    assert_eq!(
        refused(&memory, &format!("{replace}&LocalTarget=true&GatewayId=local")),
        "InvalidParameterCombination"
    );
}

#[test]
fn internet_gateways_show_their_attachment() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let igw = first(&ok(&memory, "Action=CreateInternetGateway"), "internetGatewayId");
    let spare = first(&ok(&memory, "Action=CreateInternetGateway"), "internetGatewayId");
    ok(
        &memory,
        &format!("Action=AttachInternetGateway&InternetGatewayId={igw}&VpcId={id}"),
    );
    for (name, value) in [
        ("attachment.vpc-id", id.as_str()),
        ("attachment.state", "available"),
        ("internet-gateway-id", &igw),
    ] {
        let found = ok(
            &memory,
            &format!("Action=DescribeInternetGateways{}", filter(name, value)),
        );
        assert_eq!(elements(&found, "internetGatewayId"), [igw.as_str()], "{name}");
        assert_eq!(first(&found, "vpcId"), id);
    }
    assert_eq!(
        refused(
            &memory,
            &format!("Action=AttachInternetGateway&InternetGatewayId={spare}&VpcId={id}")
        ),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(
            &memory,
            &format!("Action=DeleteInternetGateway&InternetGatewayId={igw}")
        ),
        "DependencyViolation"
    );
    ok(
        &memory,
        &format!("Action=DeleteInternetGateway&InternetGatewayId={spare}"),
    );
}

#[test]
fn egress_only_gateways_are_made_once_a_token() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let make = format!("Action=CreateEgressOnlyInternetGateway&VpcId={id}&ClientToken=x");
    let made = ok(&memory, &make);
    let eigw = first(&made, "egressOnlyInternetGatewayId");
    assert_eq!(first(&made, "clientToken"), "x");
    assert_eq!(first(&made, "state"), "attached");
    assert_eq!(first(&ok(&memory, &make), "egressOnlyInternetGatewayId"), eigw);
    let listed = ok(&memory, "Action=DescribeEgressOnlyInternetGateways");
    assert_eq!(elements(&listed, "egressOnlyInternetGatewayId"), [eigw.as_str()]);
    let delete = format!("Action=DeleteEgressOnlyInternetGateway&EgressOnlyInternetGatewayId={eigw}");
    assert_eq!(first(&ok(&memory, &delete), "returnCode"), "true");
    assert_eq!(refused(&memory, &delete), "InvalidGatewayID.NotFound");
}

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
fn acls_show_their_rules_with_the_final_deny() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let web = subnet(&memory, &id, "10.0.0.0/24");
    let default = ok(
        &memory,
        &format!("Action=DescribeNetworkAcls{}", filter("default", "true")),
    );
    assert_eq!(elements(&default, "ruleNumber"), ["100", "32767", "100", "32767"]);
    assert_eq!(elements(&default, "egress"), ["true", "true", "false", "false"]);
    let association = first(&default, "networkAclAssociationId");
    let made = ok(&memory, &format!("Action=CreateNetworkAcl&VpcId={id}"));
    // semantics 26: it denies all.
    assert_eq!(elements(&made, "ruleAction"), ["deny", "deny"]);
    let acl = first(&made, "networkAclId");
    let put = |action: &str, number: &str, more: &str| {
        format!("Action={action}&NetworkAclId={acl}&RuleNumber={number}&RuleAction=allow&Egress=false&{more}")
    };
    ok(
        &memory,
        &put(
            "CreateNetworkAclEntry",
            "100",
            "Protocol=6&CidrBlock=100.68.0.18/18&PortRange.From=80&PortRange.To=443",
        ),
    );
    ok(
        &memory,
        &put(
            "CreateNetworkAclEntry",
            "110",
            "Protocol=icmpv6&Ipv6CidrBlock=::/0&Icmp.Type=-1&Icmp.Code=-1",
        ),
    );
    ok(
        &memory,
        &put("CreateNetworkAclEntry", "120", "Protocol=47&CidrBlock=0.0.0.0/0"),
    );
    let replaced = ok(
        &memory,
        &format!("Action=ReplaceNetworkAclAssociation&AssociationId={association}&NetworkAclId={acl}"),
    );
    let association = first(&replaced, "newAssociationId");
    for (name, value) in [
        ("association.association-id", association.as_str()),
        ("association.network-acl-id", &acl),
        ("association.subnet-id", &web),
        ("default", "false"),
        // semantics 32
        ("entry.cidr", "100.68.0.0/18"),
        ("entry.icmp.code", "-1"),
        ("entry.icmp.type", "-1"),
        ("entry.ipv6-cidr", "::/0"),
        ("entry.port-range.from", "80"),
        ("entry.port-range.to", "443"),
        ("entry.protocol", "tcp"),
        ("entry.protocol", "58"),
        ("entry.rule-number", "120"),
        ("network-acl-id", &acl),
    ] {
        let found = ok(
            &memory,
            &format!("Action=DescribeNetworkAcls{}", filter(name, value)),
        );
        let ids: std::collections::BTreeSet<_> = elements(&found, "networkAclId").into_iter().collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), [acl.as_str()], "{name}");
    }
    let create = "CreateNetworkAclEntry";
    for (query, code) in [
        (
            put(create, "100", "Protocol=-1&CidrBlock=0.0.0.0/0"),
            "NetworkAclEntryAlreadyExists",
        ),
        (put(create, "200", "Protocol=-1"), "MissingParameter"),
        // semantics 34: neither groups nor prefix lists.
        (
            put(create, "200", "Protocol=-1&GroupId=sg-12345678"),
            "UnknownParameter",
        ),
        (
            put(create, "200", "Protocol=-1&PrefixListId=pl-12345678"),
            "UnknownParameter",
        ),
        (
            put(create, "200", "Protocol=tcp&CidrBlock=0.0.0.0/0"),
            "MissingParameter",
        ),
        (
            put(create, "200", "Protocol=tcp&CidrBlock=0.0.0.0/0&PortRange.From=1"),
            "MissingParameter",
        ),
        (
            put(
                create,
                "200",
                "Protocol=tcp&CidrBlock=0.0.0.0/0&PortRange.From=2&PortRange.To=1",
            ),
            "InvalidParameterValue",
        ),
        (
            put(
                create,
                "200",
                "Protocol=udp&CidrBlock=0.0.0.0/0&PortRange.From=0&PortRange.To=65536",
            ),
            "InvalidParameterValue",
        ),
        (
            put(create, "200", "Protocol=1&CidrBlock=0.0.0.0/0"),
            "MissingParameter",
        ),
        (
            put(create, "200", "Protocol=300&CidrBlock=0.0.0.0/0"),
            "InvalidParameterValue",
        ),
        (
            put(create, "32767", "Protocol=-1&CidrBlock=0.0.0.0/0"),
            "InvalidParameterValue",
        ),
        (
            put(create, "-1", "Protocol=-1&CidrBlock=0.0.0.0/0"),
            "InvalidParameterValue",
        ),
        (
            put("ReplaceNetworkAclEntry", "300", "Protocol=-1&CidrBlock=0.0.0.0/0"),
            "InvalidNetworkAclEntry.NotFound",
        ),
        (
            format!("Action=DeleteNetworkAcl&NetworkAclId={acl}"),
            "DependencyViolation",
        ),
    ] {
        assert_eq!(refused(&memory, &query), code, "{query}");
    }
    ok(
        &memory,
        &put("ReplaceNetworkAclEntry", "100", "Protocol=-1&CidrBlock=0.0.0.0/0"),
    );
    ok(
        &memory,
        &format!("Action=DeleteNetworkAclEntry&NetworkAclId={acl}&RuleNumber=110&Egress=false"),
    );
    let left = ok(
        &memory,
        &format!("Action=DescribeNetworkAcls&NetworkAclId.1={acl}"),
    );
    assert_eq!(elements(&left, "ruleNumber"), ["32767", "100", "120", "32767"]);
    assert!(elements(&left, "portRange").is_empty());
    ok(&memory, &format!("Action=DeleteSubnet&SubnetId={web}"));
    ok(&memory, &format!("Action=DeleteNetworkAcl&NetworkAclId={acl}"));
}

#[test]
fn a_route_to_an_instance_shows_its_interface_and_it() {
    let memory = Memory::new();
    let id = vpc(&memory, "");
    let web = subnet(&memory, &id, "10.0.0.0/24");
    let launch = format!("Action=RunInstances&ImageId=ami-12345678&MinCount=1&MaxCount=1&SubnetId={web}");
    let launched = ok(&memory, &launch);
    let (instance, eni) = (
        first(&launched, "instanceId"),
        first(&launched, "networkInterfaceId"),
    );
    let table = first(
        &ok(&memory, &format!("Action=CreateRouteTable&VpcId={id}")),
        "routeTableId",
    );
    ok(
        &memory,
        &format!(
            "Action=CreateRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&InstanceId={instance}"
        ),
    );
    let found = ok(
        &memory,
        &format!(
            "Action=DescribeRouteTables{}",
            filter("route.instance-id", &instance)
        ),
    );
    assert_eq!(first(&found, "routeTableId"), table);
    assert_eq!(first(&found, "networkInterfaceId"), eni);
    assert_eq!(first(&found, "instanceOwnerId"), "123456789012");
    // It does not run yet.
    assert_eq!(first(&found, "state"), "blackhole");
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
