//! Instances.

use atoll_model::InstanceState;

use crate::Lab;
use crate::support::elements;

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
