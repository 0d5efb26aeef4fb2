//! Operations that read what is built in, and tags.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Memory, elements, run};

#[test]
fn tags_are_set_listed_by_filter_in_pages_and_taken_off() {
    let memory = Memory::new();
    let made = run(&memory, "Action=CreateInternetGateway").unwrap();
    let id = elements(&made, "internetGatewayId")[0].to_owned();
    let set: String = (1..=7)
        .map(|n| format!("&Tag.{n}.Key=k{n}&Tag.{n}.Value=v%26{}", n % 2))
        .collect();
    let done = run(&memory, &format!("Action=CreateTags&ResourceId.1={id}{set}")).unwrap();
    assert!(done.contains("<return>true</return>"), "{done}");

    let first = run(&memory, "Action=DescribeTags&MaxResults=5").unwrap();
    assert_eq!(elements(&first, "key"), ["k1", "k2", "k3", "k4", "k5"]);
    assert_eq!(elements(&first, "resourceType")[0], "internet-gateway");
    assert_eq!(elements(&first, "resourceId")[0], id.to_string());
    let token: String =
        form_urlencoded::byte_serialize(elements(&first, "nextToken")[0].as_bytes()).collect();
    let second = run(
        &memory,
        &format!("Action=DescribeTags&MaxResults=5&NextToken={token}"),
    )
    .unwrap();
    assert_eq!(elements(&second, "key"), ["k6", "k7"]);
    assert!(elements(&second, "nextToken").is_empty());

    let odd = run(
        &memory,
        "Action=DescribeTags&Filter.1.Name=value&Filter.1.Value.1=*%261",
    )
    .unwrap();
    assert_eq!(elements(&odd, "key"), ["k1", "k3", "k5", "k7"]);
    let one = run(
        &memory,
        "Action=DescribeTags&Filter.1.Name=tag:k2&Filter.1.Value.1=v%260",
    )
    .unwrap();
    assert_eq!(elements(&one, "value"), ["v&amp;0"]);

    // With a value only where the value is that, without whatever it is.
    run(
        &memory,
        &format!("Action=DeleteTags&ResourceId.1={id}&Tag.1.Key=k1&Tag.1.Value=other&Tag.2.Key=k2"),
    )
    .unwrap();
    let left = run(&memory, "Action=DescribeTags").unwrap();
    assert_eq!(elements(&left, "key"), ["k1", "k3", "k4", "k5", "k6", "k7"]);
    let nothing = run(
        &memory,
        "Action=CreateTags&ResourceId.1=igw-00000000&Tag.1.Key=k&Tag.1.Value=v",
    )
    .unwrap_err();
    assert_eq!(nothing.code, "InvalidInternetGatewayID.NotFound");
}

#[test]
fn any_image_id_is_described_and_says_what_it_stands_for() {
    let memory = Memory::new();
    let built_in = run(&memory, "Action=DescribeImages&Owner.1=000000000000").unwrap();
    assert_eq!(
        elements(&built_in, "architecture"),
        ["x86_64", "arm64", "x86_64", "arm64"]
    );
    // A machine of one's own is found by its name, and by nobody who looks for Amazon's.
    let machine = "Action=DescribeImages&Filter.1.Name=name&Filter.1.Value.1=atoll-machine-x86*";
    let found = run(&memory, machine).unwrap();
    assert_eq!(elements(&found, "imageId"), ["ami-0a701100000000003"]);
    assert!(elements(&found, "description")[0].starts_with("A machine of your own"));
    let amazons = run(&memory, &format!("{machine}&Owner.1=amazon")).unwrap();
    assert!(elements(&amazons, "imageId").is_empty());
    let other = run(&memory, "Action=DescribeImages&ImageId.1=ami-12345678").unwrap();
    assert_eq!(elements(&other, "imageId"), ["ami-12345678"]);
    let default = elements(&built_in, "imageId")[0];
    assert!(
        elements(&other, "description")[0].contains(&format!("stands for {default}")),
        "{other}"
    );
    assert!(
        elements(
            &run(&memory, "Action=DescribeImages&Owner.1=self").unwrap(),
            "imageId"
        )
        .is_empty()
    );
    let wrong = run(&memory, "Action=DescribeImages&ImageId.1=ami-").unwrap_err();
    assert_eq!(wrong.code, "InvalidAMIID.Malformed");
}

#[test]
fn the_names_that_configurations_look_for_are_found_and_stand_for_the_default_image() {
    let memory = Memory::new();
    let default = atoll_model::image::DEFAULT.id().to_string();
    // Names and filters as the documentation of Terraform, Ansible, the CDK and AWS itself has them.
    for (owner, name, architecture, found) in [
        ("amazon", "al2023-ami-*-x86_64", "x86_64", 3),
        ("amazon", "al2023-ami-2023.*-x86_64", "x86_64", 1),
        ("amazon", "al2023-ami-2023*-kernel-6.1-arm64", "arm64", 1),
        ("137112412989", "amzn2-ami-hvm-*-x86_64-gp2", "x86_64", 1),
        ("amazon", "amzn2-ami-hvm-*-x86_64-ebs", "x86_64", 1),
        ("amazon", "amzn2-ami-kernel-5.10-hvm-*-x86_64-gp2", "x86_64", 1),
        ("amazon", "amzn-ami-vpc-nat-*", "x86_64", 1),
        ("amazon", "amzn2-ami-ecs-hvm-*-x86_64-ebs", "x86_64", 1),
        (
            "099720109477",
            "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*",
            "x86_64",
            1,
        ),
        (
            "099720109477",
            "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-*",
            "x86_64",
            1,
        ),
        (
            "099720109477",
            "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*",
            "x86_64",
            1,
        ),
        (
            "099720109477",
            "ubuntu/images/*ubuntu-noble-24.04-arm64-server-*",
            "arm64",
            1,
        ),
        ("136693071363", "debian-12-amd64-*", "x86_64", 1),
        ("309956199498", "RHEL-9.?.0_HVM-*-x86_64-*", "x86_64", 1),
        ("792107900819", "Rocky-9-EC2-Base-9.*.x86_64", "x86_64", 1),
        ("568608671756", "fck-nat-al2023-*-arm64-ebs", "arm64", 1),
        ("099720109477", "amzn2-ami-hvm-*-x86_64-gp2", "x86_64", 0),
        ("self", "al2023-ami-*-x86_64", "x86_64", 0),
        ("amazon", "Windows_Server-2022-English-Full-Base-*", "x86_64", 0),
    ] {
        let images = run(
            &memory,
            &format!(
                "Action=DescribeImages&Owner.1={owner}&Filter.1.Name=name&Filter.1.Value.1={name}\
                 &Filter.2.Name=virtualization-type&Filter.2.Value.1=hvm\
                 &Filter.3.Name=root-device-type&Filter.3.Value.1=ebs\
                 &Filter.4.Name=architecture&Filter.4.Value.1={architecture}\
                 &Filter.5.Name=state&Filter.5.Value.1=available"
            ),
        )
        .unwrap();
        let ids = elements(&images, "imageId");
        assert_eq!(ids.len(), found, "{name}: {images}");
        for description in elements(&images, "description") {
            assert!(
                description.contains(&format!("stands for {default}")),
                "{description}"
            );
        }
        for id in ids {
            let by_id = run(&memory, &format!("Action=DescribeImages&ImageId.1={id}")).unwrap();
            assert_eq!(elements(&by_id, "architecture"), [architecture]);
        }
    }
}

#[test]
fn instance_types_say_what_they_allow() {
    let memory = Memory::new();
    // semantics 63: m5.large has 3 interfaces of 10 addresses.
    let m5 = run(&memory, "Action=DescribeInstanceTypes&InstanceType.1=m5.large").unwrap();
    assert_eq!(elements(&m5, "maximumNetworkInterfaces"), ["3"]);
    assert_eq!(elements(&m5, "ipv4AddressesPerInterface"), ["10"]);
    let arm = "Action=DescribeInstanceTypes&Filter.1.Name=processor-info.supported-architecture&Filter.1.Value.1=arm64\
               &Filter.2.Name=instance-type&Filter.2.Value.1=t4g.m*";
    assert_eq!(
        elements(&run(&memory, arm).unwrap(), "instanceType"),
        ["t4g.medium", "t4g.micro"]
    );
    let unknown = run(&memory, "Action=DescribeInstanceTypes&InstanceType.1=t3.giant").unwrap_err();
    assert_eq!(
        unknown.message,
        "The following supplied instance types do not exist: [t3.giant]"
    );
}
