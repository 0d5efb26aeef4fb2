use crate::support::{Memory, elements};
use crate::{filter, first, ok, refused, subnet, vpc};

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
