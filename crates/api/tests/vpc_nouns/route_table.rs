use crate::support::{Memory, elements};
use crate::{filter, first, ok, refused, subnet, vpc};

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
