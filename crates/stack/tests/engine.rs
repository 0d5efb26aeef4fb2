//! Stacks, stepped in one thread: made in order, rolled back, deleted, interrupted.

#![allow(clippy::unwrap_used)]

#[path = "common/lab.rs"]
mod lab;

use atoll_model::stack::{OnFailure, ResourceStatus, StackStatus, StackTemplate};
use atoll_model::{ElasticIp, Instance, NatGateway, Row, Subnet, Vpc};
use atoll_stack::{Action, CreateStack, DeleteStack, Planner, find, next_deadline, steps};
use lab::{Lab, create};

const WORDPRESS: &str = include_str!("data/wordpress.yaml");
const PASSWORD: (&str, &str) = ("DatabasePassword", "correcthorse");
const TWO_TIER: &str = include_str!("../../../examples/two-tier.yaml");
const CDK: &[(&str, &str)] = &[
    ("default vpc", include_str!("data/cdk_default_vpc.json")),
    ("isolated subnets", include_str!("data/cdk_isolated_subnets.json")),
    (
        "without nat gateways",
        include_str!("data/cdk_without_nat_gateways.json"),
    ),
    ("dual stack", include_str!("data/cdk_dual_stack.json")),
    (
        "restricted default group",
        include_str!("data/cdk_restricted_default_group.json"),
    ),
    ("nat instance", include_str!("data/cdk_nat_instance.json")),
    (
        "instance and flow logs",
        include_str!("data/cdk_instance_and_flow_logs.json"),
    ),
];

#[test]
fn a_two_tier_stack_is_made_and_deleted() {
    let mut lab = Lab::new();
    let id = lab.deploy(WORDPRESS, &[PASSWORD]);
    let stack = lab.stack(id);
    let vpc = &lab.all::<Vpc>()[0];
    assert!(vpc.enable_dns_hostnames);
    assert_eq!(vpc.tags["Name"], "test-vpc");
    assert_eq!(vpc.tags["aws:cloudformation:stack-name"], "test");
    assert_eq!(vpc.tags["aws:cloudformation:logical-id"], "Vpc");
    assert_eq!(vpc.tags["aws:cloudformation:stack-id"], stack.arn());
    let blocks: Vec<String> = lab
        .all::<Subnet>()
        .iter()
        .map(|s| s.cidr.unwrap().to_string())
        .collect();
    assert!(blocks.contains(&"10.20.1.0/24".to_owned()), "{blocks:?}");
    assert_eq!(
        lab.all::<NatGateway>()[0].addresses[0].public,
        Some(lab.all::<ElasticIp>()[0].public)
    );
    let web = lab.physical(id, "WebA").parse().unwrap();
    let public = lab.region.enis_of(web)[0].private_addresses[0].public.unwrap().ip;
    assert_eq!(stack.outputs.len(), 1);
    assert_eq!(stack.outputs[0].value, format!("http://{public}/"));
    assert_eq!(stack.outputs[0].export.as_deref(), Some("test-url"));
    assert!(
        stack
            .parameters
            .iter()
            .any(|p| p.key == "DatabasePassword" && p.no_echo)
    );
    let data = lab
        .region
        .get::<Instance>(web)
        .unwrap()
        .user_data
        .clone()
        .unwrap();
    assert!(
        String::from_utf8(data)
            .unwrap()
            .starts_with("#!/bin/bash\necho \"database=10.20.2.")
    );

    let events = lab.events(id);
    assert_eq!(events[0], "test CREATE_IN_PROGRESS: User Initiated");
    assert_eq!(events.last().unwrap(), "test CREATE_COMPLETE");
    let at = |text: &str| {
        events
            .iter()
            .position(|event| event == text)
            .unwrap_or_else(|| panic!("{text}: {events:#?}"))
    };
    assert!(at("Attachment CREATE_COMPLETE") < at("ToInternet CREATE_IN_PROGRESS"));
    assert!(at("Nat CREATE_COMPLETE") < at("ThroughNat CREATE_IN_PROGRESS"));
    assert!(at("Database CREATE_COMPLETE") < at("WebA CREATE_IN_PROGRESS"));

    lab.delete(id);
    lab.ends(id, StackStatus::DeleteComplete);
    assert_eq!(lab.left(), []);
    assert!(lab.region.get::<StackTemplate>(id).is_none());
    // It is found by its ARN still, and no longer by its name.
    let account = stack.owner;
    assert!(find(&lab.region, account, &stack.arn()).is_ok());
    assert_eq!(
        find(&lab.region, account, "test").unwrap_err().message,
        "Stack with id test does not exist"
    );
}

#[test]
fn what_the_cdk_synthesizes_is_made_and_deleted() {
    for (name, template) in CDK {
        let mut lab = Lab::new();
        let id = lab.deploy(template, &[]);
        lab.delete(id);
        assert_eq!(
            lab.stack(id).status,
            StackStatus::DeleteComplete,
            "{name}: {:#?}",
            lab.events(id)
        );
        assert_eq!(lab.left(), [], "{name}");
    }
}

#[test]
fn the_example_is_made_and_deleted() {
    let mut lab = Lab::new();
    let id = lab.deploy(TWO_TIER, &[]);
    lab.delete(id);
    lab.ends(id, StackStatus::DeleteComplete);
    assert_eq!(lab.left(), []);
}

#[test]
fn an_interruption_at_any_step_changes_nothing() {
    for (template, parameters) in [(WORDPRESS, &[PASSWORD][..]), (CDK[3].1, &[]), (TWO_TIER, &[])] {
        let mut calm = Lab::new();
        let mut crashing = Lab::new();
        crashing.crashing = true;
        let mut planning = Lab::new();
        planning.planner = Some(Planner::default());
        let id = calm.deploy(template, parameters);
        assert_eq!(crashing.deploy(template, parameters), id);
        let rows = |lab: &Lab| lab.region.rows().collect::<Vec<Row>>();
        assert!(rows(&calm) == rows(&crashing), "made otherwise");
        assert_eq!(planning.deploy(template, parameters), id);
        assert!(
            rows(&calm) == rows(&planning),
            "made otherwise with plans that are kept"
        );
        calm.delete(id);
        crashing.delete(id);
        planning.delete(id);
        assert!(rows(&calm) == rows(&planning), "deleted otherwise");
        assert!(rows(&calm) == rows(&crashing), "deleted otherwise");
    }
}

#[test]
fn a_step_that_was_taken_is_not_taken_again() {
    let mut lab = Lab::new();
    let id = lab.create(WORDPRESS, &[PASSWORD]);
    let first = steps(&lab.region, id, lab.now);
    for step in first.iter().chain(&first) {
        lab.run(step.clone());
    }
    assert_eq!(lab.all::<Vpc>().len(), 1);
}

#[test]
fn what_is_independent_is_ready_together() {
    let mut lab = Lab::new();
    let id = lab.create(WORDPRESS, &[PASSWORD]);
    let ready = |lab: &Lab| -> Vec<String> {
        let actions = steps(&lab.region, id, lab.now)
            .into_iter()
            .map(|step| step.action);
        actions
            .map(|action| {
                if let Action::Make(id) = action {
                    id
                } else {
                    format!("{action:?}")
                }
            })
            .collect()
    };
    assert_eq!(ready(&lab), ["Gateway", "Vpc"]);
    lab.step(id);
    assert_eq!(
        ready(&lab),
        [
            "Attachment",
            "DatabaseGroup",
            "Private",
            "PrivateRoutes",
            "PublicA",
            "PublicB",
            "PublicRoutes",
            "WebGroup"
        ]
    );
    // Two gateways of one template become available at the same time.
    let mut lab = Lab::new();
    lab.host = false;
    let id = lab.create(CDK[0].1, &[]);
    lab.settle(id);
    let pending = |lab: &Lab| {
        lab.stack(id)
            .resources
            .values()
            .filter(|r| r.status == ResourceStatus::CreateInProgress)
            .count()
    };
    assert_eq!(pending(&lab), 2);
    assert_eq!(lab.stack(id).status, StackStatus::CreateInProgress);
    lab.host = true;
    lab.settle(id);
    assert_eq!(lab.stack(id).status, StackStatus::CreateComplete);
}

const OVERLAP: &str = "
Resources:
  V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}
  A: {Type: 'AWS::EC2::Subnet', Properties: {VpcId: !Ref V, CidrBlock: 10.0.1.0/24}}
  B: {Type: 'AWS::EC2::Subnet', DependsOn: A, Properties: {VpcId: !Ref V, CidrBlock: 10.0.1.128/25}}
";

#[test]
fn a_failure_names_resource_property_and_reason_and_is_rolled_back() {
    let mut lab = Lab::new();
    let id = lab.create(OVERLAP, &[]);
    lab.settle(id);
    let events = lab.events(id);
    let failed = events
        .iter()
        .find(|event| event.starts_with("B CREATE_FAILED"))
        .unwrap();
    assert!(
        failed.contains("Property CidrBlock: The CIDR '10.0.1.128/25' conflicts with another subnet"),
        "{failed}"
    );
    assert!(failed.contains("InvalidSubnet.Conflict"), "{failed}");
    let rollback = "test ROLLBACK_IN_PROGRESS: The following resource(s) failed to create: [B]. Rollback requested by user.";
    let tail: Vec<&str> = events
        .iter()
        .map(String::as_str)
        .skip_while(|event| *event != rollback)
        .collect();
    assert_eq!(
        tail,
        [
            rollback,
            "B DELETE_IN_PROGRESS",
            "B DELETE_COMPLETE",
            "A DELETE_IN_PROGRESS",
            "A DELETE_COMPLETE",
            "V DELETE_IN_PROGRESS",
            "V DELETE_COMPLETE",
            "test ROLLBACK_COMPLETE"
        ]
    );
    assert_eq!(lab.left(), []);
    // The name is taken until the rest is deleted.
    assert_eq!(
        lab.try_run(create("test", OVERLAP, &[])).unwrap_err().code,
        "AlreadyExistsException"
    );
    lab.delete(id);
    assert_eq!(lab.stack(id).status, StackStatus::DeleteComplete);
    lab.create(OVERLAP, &[]);
}

#[test]
fn what_follows_a_failure_is_the_callers_choice() {
    for (on_failure, status, left) in [
        (OnFailure::DoNothing, StackStatus::CreateFailed, 2),
        (OnFailure::Delete, StackStatus::DeleteComplete, 0),
        (OnFailure::Rollback, StackStatus::RollbackComplete, 0),
    ] {
        let mut lab = Lab::new();
        let id = lab.run(CreateStack {
            on_failure,
            ..create("test", OVERLAP, &[])
        });
        lab.settle(id);
        assert_eq!(lab.stack(id).status, status);
        let nouns = lab
            .left()
            .into_iter()
            .filter(|key| matches!(key, atoll_model::Key::Vpc(_) | atoll_model::Key::Subnet(_)));
        assert_eq!(nouns.count(), left);
        if left > 0 {
            lab.delete(id);
            assert_eq!(lab.left(), []);
        }
    }
}

#[test]
fn a_stack_too_slow_is_given_up() {
    let mut lab = Lab::new();
    lab.host = false;
    let id = lab.run(CreateStack {
        timeout_minutes: Some(10),
        ..create("test", CDK[0].1, &[])
    });
    lab.settle(id);
    assert_eq!(next_deadline(&lab.region, id), Some(lab.now.plus_millis(600_000)));
    lab.now = lab.now.plus_millis(600_000);
    lab.host = true;
    lab.step(id);
    assert_eq!(lab.stack(id).status, StackStatus::RollbackInProgress);
    lab.settle(id);
    lab.ends(id, StackStatus::RollbackComplete);
    let events = lab.events(id);
    assert!(
        events
            .iter()
            .any(|event| event.ends_with("CREATE_FAILED: Resource creation cancelled")),
        "{events:#?}"
    );
    assert_eq!(lab.left(), []);
}

#[test]
fn deletion_during_creation_cancels_it() {
    let mut lab = Lab::new();
    lab.host = false;
    let id = lab.create(WORDPRESS, &[PASSWORD]);
    lab.settle(id);
    lab.host = true;
    lab.delete(id);
    lab.ends(id, StackStatus::DeleteComplete);
    assert_eq!(lab.left(), []);
}

#[test]
fn deletion_policies_are_kept() {
    let template = |fails: bool| {
        format!(
            "
Resources:
  V: {{Type: 'AWS::EC2::VPC', DeletionPolicy: Retain, Properties: {{CidrBlock: 10.0.0.0/16}}}}
  S: {{Type: 'AWS::EC2::Subnet', DeletionPolicy: RetainExceptOnCreate, Properties: {{VpcId: !Ref V, CidrBlock: 10.0.1.0/24}}}}
  T: {{Type: 'AWS::EC2::Subnet', DependsOn: S, Properties: {{VpcId: !Ref V, CidrBlock: 10.{}.2.0/24}}}}
",
            u8::from(fails)
        )
    };
    let mut lab = Lab::new();
    let id = lab.deploy(&template(false), &[]);
    lab.delete(id);
    let statuses = |lab: &Lab| -> Vec<&'static str> {
        lab.stack(id_of(lab))
            .resources
            .values()
            .map(|r| r.status.as_str())
            .collect()
    };
    assert_eq!(lab.stack(id).status, StackStatus::DeleteComplete);
    assert_eq!(
        statuses(&lab),
        ["DELETE_SKIPPED", "DELETE_COMPLETE", "DELETE_SKIPPED"]
    );
    assert_eq!(lab.all::<Subnet>().len(), 1);

    let mut lab = Lab::new();
    let id = lab.create(&template(true), &[]);
    lab.settle(id);
    assert_eq!(lab.stack(id).status, StackStatus::RollbackComplete);
    assert_eq!(
        statuses(&lab),
        ["DELETE_COMPLETE", "DELETE_COMPLETE", "DELETE_SKIPPED"]
    );
    assert_eq!(lab.all::<Subnet>().len(), 0);
    assert_eq!(lab.all::<Vpc>().len(), 1);
}

fn id_of(lab: &Lab) -> atoll_model::StackId {
    lab.all::<atoll_model::Stack>()[0].id
}

#[test]
fn what_stands_in_the_way_of_a_deletion_is_named_and_may_be_retained() {
    let template = "
Resources:
  V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}
  G: {Type: 'AWS::EC2::SecurityGroup', Properties: {VpcId: !Ref V, GroupDescription: x}}
";
    let mut lab = Lab::new();
    let id = lab.deploy(template, &[]);
    let vpc: atoll_model::VpcId = lab.physical(id, "V").parse().unwrap();
    // Somebody makes a subnet in the stack's VPC by hand.
    let subnet = lab.run(atoll_region::subnet::NewSubnet {
        vpc,
        zone: None,
        cidr: Some("10.0.9.0/24".parse().unwrap()),
        ipv6_cidr: None,
        ipv6_native: false,
        tags: Default::default(),
    });
    lab.delete(id);
    let stack = lab.stack(id);
    assert_eq!(stack.status, StackStatus::DeleteFailed);
    assert_eq!(
        stack.status_reason.as_deref(),
        Some("The following resource(s) failed to delete: [V].")
    );
    assert!(
        stack.resources["V"]
            .reason
            .as_deref()
            .unwrap()
            .contains("DependencyViolation")
    );
    assert_eq!(stack.resources["G"].status, ResourceStatus::DeleteComplete);
    let again = DeleteStack {
        stack: "test".to_owned(),
        retain: vec!["V".to_owned()],
    };
    let mut retained = Lab {
        region: lab.region.clone(),
        ..Lab::new()
    };
    retained.run(again);
    retained.settle(id);
    assert_eq!(retained.stack(id).status, StackStatus::DeleteComplete);
    assert_eq!(retained.all::<Vpc>().len(), 1);
    // Or it is taken away, and the deletion tried again.
    lab.run(atoll_region::subnet::DeleteSubnet { subnet });
    lab.delete(id);
    assert_eq!(lab.stack(id).status, StackStatus::DeleteComplete);
    assert_eq!(lab.left(), []);
}

#[test]
fn what_is_gone_already_is_deleted() {
    let mut lab = Lab::new();
    let id = lab.deploy(OVERLAP.split("  B:").next().unwrap(), &[]);
    let subnet = lab.physical(id, "A").parse().unwrap();
    lab.run(atoll_region::subnet::DeleteSubnet { subnet });
    lab.delete(id);
    lab.ends(id, StackStatus::DeleteComplete);
}

#[test]
fn exports_are_shared_and_kept_while_they_are_used() {
    let exporter = "Resources: {V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}}\nOutputs: {V: {Value: !Ref V, Export: {Name: shared}}}";
    let importer = "Resources: {S: {Type: 'AWS::EC2::Subnet', Properties: {VpcId: !ImportValue shared, CidrBlock: 10.0.1.0/24}}}";
    let mut lab = Lab::new();
    assert_eq!(
        lab.try_run(create("user", importer, &[])).unwrap_err().message,
        "No export named shared found."
    );
    let shared = lab.deploy(exporter, &[]);
    let e = lab.try_run(create("other", exporter, &[])).unwrap_err();
    assert_eq!(
        e.message,
        "Export with name shared is already exported by stack test"
    );
    let user = lab.run(create("user", importer, &[]));
    lab.settle(user);
    assert_eq!(lab.stack(user).status, StackStatus::CreateComplete);
    let e = lab
        .try_run(DeleteStack {
            stack: "test".to_owned(),
            retain: Vec::new(),
        })
        .unwrap_err();
    assert_eq!(
        e.message,
        "Export shared cannot be deleted as it is in use by user"
    );
    lab.delete(user);
    lab.delete(shared);
    assert_eq!(lab.left(), []);
}

#[test]
fn requests_are_refused_in_cloudformations_words() {
    let mut lab = Lab::new();
    let refused = |lab: &mut Lab, command: CreateStack| {
        let e = lab.try_run(command).unwrap_err();
        (e.code, e.message)
    };
    let (code, message) = refused(&mut lab, create("1st", OVERLAP, &[]));
    assert_eq!(code, "ValidationError");
    assert!(message.contains("pattern: [a-zA-Z][-a-zA-Z0-9]*"), "{message}");
    let (code, message) = refused(
        &mut lab,
        CreateStack {
            capabilities: Vec::new(),
            ..create("test", CDK[4].1, &[])
        },
    );
    assert_eq!(
        (code, message.as_str()),
        (
            "InsufficientCapabilitiesException",
            "Requires capabilities : [CAPABILITY_IAM]"
        )
    );
    let tags = [("aws:x".to_owned(), "y".to_owned())].into();
    assert_eq!(
        refused(
            &mut lab,
            CreateStack {
                tags,
                ..create("test", OVERLAP, &[])
            }
        )
        .0,
        "ValidationError"
    );
    assert_eq!(lab.region.revision().0, 0, "nothing was made");
    // Deleting what is not there is no error.
    lab.run(DeleteStack {
        stack: "nobody".to_owned(),
        retain: Vec::new(),
    });
    let id = lab.run(CreateStack {
        client_token: Some("t".to_owned()),
        ..create("test", OVERLAP, &[])
    });
    assert_eq!(
        lab.run(CreateStack {
            client_token: Some("t".to_owned()),
            ..create("test", OVERLAP, &[])
        }),
        id
    );
    let protected = CreateStack {
        termination_protection: true,
        ..create("kept", CDK[1].1, &[])
    };
    let id = lab.run(protected);
    lab.settle(id);
    let e = lab
        .try_run(DeleteStack {
            stack: "kept".to_owned(),
            retain: Vec::new(),
        })
        .unwrap_err();
    assert_eq!(
        e.message,
        "Stack [kept] cannot be deleted while TerminationProtection is enabled"
    );
}
