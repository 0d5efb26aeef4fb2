//! What a real client's serializer sends is read whole. `clients.txt` holds bodies that botocore
//! made (`capture.py`): each operation with every parameter, and with the required ones alone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use atoll_shapes::query::{DecodeError, Parameters};
use atoll_shapes::{Request, cloudformation, ec2, sts};

const BODIES: &str = include_str!("clients.txt");

/// Reads the parameters as the request of `R`, and again with each of them misspelt.
fn read<R: Request>(parameters: &[(String, String)]) -> R {
    let tree = |pairs: &[(String, String)]| {
        Parameters::collect(pairs.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into()))).unwrap()
    };
    for wrong in 0..parameters.len() {
        let mut parameters = parameters.to_vec();
        parameters[wrong].0.push('x');
        let error = tree(&parameters).decode::<R>().unwrap_err();
        let known = matches!(
            &error,
            DecodeError::Unknown { parameter } if *parameter == parameters[wrong].0
        ) || matches!(error, DecodeError::Missing { .. });
        assert!(known, "{}: {error} for {}", R::ACTION, parameters[wrong].0);
    }
    tree(parameters)
        .decode()
        .unwrap_or_else(|error| panic!("{}: {error}", R::ACTION))
}

macro_rules! operations {
    ($($request:ty),* $(,)?) => {
        fn read_any(action: &str, parameters: &[(String, String)]) {
            $(if action == <$request>::ACTION {
                read::<$request>(parameters);
                return;
            })*
            panic!("no request type is tried for {action}");
        }
    };
}

operations!(
    ec2::CreateVpcRequest,
    ec2::DeleteVpcRequest,
    ec2::DescribeVpcsRequest,
    ec2::ModifyVpcAttributeRequest,
    ec2::DescribeVpcAttributeRequest,
    ec2::AssociateVpcCidrBlockRequest,
    ec2::DisassociateVpcCidrBlockRequest,
    ec2::CreateDefaultVpcRequest,
    ec2::CreateSubnetRequest,
    ec2::DeleteSubnetRequest,
    ec2::DescribeSubnetsRequest,
    ec2::ModifySubnetAttributeRequest,
    ec2::AssociateSubnetCidrBlockRequest,
    ec2::DisassociateSubnetCidrBlockRequest,
    ec2::CreateRouteTableRequest,
    ec2::DeleteRouteTableRequest,
    ec2::DescribeRouteTablesRequest,
    ec2::AssociateRouteTableRequest,
    ec2::DisassociateRouteTableRequest,
    ec2::ReplaceRouteTableAssociationRequest,
    ec2::CreateRouteRequest,
    ec2::ReplaceRouteRequest,
    ec2::DeleteRouteRequest,
    ec2::CreateInternetGatewayRequest,
    ec2::DeleteInternetGatewayRequest,
    ec2::DescribeInternetGatewaysRequest,
    ec2::AttachInternetGatewayRequest,
    ec2::DetachInternetGatewayRequest,
    ec2::CreateEgressOnlyInternetGatewayRequest,
    ec2::DeleteEgressOnlyInternetGatewayRequest,
    ec2::DescribeEgressOnlyInternetGatewaysRequest,
    ec2::CreateNatGatewayRequest,
    ec2::DeleteNatGatewayRequest,
    ec2::DescribeNatGatewaysRequest,
    ec2::AllocateAddressRequest,
    ec2::AssociateAddressRequest,
    ec2::DisassociateAddressRequest,
    ec2::ReleaseAddressRequest,
    ec2::DescribeAddressesRequest,
    ec2::CreateNetworkAclRequest,
    ec2::DeleteNetworkAclRequest,
    ec2::DescribeNetworkAclsRequest,
    ec2::CreateNetworkAclEntryRequest,
    ec2::ReplaceNetworkAclEntryRequest,
    ec2::DeleteNetworkAclEntryRequest,
    ec2::ReplaceNetworkAclAssociationRequest,
    ec2::CreateSecurityGroupRequest,
    ec2::DeleteSecurityGroupRequest,
    ec2::DescribeSecurityGroupsRequest,
    ec2::DescribeSecurityGroupRulesRequest,
    ec2::ModifySecurityGroupRulesRequest,
    ec2::AuthorizeSecurityGroupIngressRequest,
    ec2::AuthorizeSecurityGroupEgressRequest,
    ec2::RevokeSecurityGroupIngressRequest,
    ec2::RevokeSecurityGroupEgressRequest,
    ec2::CreateNetworkInterfaceRequest,
    ec2::DeleteNetworkInterfaceRequest,
    ec2::DescribeNetworkInterfacesRequest,
    ec2::AttachNetworkInterfaceRequest,
    ec2::DetachNetworkInterfaceRequest,
    ec2::ModifyNetworkInterfaceAttributeRequest,
    ec2::DescribeNetworkInterfaceAttributeRequest,
    ec2::ResetNetworkInterfaceAttributeRequest,
    ec2::AssignPrivateIpAddressesRequest,
    ec2::UnassignPrivateIpAddressesRequest,
    ec2::AssignIpv6AddressesRequest,
    ec2::UnassignIpv6AddressesRequest,
    ec2::RunInstancesRequest,
    ec2::DescribeInstancesRequest,
    ec2::DescribeInstanceStatusRequest,
    ec2::StartInstancesRequest,
    ec2::StopInstancesRequest,
    ec2::RebootInstancesRequest,
    ec2::TerminateInstancesRequest,
    ec2::ModifyInstanceAttributeRequest,
    ec2::DescribeInstanceAttributeRequest,
    ec2::GetConsoleOutputRequest,
    ec2::DescribeInstanceTypesRequest,
    ec2::DescribeImagesRequest,
    ec2::CreateTagsRequest,
    ec2::DeleteTagsRequest,
    ec2::DescribeTagsRequest,
    ec2::DescribeRegionsRequest,
    ec2::DescribeAvailabilityZonesRequest,
    ec2::DescribeAccountAttributesRequest,
    sts::GetCallerIdentityRequest,
    cloudformation::CreateStackInput,
    cloudformation::DescribeStacksInput,
    cloudformation::DescribeStackEventsInput,
    cloudformation::DescribeStackResourcesInput,
    cloudformation::DeleteStackInput,
);

/// A body as `Action` and its parameters.
fn split(body: &str) -> (String, Vec<(String, String)>) {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let action = pairs.iter().find(|(name, _)| name == "Action").unwrap().1.clone();
    pairs.retain(|(name, _)| name != "Action" && name != "Version");
    (action, pairs)
}

#[test]
fn every_parameter_of_every_operation_is_read_and_every_other_refused() {
    let mut actions = BTreeSet::new();
    for body in BODIES.lines() {
        let (action, parameters) = split(body);
        read_any(&action, &parameters);
        actions.insert(action);
    }
    let listed: BTreeSet<String> = include_str!("../operations.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, names)| names.split_whitespace().map(str::to_owned))
        .collect();
    assert_eq!(actions, listed);
}

#[test]
fn values_arrive_where_the_client_put_them() {
    let (_, parameters) = split(
        "Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=3&SecurityGroupId.1=sg-a\
         &SecurityGroupId.2=sg-b&NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SecurityGroupId.1=sg-c\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a%26b\
         &DryRun=TRUE",
    );
    let request: ec2::RunInstancesRequest = read(&parameters);
    assert_eq!((request.min_count, request.max_count), (1, 3));
    assert_eq!(request.security_group_ids, ["sg-a", "sg-b"]);
    assert_eq!(request.network_interfaces[0].groups, ["sg-c"]);
    assert_eq!(
        request.tag_specifications[0].tags[0].value.as_deref(),
        Some("a&b")
    );
    assert!(request.dry_run());
}

#[test]
fn lists_of_the_query_protocol_have_members_and_may_be_empty() {
    let (_, parameters) = split(
        "Action=CreateStack&StackName=s&Parameters.member.2.ParameterKey=b&Parameters.member.1.ParameterKey=a&Capabilities=&Tags.member.1.Key=k&Tags.member.1.Value=",
    );
    let request: cloudformation::CreateStackInput = read(&parameters);
    let keys: Vec<_> = request
        .parameters
        .iter()
        .map(|p| p.parameter_key.as_deref().unwrap())
        .collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(
        request.tags,
        [cloudformation::Tag {
            key: "k".into(),
            value: String::new()
        }]
    );
    assert!(request.capabilities.is_empty());
}

#[test]
fn an_answer_is_written_as_aws_writes_it() {
    let vpc = ec2::Vpc {
        vpc_id: Some("vpc-1".into()),
        is_default: Some(false),
        tags: vec![ec2::Tag {
            key: Some("Name".into()),
            value: Some("<a>".into()),
        }],
        ..Default::default()
    };
    let answer = ec2::DescribeVpcsResult {
        next_token: None,
        vpcs: vec![vpc],
    };
    assert_eq!(
        ec2::DescribeVpcsRequest::document(&answer, "id"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id</requestId>\
         <vpcSet><item><cidrBlockAssociationSet/><isDefault>false</isDefault><tagSet><item><key>Name</key>\
         <value>&lt;a&gt;</value></item></tagSet><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>"
    );
    let answer = sts::GetCallerIdentityResponse {
        account: Some("123456789012".into()),
        ..Default::default()
    };
    assert_eq!(
        sts::GetCallerIdentityRequest::document(&answer, "id"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>id</RequestId>\
         </ResponseMetadata></GetCallerIdentityResponse>"
    );
    assert_eq!(
        cloudformation::DeleteStackInput::document(&cloudformation::DeleteStackResult::default(), "id"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DeleteStackResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><ResponseMetadata>\
         <RequestId>id</RequestId></ResponseMetadata></DeleteStackResponse>"
    );
}
