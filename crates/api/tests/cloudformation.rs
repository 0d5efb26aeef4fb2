//! Stacks over the query protocol.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use atoll_api::dispatch::Table;
use atoll_api::wire::Query;
use atoll_api::{ApiError, Backend};
use atoll_model::RegionName;
use atoll_shapes::Service;
use support::{Memory, call, elements};

const TEMPLATE: &str = "
Description: A VPC
Parameters:
  Block: {Type: String, Default: 10.0.0.0/16}
  Secret: {Type: String, NoEcho: true, Default: hidden}
Resources:
  Vpc: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !Ref Block}}
  Gateway: {Type: 'AWS::EC2::InternetGateway'}
Outputs:
  VpcId: {Value: !Ref Vpc, Export: {Name: the-vpc}}
";

fn run(memory: &Arc<Memory>, action: &str, parameters: &[(&str, &str)]) -> Result<String, ApiError> {
    let mut query = form_urlencoded::Serializer::new(format!("Action={action}&Version=2010-05-15"));
    query.extend_pairs(parameters);
    let Query {
        action, parameters, ..
    } = Query::parse(&query.finish(), b"").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let table = Table::all();
    let call = call(memory);
    runtime.block_on(table.run(Service::CloudFormation, &action.unwrap(), call, parameters))
}

/// Takes every step there is, as the daemon does.
fn settle(memory: &Arc<Memory>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    loop {
        let region = memory.snapshot(RegionName::DEFAULT).unwrap();
        let stacks = atoll_stack::in_progress(&region);
        let steps: Vec<_> = stacks
            .iter()
            .flat_map(|(_, id)| atoll_stack::steps(&region, *id, memory.now()))
            .collect();
        if steps.is_empty() {
            return;
        }
        for step in steps {
            runtime.block_on(call(memory).submit(step)).unwrap();
        }
    }
}

#[test]
fn a_stack_is_made_described_and_deleted() {
    let memory = Memory::new();
    let created = run(
        &memory,
        "CreateStack",
        &[
            ("StackName", "net"),
            ("TemplateBody", TEMPLATE),
            ("Parameters.member.1.ParameterKey", "Block"),
            ("Parameters.member.1.ParameterValue", "10.7.0.0/16"),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", "edge"),
        ],
    )
    .unwrap();
    let arn = elements(&created, "StackId")[0].to_owned();
    assert!(
        arn.starts_with("arn:aws:cloudformation:us-east-1:123456789012:stack/net/"),
        "{arn}"
    );
    let stacks = run(&memory, "DescribeStacks", &[]).unwrap();
    assert_eq!(elements(&stacks, "StackStatus"), ["CREATE_IN_PROGRESS"]);
    settle(&memory);
    let stack = run(&memory, "DescribeStacks", &[("StackName", "net")]).unwrap();
    assert_eq!(elements(&stack, "StackStatus"), ["CREATE_COMPLETE"]);
    assert_eq!(elements(&stack, "StackId"), [arn.as_str()]);
    assert_eq!(elements(&stack, "Description")[0], "A VPC");
    assert_eq!(elements(&stack, "ParameterValue"), ["10.7.0.0/16", "****"]);
    assert_eq!(elements(&stack, "ExportName"), ["the-vpc"]);
    assert_eq!(elements(&stack, "Value"), ["edge"]);
    let vpc = elements(&stack, "OutputValue")[0].to_owned();
    assert!(vpc.starts_with("vpc-"), "{vpc}");

    let resources = run(&memory, "DescribeStackResources", &[("StackName", "net")]).unwrap();
    assert_eq!(elements(&resources, "LogicalResourceId"), ["Gateway", "Vpc"]);
    let same = run(&memory, "DescribeStackResources", &[("PhysicalResourceId", &vpc)]).unwrap();
    assert_eq!(same, resources);
    let one = [("StackName", "net"), ("LogicalResourceId", "Vpc")];
    let one = run(&memory, "DescribeStackResources", &one).unwrap();
    assert_eq!(elements(&one, "PhysicalResourceId"), [vpc.as_str()]);

    let events = run(&memory, "DescribeStackEvents", &[("StackName", &arn)]).unwrap();
    let (ids, statuses) = (
        elements(&events, "LogicalResourceId"),
        elements(&events, "ResourceStatus"),
    );
    assert_eq!((ids[0], statuses[0]), ("net", "CREATE_COMPLETE"));
    assert_eq!(
        elements(&events, "ResourceStatusReason").last().unwrap(),
        &"User Initiated"
    );

    run(&memory, "DeleteStack", &[("StackName", "net")]).unwrap();
    settle(&memory);
    let none = run(&memory, "DescribeStacks", &[]).unwrap();
    assert!(elements(&none, "StackStatus").is_empty());
    let gone = run(&memory, "DescribeStacks", &[("StackName", &arn)]).unwrap();
    assert_eq!(elements(&gone, "StackStatus"), ["DELETE_COMPLETE"]);
    assert_eq!(elements(&gone, "DeletionTime").len(), 1);
}

#[test]
fn requests_are_refused_with_cloudformations_codes() {
    let memory = Memory::new();
    let refused = |action: &str, parameters: &[(&str, &str)]| {
        let e = run(&memory, action, parameters).unwrap_err();
        (e.code.to_string(), e.message)
    };
    let validation = |message: &str| ("ValidationError".to_owned(), message.to_owned());
    assert_eq!(
        refused("DescribeStacks", &[("StackName", "nobody")]),
        validation("Stack with id nobody does not exist")
    );
    assert_eq!(
        refused("CreateStack", &[("StackName", "a")]),
        validation("Either Template URL or Template Body must be specified.")
    );
    let body = ("TemplateBody", TEMPLATE);
    let name = ("StackName", "a");
    assert_eq!(
        refused(
            "CreateStack",
            &[
                name,
                ("TemplateBody", "Resources: {X: {Type: 'AWS::S3::Bucket'}}")
            ]
        ),
        validation("Template format error: Unrecognized resource types: [AWS::S3::Bucket]")
    );
    assert_eq!(
        refused(
            "CreateStack",
            &[name, body, ("OnFailure", "DELETE"), ("DisableRollback", "true")]
        ),
        validation("You can specify either DisableRollback or OnFailure, but not both.")
    );
    let (code, message) = refused(
        "CreateStack",
        &[name, body, ("RoleARN", "arn:aws:iam::123456789012:role/x")],
    );
    assert_eq!(code, "UnsupportedOperation");
    assert!(message.contains("RoleARN"), "{message}");
    run(&memory, "CreateStack", &[name, body]).unwrap();
    assert_eq!(
        refused("CreateStack", &[name, body]),
        (
            "AlreadyExistsException".to_owned(),
            "Stack [a] already exists".to_owned()
        )
    );
    run(&memory, "DeleteStack", &[("StackName", "nobody")]).unwrap();
}

#[test]
fn events_come_in_pages_the_latest_first() {
    let memory = Memory::new();
    let gateways: String = (0..40)
        .map(|n| format!("  G{n}: {{Type: 'AWS::EC2::InternetGateway'}}\n"))
        .collect();
    let template = format!("Resources:\n{gateways}");
    run(
        &memory,
        "CreateStack",
        &[("StackName", "a"), ("TemplateBody", &template)],
    )
    .unwrap();
    settle(&memory);
    let mut ids: Vec<String> = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut parameters = vec![("StackName", "a")];
        if let Some(token) = &token {
            parameters.push(("NextToken", token));
        }
        let page = run(&memory, "DescribeStackEvents", &parameters).unwrap();
        let found = elements(&page, "EventId");
        assert!(found.len() <= 100);
        ids.extend(
            found
                .into_iter()
                .map(|id| id.rsplit('-').next().unwrap().to_owned()),
        );
        token = elements(&page, "NextToken")
            .first()
            .map(|token| (*token).to_owned());
        if token.is_none() {
            break;
        }
    }
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.reverse();
    sorted.dedup();
    assert_eq!(ids, sorted);
    assert_eq!(ids.len(), 2 + 3 * 40);
}
