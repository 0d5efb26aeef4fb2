use crate::support::{Memory, elements};
use crate::{filter, first, ok, refused, vpc};

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
