//! Elastic IPs.

use crate::Lab;
use crate::support::elements;

#[test]
fn an_elastic_ip_is_allocated_moved_and_released() {
    let lab = Lab::new();
    let a = lab.a.clone();
    let (one, two) = (
        lab.instance(&format!("SubnetId={a}")),
        lab.instance(&format!("SubnetId={a}")),
    );
    let made = lab.ok(
        "Action=AllocateAddress&Address=203.0.113.9&TagSpecification.1.ResourceType=elastic-ip\
         &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web",
    );
    let allocation = elements(&made, "allocationId")[0].to_owned();
    assert_eq!(elements(&made, "publicIp"), ["203.0.113.9"]);
    let associate = |instance: &str, more: &str| {
        format!("Action=AssociateAddress&AllocationId={allocation}&InstanceId={instance}{more}")
    };
    let first = lab.one(&associate(&one, ""), "associationId");
    assert_eq!(
        lab.refused(&associate(&two, "&AllowReassociation=false")),
        "Resource.AlreadyAssociated"
    );
    let second = lab.one(&associate(&two, ""), "associationId");
    let by_instance = format!("Action=DescribeAddresses&Filter.1.Name=instance-id&Filter.1.Value.1={two}");
    assert_eq!(lab.one(&by_instance, "publicIp"), "203.0.113.9");
    assert_eq!(lab.one(&by_instance, "associationId"), second);
    let shown = lab.ok(&format!("Action=DescribeInstances&InstanceId.1={two}"));
    assert_eq!(elements(&shown, "ipAddress"), ["203.0.113.9"]);
    assert_eq!(
        lab.refused(&format!("Action=DisassociateAddress&AssociationId={first}")),
        "InvalidAssociationID.NotFound"
    );
    let release = format!("Action=ReleaseAddress&AllocationId={allocation}");
    assert_eq!(lab.refused(&release), "InvalidIPAddress.InUse");
    lab.ok(&format!("Action=DisassociateAddress&AssociationId={second}"));
    lab.ok(&release);
    assert_eq!(
        lab.refused(&format!("Action=DescribeAddresses&AllocationId.1={allocation}")),
        "InvalidAllocationID.NotFound"
    );
    assert_eq!(
        lab.refused("Action=DescribeAddresses&PublicIp.1=203.0.113.9"),
        "InvalidAddress.NotFound"
    );
    for (query, code) in [
        ("NetworkBorderGroup=eu-west-1", "InvalidParameterValue"),
        ("Domain=standard", "InvalidParameterValue"),
        (
            "PublicIpv4Pool=ipv4pool-ec2-1",
            "InvalidPublicIpv4PoolID.NotFound",
        ),
        ("CustomerOwnedIpv4Pool=x", "UnsupportedOperation"),
        ("Address=nine", "InvalidParameterValue"),
    ] {
        assert_eq!(
            lab.refused(&format!("Action=AllocateAddress&{query}")),
            code,
            "{query}"
        );
    }
}
