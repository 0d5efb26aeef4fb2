//! Interfaces.

use crate::Lab;
use crate::support::elements;

#[test]
fn an_interface_moves_and_keeps_its_mac_addresses_and_groups() {
    let lab = Lab::new();
    let (web, a) = (lab.group("web"), lab.a.clone());
    let made = lab.ok(&format!(
        "Action=CreateNetworkInterface&SubnetId={a}&Description=second&SecurityGroupId.1={web}\
         &PrivateIpAddresses.1.PrivateIpAddress=10.0.1.20&PrivateIpAddresses.1.Primary=true\
         &PrivateIpAddresses.2.PrivateIpAddress=10.0.1.21&Ipv6AddressCount=1\
         &ConnectionTrackingSpecification.TcpEstablishedTimeout=600"
    ));
    let eni = elements(&made, "networkInterfaceId")[0].to_owned();
    let mac = elements(&made, "macAddress")[0].to_owned();
    assert_eq!(elements(&made, "status")[0], "pending");
    let (one, two) = (
        lab.instance(&format!("SubnetId={a}")),
        lab.instance(&format!("SubnetId={a}")),
    );
    let far = lab.instance(&format!("SubnetId={}", lab.b));
    let allocation = lab.one("Action=AllocateAddress&Domain=vpc", "allocationId");
    lab.ok(&format!(
        "Action=AssociateAddress&AllocationId={allocation}&NetworkInterfaceId={eni}&PrivateIpAddress=10.0.1.21"
    ));
    let attach = |instance: &str| {
        format!("Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={instance}&DeviceIndex=1")
    };
    let attachment = lab.one(&attach(&one), "attachmentId");
    assert_eq!(lab.refused(&attach(&far)), "InvalidNetworkInterface.InUse");
    lab.ok(&format!(
        "Action=DetachNetworkInterface&AttachmentId={attachment}"
    ));
    assert_eq!(lab.refused(&attach(&far)), "InvalidParameterCombination");
    lab.ok(&attach(&two));
    let shown = lab.ok(&format!(
        "Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={eni}"
    ));
    assert_eq!(elements(&shown, "macAddress"), [&*mac]);
    assert_eq!(elements(&shown, "groupId"), [&*web]);
    assert_eq!(elements(&shown, "instanceId"), [&*two]);
    assert_eq!(elements(&shown, "allocationId"), [&*allocation]);
    assert_eq!(elements(&shown, "tcpEstablishedTimeout"), ["600"]);
    assert_eq!(
        elements(&shown, "privateIpAddress"),
        ["10.0.1.20", "10.0.1.20", "10.0.1.21"]
    );
    let primary = lab.one(
        &format!(
            "Action=DescribeNetworkInterfaces&Filter.1.Name=attachment.instance-id&Filter.1.Value.1={two}\
             &Filter.2.Name=attachment.device-index&Filter.2.Value.1=0"
        ),
        "attachmentId",
    );
    assert_eq!(
        lab.refused(&format!("Action=DetachNetworkInterface&AttachmentId={primary}")),
        "OperationNotPermitted"
    );
    let modify = format!("Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={eni}");
    lab.ok(&format!("{modify}&SourceDestCheck.Value=false"));
    let check = format!(
        "Action=DescribeNetworkInterfaceAttribute&NetworkInterfaceId={eni}&Attribute=sourceDestCheck"
    );
    assert_eq!(lab.one(&check, "value"), "false");
    lab.ok(&format!(
        "Action=ResetNetworkInterfaceAttribute&NetworkInterfaceId={eni}&SourceDestCheck=true"
    ));
    assert_eq!(lab.one(&check, "value"), "true");
    assert_eq!(
        lab.refused(&format!(
            "{modify}&SourceDestCheck.Value=false&Description.Value=x"
        )),
        "InvalidParameterCombination"
    );
    assert_eq!(
        lab.refused(&format!("{modify}&EnaSrdSpecification.EnaSrdEnabled=true")),
        "UnsupportedOperation"
    );
    lab.ok(&format!(
        "Action=UnassignPrivateIpAddresses&NetworkInterfaceId={eni}&PrivateIpAddress.1=10.0.1.21"
    ));
    let addresses = lab.ok("Action=DescribeAddresses");
    assert!(elements(&addresses, "associationId").is_empty());
    let assigned = lab.all(
        &format!("Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=1"),
        "privateIpAddress",
    );
    assert_eq!(assigned.len(), 1);
    assert_eq!(
        lab.refused(&format!(
            "Action=AssignIpv6Addresses&NetworkInterfaceId={eni}&Ipv6AddressCount=-1"
        )),
        "InvalidParameterValue"
    );
    assert_eq!(
        lab.all(
            &format!("Action=AssignIpv6Addresses&NetworkInterfaceId={eni}&Ipv6AddressCount=1"),
            "item"
        )
        .len(),
        1
    );
    assert_eq!(
        lab.refused(&format!("Action=DeleteNetworkInterface&NetworkInterfaceId={eni}")),
        "InvalidParameterValue"
    );
}
