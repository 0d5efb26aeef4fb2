//! Security groups and their rules.

use crate::Lab;
use crate::support::elements;

#[test]
fn rules_are_added_in_both_forms_listed_changed_and_taken_away() {
    let lab = Lab::new();
    let (web, db) = (lab.group("web"), lab.group("db"));
    let added = lab.ok(&format!(
        "Action=AuthorizeSecurityGroupIngress&GroupId={web}&IpPermissions.1.IpProtocol=tcp\
         &IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0\
         &IpPermissions.1.IpRanges.1.Description=all&IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::/0\
         &TagSpecification.1.ResourceType=security-group-rule&TagSpecification.1.Tag.1.Key=k\
         &TagSpecification.1.Tag.1.Value=v"
    ));
    assert_eq!(elements(&added, "cidrIpv4"), ["0.0.0.0/0"]);
    assert_eq!(elements(&added, "cidrIpv6"), ["::/0"]);
    assert_eq!(elements(&added, "isEgress"), ["false", "false"]);
    let rules: Vec<_> = elements(&added, "securityGroupRuleId")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let flat = format!("GroupId={web}&IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=10.1.2.3/8");
    lab.ok(&format!("Action=AuthorizeSecurityGroupIngress&{flat}"));
    assert_eq!(
        lab.refused(&format!("Action=AuthorizeSecurityGroupIngress&{flat}")),
        "InvalidPermission.Duplicate"
    );
    lab.ok(&format!(
        "Action=AuthorizeSecurityGroupIngress&GroupId={db}&IpPermissions.1.IpProtocol=tcp\
         &IpPermissions.1.FromPort=5432&IpPermissions.1.ToPort=5432&IpPermissions.1.Groups.1.GroupId={web}"
    ));
    assert_eq!(
        lab.refused(&format!("Action=DeleteSecurityGroup&GroupId={web}")),
        "DependencyViolation"
    );

    let described = lab.ok(&format!("Action=DescribeSecurityGroups&GroupId.1={web}"));
    // One permission a kind of traffic: everything out, then 22 and 80 in.
    assert_eq!(elements(&described, "fromPort"), ["22", "80"]);
    assert_eq!(
        elements(&described, "cidrIp"),
        ["0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0"]
    );
    assert_eq!(elements(&described, "description"), ["all"]);
    let by = |name: &str, value: &str| {
        lab.all(
            &format!("Action=DescribeSecurityGroups&Filter.1.Name={name}&Filter.1.Value.1={value}"),
            "groupName",
        )
    };
    assert_eq!(by("ip-permission.from-port", "5432"), ["db"]);
    assert_eq!(by("ip-permission.group-name", "web"), ["db"]);
    assert_eq!(by("ip-permission.cidr", "10.0.0.0/8"), ["web"]);
    assert_eq!(by("ip-permission.ipv6-cidr", "::/0"), ["web"]);
    assert_eq!(by("egress.ip-permission.protocol", "-1").len(), 3);
    assert_eq!(by("group-name", "d*").len(), 2);
    assert_eq!(
        lab.refused("Action=DescribeSecurityGroups&Filter.1.Name=colour&Filter.1.Value.1=red"),
        "InvalidParameterValue"
    );
    let tagged = lab.all(
        "Action=DescribeSecurityGroupRules&Filter.1.Name=tag:k&Filter.1.Value.1=v",
        "securityGroupRuleId",
    );
    assert_eq!(tagged.len(), 2);
    let of_group = format!("Action=DescribeSecurityGroupRules&Filter.1.Name=group-id&Filter.1.Value.1={web}");
    assert_eq!(lab.all(&of_group, "ipProtocol").len(), 4 + 1);

    let modify = format!(
        "Action=ModifySecurityGroupRules&GroupId={web}&SecurityGroupRule.1.SecurityGroupRuleId={}\
         &SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp&SecurityGroupRule.1.SecurityGroupRule.FromPort=8080\
         &SecurityGroupRule.1.SecurityGroupRule.ToPort=8081",
        rules[0]
    );
    assert_eq!(lab.refused(&modify), "InvalidParameterCombination");
    lab.ok(&format!(
        "{modify}&SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=192.0.2.0/24"
    ));
    let one = format!(
        "Action=DescribeSecurityGroupRules&SecurityGroupRuleId.1={}",
        rules[0]
    );
    assert_eq!(lab.one(&one, "toPort"), "8081");

    let revoked = lab.ok(&format!(
        "Action=RevokeSecurityGroupIngress&GroupId={web}&SecurityGroupRuleId.1={}&SecurityGroupRuleId.2={}",
        rules[0], rules[1]
    ));
    assert_eq!(
        elements(&revoked, "securityGroupRuleId"),
        [&*rules[0], &*rules[1]]
    );
    // Outside the default VPC a rule that is not there is an error; within it, it is listed.
    let unknown = format!(
        "Action=RevokeSecurityGroupIngress&GroupId={web}&IpProtocol=udp&FromPort=1&ToPort=1&CidrIp=10.0.0.0/8"
    );
    assert_eq!(lab.refused(&unknown), "InvalidPermission.NotFound");
    assert_eq!(lab.refused(&one), "InvalidSecurityGroupRuleId.NotFound");
    for (query, code) in [
        (
            "IpPermissions.1.PrefixListIds.1.PrefixListId=pl-12345678",
            "InvalidPrefixListID.NotFound",
        ),
        (
            "IpPermissions.1.Groups.1.GroupId=sg-00000001",
            "InvalidGroup.NotFound",
        ),
        ("IpPermissions.1.Groups.1.GroupId=web", "InvalidGroupId.Malformed"),
        (
            "IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0",
            "InvalidParameterValue",
        ),
        ("IpPermissions.1.IpRanges.1.Colour=red", "UnknownParameter"),
    ] {
        let query = format!(
            "Action=AuthorizeSecurityGroupIngress&GroupId={web}&IpPermissions.1.IpProtocol=tcp\
             &IpPermissions.1.FromPort=1&IpPermissions.1.ToPort=1&{query}"
        );
        assert_eq!(lab.refused(&query), code, "{query}");
    }
    assert_eq!(
        lab.refused(&format!("Action=DeleteSecurityGroup&GroupId={web}&DryRun=true")),
        "DependencyViolation"
    );
    assert_eq!(
        lab.refused(&format!("Action=DeleteSecurityGroup&GroupId={db}&DryRun=true")),
        "DryRunOperation"
    );
    lab.ok(&format!("Action=DeleteSecurityGroup&GroupId={db}"));
    lab.ok(&format!("Action=DeleteSecurityGroup&GroupId={web}"));
}
