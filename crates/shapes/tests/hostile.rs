//! Requests nobody honest sends: refused by name, within bounds, without a panic.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use atoll_shapes::ec2::{CreateSubnetRequest, DescribeVpcsRequest, RunInstancesRequest};
use atoll_shapes::query::{Decode, DecodeError, MAX_DEPTH, MAX_PARAMETERS, Parameters};
use proptest::prelude::*;

fn decode<T: Decode>(body: &str) -> Result<T, DecodeError> {
    Parameters::collect(form_urlencoded::parse(body.as_bytes()))?.decode()
}

#[test]
fn wrong_parameters_are_named() {
    for (body, sentence) in [
        ("VpcId=a&VpcId.1=b", "The parameter VpcId is not recognized"),
        ("VpcId.0=a", "The parameter VpcId.0 is not recognized"),
        ("VpcId.01=a", "The parameter VpcId.01 is not recognized"),
        ("VpcId.99999=a", "The parameter VpcId.99999 is not recognized"),
        (
            "Filter.1.Name.2=a",
            "The parameter Filter.1.Name.2 is not recognized",
        ),
        (
            "Filter.1.Value.1.x=a",
            "The parameter Filter.1.Value.1.x is not recognized",
        ),
        ("Filter.1=a", "The parameter Filter.1 is not recognized"),
        ("Filter.x.Name=a", "The parameter Filter.x.Name is not recognized"),
        ("vpcId.1=a", "The parameter vpcId.1 is not recognized"),
        (".=a", "The parameter . is not recognized"),
        ("=a", "The parameter  is not recognized"),
        ("VpcId..1=a", "The parameter VpcId..1 is not recognized"),
        (
            "DryRun=yes",
            "Value (yes) for parameter DryRun is invalid. Expected true or false.",
        ),
        (
            "MaxResults=1e3",
            "Value (1e3) for parameter MaxResults is invalid. Expected an integer.",
        ),
        (
            "MaxResults=99999999999",
            "Value (99999999999) for parameter MaxResults is invalid. Expected an integer.",
        ),
        (
            "DryRun=true&DryRun=true",
            "The parameter DryRun may only be specified once",
        ),
    ] {
        let error = decode::<DescribeVpcsRequest>(body).unwrap_err();
        assert_eq!(error.to_string(), sentence, "{body}");
    }
    let missing = decode::<CreateSubnetRequest>("CidrBlock=10.0.0.0/24&VpcId=").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "The request must contain the parameter VpcId"
    );
}

#[test]
fn the_number_of_parameters_and_the_depth_of_names_are_bounded() {
    let name = |i: usize| (Cow::from(format!("VpcId.{i}")), Cow::from("vpc-1"));
    let most: DescribeVpcsRequest = Parameters::collect((1..=MAX_PARAMETERS).map(name))
        .unwrap()
        .decode()
        .unwrap();
    assert_eq!(most.vpc_ids.len(), MAX_PARAMETERS);
    assert_eq!(
        Parameters::collect((1..=MAX_PARAMETERS + 1).map(name)),
        Err(DecodeError::TooMany)
    );
    let deep = vec!["a"; MAX_DEPTH + 1].join(".");
    let error = Parameters::collect([(deep.as_str().into(), "".into())]).unwrap_err();
    assert_eq!(error, DecodeError::Unknown { parameter: deep });
    let long = "é".repeat(100_000);
    let error = Parameters::collect([(long.as_str().into(), "".into())]).unwrap_err();
    assert!(error.to_string().len() < 400);
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "Filter", "Name", "Value", "NetworkInterface", "TagSpecification", "Tag", "Key", "DryRun", "MinCount",
            "1", "2", "0", "-1", "65536", "BlockDeviceMapping", "Ebs", "ValidUntil", "InstanceMarketOptions",
            "SpotOptions", "VpcId",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ]
}

proptest! {
    #[test]
    fn any_body_is_judged(body in "\\PC*") {
        _ = decode::<RunInstancesRequest>(&body);
    }

    #[test]
    fn any_tree_is_judged_and_an_accepted_one_was_read_whole(
        pairs in prop::collection::vec((prop::collection::vec(part(), 1..8), "[a-z0-9:TZ-]{0,6}"), 0..20),
    ) {
        let pairs: Vec<_> = pairs.into_iter().map(|(parts, value)| (parts.join("."), value)).collect();
        let collected = Parameters::collect(pairs.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())));
        if let Ok(tree) = collected {
            _ = tree.clone().decode::<RunInstancesRequest>();
            if let Ok(request) = tree.decode::<DescribeVpcsRequest>() {
                let read = usize::from(request.dry_run.is_some())
                    + request.vpc_ids.len()
                    + request.filters.iter().map(|f| usize::from(f.name.is_some()) + f.values.len()).sum::<usize>();
                prop_assert_eq!(read, pairs.len());
            }
        }
    }
}
