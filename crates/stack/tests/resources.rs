//! What resource types do: each noun made by its commands, signals, placeholders.

#![allow(clippy::unwrap_used)]

#[path = "common/lab.rs"]
mod lab;

use atoll_model::instance::UserDataRun;
use atoll_model::stack::StackStatus;
use atoll_model::{Direction, ElasticIp, SecurityGroup};
use atoll_stack::{Recipient, SignalResource, next_deadline};
use lab::Lab;

fn with_policy(count: u32) -> String {
    format!(
        "
Resources:
  V: {{Type: 'AWS::EC2::VPC', Properties: {{CidrBlock: 10.0.0.0/16}}}}
  S: {{Type: 'AWS::EC2::Subnet', Properties: {{VpcId: !Ref V, CidrBlock: 10.0.1.0/24}}}}
  I:
    Type: AWS::EC2::Instance
    CreationPolicy: {{ResourceSignal: {{Count: {count}, Timeout: PT2M}}}}
    Properties: {{ImageId: ami-12345678, SubnetId: !Ref S, UserData: !Base64 \"#!/bin/sh\\ntrue\"}}
"
    )
}

fn signal(unique_id: &str, success: bool) -> SignalResource {
    SignalResource {
        recipient: Recipient::Resource {
            stack: "test".to_owned(),
            logical_id: "I".to_owned(),
        },
        unique_id: unique_id.to_owned(),
        success,
        reason: Some("so".to_owned()),
        data: None,
    }
}

#[test]
fn a_creation_policy_is_satisfied_by_user_data_or_by_signals() {
    let mut lab = Lab::new();
    let id = lab.deploy(&with_policy(1), &[]);
    let note = "I CREATE_IN_PROGRESS: Warning: ami-12345678 is not one of the images here";
    assert!(
        lab.events(id).iter().any(|event| event.starts_with(note)),
        "{:#?}",
        lab.events(id)
    );

    let mut lab = Lab::new();
    lab.user_data = UserDataRun::Running;
    let id = lab.create(&with_policy(2), &[]);
    lab.settle(id);
    assert_eq!(lab.stack(id).status, StackStatus::CreateInProgress);
    lab.run(signal("one", true));
    lab.run(signal("one", true));
    lab.settle(id);
    assert_eq!(
        lab.stack(id).status,
        StackStatus::CreateInProgress,
        "the same signal twice is one"
    );
    lab.run(signal("two", true));
    lab.settle(id);
    assert_eq!(lab.stack(id).status, StackStatus::CreateComplete);
    let e = lab.try_run(signal("three", true)).unwrap_err();
    assert_eq!(
        e.message,
        "Stack test is in CREATE_COMPLETE state and can not be signaled"
    );
}

#[test]
fn a_creation_policy_fails_by_exit_status_by_signal_and_by_time() {
    let failed = |lab: &mut Lab, id| {
        lab.settle(id);
        assert_eq!(lab.stack(id).status, StackStatus::RollbackComplete);
        lab.events(id)
            .into_iter()
            .find(|event| event.starts_with("I CREATE_FAILED"))
            .unwrap()
    };
    let mut lab = Lab::new();
    lab.user_data = UserDataRun::Exited(3);
    let id = lab.create(&with_policy(1), &[]);
    assert!(failed(&mut lab, id).contains("ended with exit status 3"));

    let mut lab = Lab::new();
    lab.user_data = UserDataRun::Running;
    let id = lab.create(&with_policy(1), &[]);
    lab.settle(id);
    lab.run(signal("one", false));
    assert_eq!(
        failed(&mut lab, id),
        "I CREATE_FAILED: Received FAILURE signal with UniqueId one. so"
    );

    let mut lab = Lab::new();
    lab.user_data = UserDataRun::Running;
    let id = lab.create(&with_policy(3), &[]);
    lab.settle(id);
    lab.run(signal("one", true));
    lab.now = next_deadline(&lab.region, id).unwrap();
    let wanted = "I CREATE_FAILED: Failed to receive 2 resource signal(s) within the specified duration";
    assert_eq!(failed(&mut lab, id), wanted);
}

#[test]
fn a_wait_condition_waits_for_its_handle() {
    let template = "
Resources:
  H: {Type: 'AWS::CloudFormation::WaitConditionHandle'}
  W: {Type: 'AWS::CloudFormation::WaitCondition', Properties: {Handle: !Ref H, Timeout: '60', Count: 2}}
Outputs: {Data: {Value: !GetAtt W.Data}}
";
    let mut lab = Lab::new();
    let id = lab.create(template, &[]);
    lab.settle(id);
    let handle = lab.physical(id, "H");
    for unique_id in ["a", "b"] {
        let (recipient, unique_id) = (Recipient::Handle(handle.clone()), unique_id.to_owned());
        lab.run(SignalResource {
            recipient,
            data: Some(format!("from {unique_id}")),
            unique_id,
            success: true,
            reason: None,
        });
    }
    lab.settle(id);
    let stack = lab.stack(id);
    assert_eq!(stack.status, StackStatus::CreateComplete);
    assert_eq!(stack.outputs[0].value, r#"{"a":"from a","b":"from b"}"#);

    let mut lab = Lab::new();
    let id = lab.create(template, &[]);
    lab.settle(id);
    lab.now = lab.now.plus_millis(60_000);
    lab.settle(id);
    assert_eq!(lab.stack(id).status, StackStatus::RollbackComplete);
}

#[test]
fn where_no_instance_runs_anything_signals_are_not_awaited_and_that_is_said() {
    let unawaited = |id: &str| {
        format!(
            "{id} CREATE_IN_PROGRESS: Warning: The data plane is off, so that no user data runs and nothing can signal: the \
             signals that this resource wants were not awaited"
        )
    };
    let mut lab = Lab::without_processes();
    let id = lab.create(&with_policy(2), &[]);
    lab.host = false;
    lab.settle(id);
    assert_eq!(
        lab.stack(id).status,
        StackStatus::CreateInProgress,
        "the instance itself is awaited"
    );
    lab.host = true;
    lab.settle(id);
    assert_eq!(lab.stack(id).status, StackStatus::CreateComplete);
    assert!(lab.events(id).contains(&unawaited("I")), "{:#?}", lab.events(id));

    let template = "
Resources:
  H: {Type: 'AWS::CloudFormation::WaitConditionHandle'}
  W: {Type: 'AWS::CloudFormation::WaitCondition', Properties: {Handle: !Ref H, Timeout: '60', Count: 2}}
  P: {Type: 'AWS::CloudFormation::WaitCondition', CreationPolicy: {ResourceSignal: {Timeout: PT2M}}}
  V: {Type: 'AWS::EC2::VPC', DependsOn: [W, P], Properties: {CidrBlock: 10.0.0.0/16}}
Outputs: {Data: {Value: !GetAtt W.Data}}
";
    let mut lab = Lab::without_processes();
    let id = lab.deploy(template, &[]);
    let events = lab.events(id);
    for waiting in ["W", "P"] {
        assert!(events.contains(&unawaited(waiting)), "{events:#?}");
    }
    assert_eq!(lab.stack(id).outputs[0].value, "{}");
    assert_eq!(
        events.iter().filter(|event| event.contains("Warning")).count(),
        2,
        "{events:#?}"
    );
}

#[test]
fn the_default_group_is_restricted_in_earnest() {
    let mut lab = Lab::new();
    let id = lab.deploy(include_str!("data/cdk_restricted_default_group.json"), &[]);
    let group = lab
        .all::<SecurityGroup>()
        .into_iter()
        .find(|group| group.name == "default")
        .unwrap();
    assert_eq!(group.rules.len(), 0);
    let warned = |event: &String| event.ends_with("Warning: This resource is not in effect");
    assert_eq!(lab.events(id).iter().filter(|event| warned(event)).count(), 3);
}

#[test]
fn outbound_rules_of_a_template_replace_the_one_that_a_group_is_made_with() {
    let template = "
Resources:
  V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}
  Open: {Type: 'AWS::EC2::SecurityGroup', Properties: {VpcId: !Ref V, GroupDescription: x, SecurityGroupEgress: []}}
  Inline:
    Type: AWS::EC2::SecurityGroup
    Properties:
      VpcId: !Ref V
      GroupDescription: x
      SecurityGroupEgress: [{IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 0.0.0.0/0}]
  Apart: {Type: 'AWS::EC2::SecurityGroup', Properties: {VpcId: !Ref V, GroupDescription: x}}
  All: {Type: 'AWS::EC2::SecurityGroupEgress', Properties: {GroupId: !Ref Apart, IpProtocol: -1, CidrIp: 0.0.0.0/0, Description: mine}}
  Dns: {Type: 'AWS::EC2::SecurityGroupEgress', Properties: {GroupId: !Ref Apart, IpProtocol: udp, FromPort: 53, ToPort: 53, DestinationSecurityGroupId: !Ref Open}}
";
    let mut lab = Lab::new();
    let id = lab.deploy(template, &[]);
    let egress = |logical_id: &str| -> Vec<Option<String>> {
        let group = lab.physical(id, logical_id).parse().unwrap();
        let group = lab.region.get::<SecurityGroup>(group).unwrap();
        group
            .rules_of(Direction::Egress)
            .map(|(_, rule)| rule.description.clone())
            .collect()
    };
    assert_eq!(egress("Open"), [None]);
    assert_eq!(egress("Inline").len(), 1);
    let mut apart = egress("Apart");
    apart.sort();
    assert_eq!(apart, [None, Some("mine".to_owned())]);
}

#[test]
fn every_noun_of_a_template_is_made() {
    let template = "
Resources:
  V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}
  Second: {Type: 'AWS::EC2::VPCCidrBlock', Properties: {VpcId: !Ref V, CidrBlock: 10.1.0.0/16}}
  Six: {Type: 'AWS::EC2::VPCCidrBlock', Properties: {VpcId: !Ref V, AmazonProvidedIpv6CidrBlock: true}}
  S: {Type: 'AWS::EC2::Subnet', DependsOn: Second, Properties: {VpcId: !Ref V, CidrBlock: 10.1.1.0/24, AvailabilityZoneId: use1-az2}}
  SixOfS:
    Type: AWS::EC2::SubnetCidrBlock
    DependsOn: Six
    Properties: {SubnetId: !Ref S, Ipv6CidrBlock: !Select [3, !Cidr [!Select [0, !GetAtt V.Ipv6CidrBlocks], 8, 64]]}
  Igw: {Type: 'AWS::EC2::InternetGateway'}
  Attached: {Type: 'AWS::EC2::VPCGatewayAttachment', Properties: {VpcId: !Ref V, InternetGatewayId: !Ref Igw}}
  Eigw: {Type: 'AWS::EC2::EgressOnlyInternetGateway', Properties: {VpcId: !Ref V}}
  Table: {Type: 'AWS::EC2::RouteTable', Properties: {VpcId: !Ref V}}
  Out: {Type: 'AWS::EC2::Route', Properties: {RouteTableId: !Ref Table, DestinationCidrBlock: 0.0.0.0/0, GatewayId: !Ref Igw}}
  OutSix: {Type: 'AWS::EC2::Route', DependsOn: Six, Properties: {RouteTableId: !Ref Table, DestinationIpv6CidrBlock: '::/0', EgressOnlyInternetGatewayId: !Ref Eigw}}
  Through: {Type: 'AWS::EC2::Route', Properties: {RouteTableId: !Ref Table, DestinationCidrBlock: 192.168.0.0/16, NetworkInterfaceId: !Ref Eni}}
  Uses: {Type: 'AWS::EC2::SubnetRouteTableAssociation', Properties: {RouteTableId: !Ref Table, SubnetId: !Ref S}}
  Acl: {Type: 'AWS::EC2::NetworkAcl', Properties: {VpcId: !Ref V}}
  Http: {Type: 'AWS::EC2::NetworkAclEntry', Properties: {NetworkAclId: !Ref Acl, RuleNumber: 100, Protocol: 6, RuleAction: allow, CidrBlock: 0.0.0.0/0, PortRange: {From: 80, To: 80}}}
  Ping: {Type: 'AWS::EC2::NetworkAclEntry', Properties: {NetworkAclId: !Ref Acl, RuleNumber: '110', Egress: true, Protocol: '1', RuleAction: Deny, CidrBlock: 10.0.0.0/8, Icmp: {Type: 8, Code: -1}}}
  InAcl: {Type: 'AWS::EC2::SubnetNetworkAclAssociation', Properties: {NetworkAclId: !Ref Acl, SubnetId: !Ref S}}
  G: {Type: 'AWS::EC2::SecurityGroup', Properties: {VpcId: !Ref V, GroupDescription: x}}
  Self: {Type: 'AWS::EC2::SecurityGroupIngress', Properties: {GroupId: !Ref G, IpProtocol: '-1', SourceSecurityGroupId: !Ref G}}
  Eni:
    Type: AWS::EC2::NetworkInterface
    DependsOn: SixOfS
    Properties:
      SubnetId: !Ref S
      GroupSet: [!Ref G]
      SourceDestCheck: false
      Ipv6AddressCount: 1
      PrivateIpAddresses: [{PrivateIpAddress: 10.1.1.20, Primary: true}, {PrivateIpAddress: 10.1.1.21, Primary: false}]
  I: {Type: 'AWS::EC2::Instance', Properties: {ImageId: ami-12345678, InstanceType: t3.small, NetworkInterfaces: [{DeviceIndex: '0', SubnetId: !Ref S, GroupSet: [!Ref G]}]}}
  Plugged: {Type: 'AWS::EC2::NetworkInterfaceAttachment', Properties: {InstanceId: !Ref I, NetworkInterfaceId: !Ref Eni, DeviceIndex: '1', DeleteOnTermination: false}}
  Ip: {Type: 'AWS::EC2::EIP'}
  Stands: {Type: 'AWS::EC2::EIPAssociation', Properties: {AllocationId: !GetAtt Ip.AllocationId, NetworkInterfaceId: !Ref Eni, PrivateIpAddress: 10.1.1.21}}
  Nat: {Type: 'AWS::EC2::NatGateway', Properties: {SubnetId: !Ref S, ConnectivityType: private}}
  Key: {Type: 'AWS::EC2::KeyPair', Properties: {KeyName: mine}}
  Options: {Type: 'AWS::EC2::DHCPOptions', Properties: {DomainName: example.org}}
  WithOptions: {Type: 'AWS::EC2::VPCDHCPOptionsAssociation', Properties: {VpcId: !Ref V, DhcpOptionsId: !Ref Options}}
  Role: {Type: 'AWS::IAM::Role', Properties: {AssumeRolePolicyDocument: {}}}
Outputs:
  Secondary: {Value: !Select [0, !GetAtt Eni.SecondaryPrivateIpAddresses]}
  Six: {Value: !GetAtt Eni.PrimaryIpv6Address}
  Zone: {Value: !GetAtt I.AvailabilityZone}
  NatEni: {Value: !GetAtt Nat.EniId}
  Out: {Value: !Ref Out}
  Role: {Value: !GetAtt Role.Arn}
  Acl: {Value: !GetAtt S.NetworkAclAssociationId}
";
    let mut lab = Lab::new();
    let id = lab.deploy(template, &[]);
    let stack = lab.stack(id);
    let output = |key: &str| {
        stack
            .outputs
            .iter()
            .find(|output| output.key == key)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(output("Secondary"), "10.1.1.21");
    assert_eq!(output("Zone"), "us-east-1b");
    assert!(output("Six").starts_with("2001:db8:1"), "{}", output("Six"));
    assert!(output("NatEni").starts_with("eni-"));
    assert_eq!(output("Out"), format!("{}|0.0.0.0/0", lab.physical(id, "Table")));
    assert!(output("Role").starts_with("arn:aws:iam::123456789012:role/test-Role-"));
    assert_eq!(output("Acl"), lab.physical(id, "InAcl"));
    let eip = &lab.all::<ElasticIp>()[0];
    assert_eq!(eip.association.unwrap().private.to_string(), "10.1.1.21");
    assert_eq!(lab.physical(id, "Ip"), eip.public.to_string());
    lab.delete(id);
    lab.ends(id, StackStatus::DeleteComplete);
    assert_eq!(lab.left(), []);
}
