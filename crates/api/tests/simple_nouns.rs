//! Operations that read what is built in, and tags.
#![allow(clippy::unwrap_used)]

mod support;

use atoll_model::{InternetGateway, InternetGatewayId};
use atoll_region::{Error, Transaction};
use support::{Memory, call, elements, run};

#[test]
fn tags_are_set_listed_by_filter_in_pages_and_taken_off() {
    let memory = Memory::new();
    let gateway = |tx: &mut Transaction| {
        let id = tx.fresh_id::<InternetGateway>();
        tx.put(InternetGateway {
            id,
            owner: tx.account(),
            vpc: None,
            tags: Default::default(),
        });
        Ok::<InternetGatewayId, Error>(id)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let id = runtime.block_on(call(&memory).submit(gateway)).unwrap();
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
    let built_in = run(&memory, "Action=DescribeImages&Owner.1=amazon").unwrap();
    assert_eq!(elements(&built_in, "architecture"), ["x86_64", "arm64"]);
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
