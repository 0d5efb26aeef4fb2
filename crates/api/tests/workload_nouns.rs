//! Security groups, interfaces, Elastic IPs and instances on the wire.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use atoll_model::instance::UserDataRun;
use atoll_model::{InstanceId, InstanceState};
use atoll_region::instance::InstanceObserved;
use support::{Memory, call, elements, run};

/// A region with a VPC, two subnets in two zones and an internet gateway.
struct Lab {
    memory: Arc<Memory>,
    vpc: String,
    a: String,
    b: String,
}

impl Lab {
    fn new() -> Lab {
        let memory = Memory::new();
        let one = |query: &str, name: &str| {
            let document = run(&memory, query).unwrap();
            elements(&document, name)[0].to_owned()
        };
        let vpc = one(
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=true",
            "vpcId",
        );
        let block = one(&format!("Action=DescribeVpcs&VpcId.1={vpc}"), "ipv6CidrBlock");
        let block = block.replace("::/56", "");
        let subnet = |number: u8, zone: char| {
            // The second /64 of a /56 differs in the last two digits of the fourth group.
            let ipv6 = if block.matches(':').count() == 3 {
                format!("{}{number:02x}::/64", block.strip_suffix("00").unwrap_or(&block))
            } else {
                format!("{block}:{number:x}::/64")
            };
            one(
                &format!(
                    "Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.0.{number}.0/24&Ipv6CidrBlock={ipv6}\
                     &AvailabilityZone=us-east-1{zone}"
                ),
                "subnetId",
            )
        };
        let (a, b) = (subnet(1, 'a'), subnet(2, 'b'));
        let igw = one("Action=CreateInternetGateway", "internetGatewayId");
        one(
            &format!("Action=AttachInternetGateway&InternetGatewayId={igw}&VpcId={vpc}"),
            "return",
        );
        Lab { memory, vpc, a, b }
    }

    #[track_caller]
    fn ok(&self, query: &str) -> String {
        match run(&self.memory, query) {
            Ok(document) => document,
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// The text of the first element of that name in the answer.
    #[track_caller]
    fn one(&self, query: &str, name: &str) -> String {
        let document = self.ok(query);
        match elements(&document, name).first() {
            Some(text) => (*text).to_owned(),
            None => panic!("no <{name}> in {document}"),
        }
    }

    #[track_caller]
    fn all(&self, query: &str, name: &str) -> Vec<String> {
        elements(&self.ok(query), name)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// The code of the refusal.
    #[track_caller]
    fn refused(&self, query: &str) -> String {
        match run(&self.memory, query) {
            Ok(document) => panic!("{query} was not refused: {document}"),
            Err(error) => error.code.into_owned(),
        }
    }

    fn observe(&self, id: &str, state: InstanceState) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let observed = InstanceObserved {
            id: id.parse::<InstanceId>().unwrap(),
            state,
            user_data_run: Some(UserDataRun::None),
            failure: None,
        };
        runtime.block_on(call(&self.memory).submit(observed)).unwrap();
    }

    fn instance(&self, more: &str) -> String {
        let query = format!("Action=RunInstances&ImageId=ami-12345678&MinCount=1&MaxCount=1&{more}");
        let id = self.one(&query, "instanceId");
        self.observe(&id, InstanceState::Running);
        id
    }

    fn group(&self, name: &str) -> String {
        let vpc = &self.vpc;
        self.one(
            &format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription=d&VpcId={vpc}"),
            "groupId",
        )
    }
}

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

#[test]
fn instances_are_launched_as_templates_and_clients_ask_and_shown_with_their_interfaces() {
    let lab = Lab::new();
    let (web, a) = (lab.group("web"), lab.a.clone());
    let launched = lab.ok(&format!(
        "Action=RunInstances&ImageId=ami-0123456789abcdef0&InstanceType=t3.small&MinCount=2&MaxCount=2\
         &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId={a}\
         &NetworkInterface.1.SecurityGroupId.1={web}&NetworkInterface.1.AssociatePublicIpAddress=true\
         &NetworkInterface.1.Ipv6AddressCount=1&NetworkInterface.1.SecondaryPrivateIpAddressCount=1\
         &UserData=IyEvYmluL3NoCg==&KeyName=key&IamInstanceProfile.Name=role&Monitoring.Enabled=false\
         &EbsOptimized=false&MetadataOptions.HttpTokens=required&BlockDeviceMapping.1.DeviceName=/dev/xvda\
         &BlockDeviceMapping.1.Ebs.VolumeSize=8&CreditSpecification.CpuCredits=standard\
         &Placement.Tenancy=default&ClientToken=token&TagSpecification.1.ResourceType=instance\
         &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web\
         &TagSpecification.2.ResourceType=volume&TagSpecification.2.Tag.1.Key=v&TagSpecification.2.Tag.1.Value=v"
    ));
    let ids: Vec<_> = elements(&launched, "instanceId")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(elements(&launched, "amiLaunchIndex"), ["0", "1"]);
    assert_eq!(elements(&launched, "reservationId").len(), 1);
    assert_eq!(elements(&launched, "publicIp").len(), 4);
    // What t3.small has; a root, but no volume that could be described.
    assert_eq!(elements(&launched, "coreCount"), ["1", "1"]);
    assert_eq!(elements(&launched, "threadsPerCore"), ["2", "2"]);
    assert_eq!(elements(&launched, "rootDeviceName"), ["/dev/xvda", "/dev/xvda"]);
    assert_eq!(elements(&launched, "volumeId").len(), 0);
    lab.observe(&ids[0], InstanceState::Running);
    let by = |name: &str, value: &str| {
        lab.all(
            &format!("Action=DescribeInstances&Filter.1.Name={name}&Filter.1.Value.1={value}"),
            "instanceId",
        )
        .len()
    };
    assert_eq!(by("instance-state-name", "running"), 1);
    assert_eq!(by("tag:Name", "web"), 2);
    assert_eq!(by("network-interface.group-name", "web"), 2);
    assert_eq!(by("instance.group-id", &web), 2);
    assert_eq!(by("vpc-id", &lab.vpc), 2);
    assert_eq!(by("availability-zone", "us-east-1b"), 0);
    assert_eq!(by("iam-instance-profile.name", "role"), 2);
    assert_eq!(lab.all("Action=DescribeInstanceStatus", "instanceId"), [&*ids[0]]);
    assert_eq!(
        lab.all(
            "Action=DescribeInstanceStatus&IncludeAllInstances=true",
            "instanceId"
        )
        .len(),
        2
    );
    let attribute = |name: &str| {
        lab.one(
            &format!(
                "Action=DescribeInstanceAttribute&InstanceId={}&Attribute={name}",
                ids[0]
            ),
            "value",
        )
    };
    assert_eq!(attribute("userData"), "IyEvYmluL3NoCg==");
    assert_eq!(attribute("instanceType"), "t3.small");
    assert_eq!(attribute("disableApiTermination"), "false");
    lab.ok(&format!(
        "Action=ModifyInstanceAttribute&InstanceId={}&DisableApiTermination.Value=true",
        ids[0]
    ));
    let terminate = format!("Action=TerminateInstances&InstanceId.1={}", ids[0]);
    assert_eq!(lab.refused(&terminate), "OperationNotPermitted");
    lab.ok(&format!(
        "Action=ModifyInstanceAttribute&InstanceId={}&Attribute=disableApiTermination&Value=false",
        ids[0]
    ));
    let stopped = lab.ok(&format!("Action=StopInstances&InstanceId.1={}", ids[0]));
    assert_eq!(elements(&stopped, "name"), ["stopping", "running"]);
    lab.observe(&ids[0], InstanceState::Stopped);
    lab.ok(&format!(
        "Action=ModifyInstanceAttribute&InstanceId={}&InstanceType.Value=t3.large",
        ids[0]
    ));
    assert_eq!(
        lab.all(&format!("Action=StartInstances&InstanceId.1={}", ids[0]), "name"),
        ["pending", "stopped"]
    );
    lab.observe(&ids[0], InstanceState::Running);
    lab.ok(&format!("Action=RebootInstances&InstanceId.1={}", ids[0]));
    assert_eq!(lab.all(&terminate, "name"), ["shutting-down", "running"]);
    lab.observe(&ids[0], InstanceState::Terminated);
    let gone = lab.ok(&format!("Action=DescribeInstances&InstanceId.1={}", ids[0]));
    assert!(elements(&gone, "networkInterfaceId").is_empty() && elements(&gone, "subnetId").is_empty());
    assert_eq!(elements(&gone, "name"), ["terminated"]);
}

#[test]
fn what_a_launch_cannot_do_is_refused_by_name() {
    let lab = Lab::new();
    let a = lab.a.clone();
    let launch = format!("Action=RunInstances&MinCount=1&MaxCount=1&SubnetId={a}");
    for (more, code) in [
        ("", "MissingParameter"),
        ("&ImageId=image", "InvalidAMIID.Malformed"),
        (
            "&ImageId=ami-12345678&InstanceType=x9.huge",
            "InvalidParameterValue",
        ),
        ("&ImageId=ami-12345678&UserData=%25%25", "InvalidParameterValue"),
        (
            "&ImageId=ami-12345678&LaunchTemplate.LaunchTemplateId=lt-1",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&InstanceMarketOptions.MarketType=spot",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&HibernationOptions.Configured=true",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&Placement.GroupName=g",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&Placement.Tenancy=host",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&Placement.AvailabilityZone=us-east-1z",
            "InvalidParameterValue",
        ),
        ("&ImageId=ami-12345678&Colour=red", "UnknownParameter"),
        (
            "&ImageId=ami-12345678&BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=8",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.SnapshotId=snap-1",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&InstanceType=m5.xlarge&CpuOptions.CoreCount=1&CpuOptions.ThreadsPerCore=2",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&CpuOptions.AmdSevSnp=enabled",
            "UnsupportedOperation",
        ),
        (
            "&ImageId=ami-12345678&NetworkInterface.1.DeviceIndex=0",
            "InvalidParameterCombination",
        ),
        (
            "&ImageId=ami-12345678&TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=k",
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(lab.refused(&format!("{launch}{more}")), code, "{more}");
    }
    assert!(lab.all("Action=DescribeInstances", "instanceId").is_empty());
    assert_eq!(
        lab.refused(&format!("{launch}&ImageId=ami-12345678&DryRun=true")),
        "DryRunOperation"
    );
    assert_eq!(
        lab.refused(&format!(
            "{launch}&ImageId=ami-12345678&InstanceType=m5.xlarge&CpuOptions.CoreCount=2&CpuOptions.ThreadsPerCore=2\
             &BlockDeviceMapping.1.DeviceName=/dev/sdb&BlockDeviceMapping.1.NoDevice=&DryRun=true"
        )),
        "DryRunOperation",
        "what the type has anyway, and no device"
    );
    let by_parameter = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    lab.ok(&format!("{launch}&ImageId={by_parameter}"));
    assert_eq!(
        lab.refused("Action=DescribeInstances&InstanceId.1=i-12345678&InstanceId.2=i-87654321"),
        "InvalidInstanceID.NotFound"
    );
    assert_eq!(
        lab.refused("Action=DescribeInstances&InstanceId.1=instance"),
        "InvalidInstanceID.Malformed"
    );
}
