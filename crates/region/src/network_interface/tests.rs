use super::address::*;
use super::attachment::*;
use super::attribute::{Change, ModifyNetworkInterfaceAttribute};
use super::*;
use crate::elastic_ip::{AddressRef, AllocateAddress, AssociateAddress, AssociateTarget};
use crate::fixture::Lab;
use crate::security_group::CreateSecurityGroup;
use atoll_model::{Instance, InstanceState};

fn create(subnet: SubnetId, change: impl FnOnce(&mut NewInterface)) -> CreateNetworkInterface {
    let mut new = NewInterface::new(subnet);
    change(&mut new);
    CreateNetworkInterface {
        new,
        client_token: None,
    }
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn group(lab: &mut Lab, vpc: VpcId, name: &str) -> SecurityGroupId {
    lab.run(CreateSecurityGroup {
        name: name.into(),
        description: "for a test".into(),
        vpc: Some(vpc),
        tags: Tags::new(),
    })
    .id
}

#[test]
fn a_new_interface_has_an_address_of_its_subnet_an_even_mac_and_the_default_group() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(true);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "b");
    let eni = lab.run(create(subnet, |_| {}));
    assert!(
        lab.get::<Subnet>(subnet)
            .contains(eni.primary_ip().unwrap().into())
    );
    assert_eq!((eni.mac.0[0], eni.mac.0[1] & 1), (0x02, 0));
    assert_eq!(eni.groups, [lab.get::<Vpc>(vpc).default_security_group]);
    assert_eq!(eni.zone.to_string(), "us-east-1b");
    assert_eq!(status(&eni), "available");
    assert!(eni.source_dest_check && eni.ipv6_addresses.is_empty());
    let with_ipv6 = lab.run(create(subnet, |new| new.ipv6_count = Some(2)));
    assert_eq!(with_ipv6.ipv6_addresses.len(), 2);
}

/// semantics 54
#[test]
fn certain_addresses_must_be_the_subnets_free_and_not_reserved() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let mut ask = |primary: &str, secondary: &[&str]| {
        let command = create(subnet, |new| {
            new.primary = Some(ip(primary));
            new.secondary = secondary.iter().map(|s| ip(s)).collect();
        });
        lab.try_run(command).map_err(|error| error.code)
    };
    let invalid = Err("InvalidParameterValue");
    for reserved in [
        "10.0.1.0",
        "10.0.1.1",
        "10.0.1.2",
        "10.0.1.3",
        "10.0.1.255",
        "10.0.2.4",
    ] {
        assert_eq!(ask(reserved, &[]).map(drop), invalid, "{reserved}");
    }
    let made = ask("10.0.1.4", &["10.0.1.254"]).unwrap();
    assert_eq!(made.primary_ip(), Some(ip("10.0.1.4")));
    assert_eq!(ask("10.0.1.254", &[]).map(drop), Err("InvalidIPAddress.InUse"));
    assert_eq!(ask("10.0.1.9", &["10.0.1.9"]).map(drop), invalid);
    assert_eq!(ask("10.0.1.9", &["10.0.1.1"]).map(drop), invalid);
}

#[test]
fn a_subnet_is_given_out_to_its_last_address_and_no_further() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/28", "a");
    // 16 - 5: semantics 54
    lab.run(create(subnet, |new| new.secondary_count = 9));
    assert_eq!(
        lab.refused(create(subnet, |new| new.secondary_count = 1)),
        "InsufficientFreeAddressesInSubnet"
    );
    let last = lab.run(create(subnet, |_| {}));
    assert_eq!(
        lab.refused(create(subnet, |_| {})),
        "InsufficientFreeAddressesInSubnet"
    );
    lab.run(DeleteNetworkInterface { id: last.id });
    assert_eq!(lab.run(create(subnet, |_| {})).primary_ip(), last.primary_ip());
}

#[test]
fn groups_are_the_vpcs_five_at_most() {
    let mut lab = Lab::new();
    let (vpc, other) = (lab.vpc(false), lab.vpc(false));
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let groups: Vec<_> = (0..6).map(|i| group(&mut lab, vpc, &format!("g{i}"))).collect();
    let foreign = group(&mut lab, other, "far");
    let mut with = |groups: &[SecurityGroupId]| {
        let command = create(subnet, |new| new.groups = groups.to_vec());
        lab.try_run(command)
            .map(|eni| eni.groups.len())
            .map_err(|error| error.code)
    };
    assert_eq!(with(&groups[..5]), Ok(5));
    assert_eq!(with(&groups), Err("SecurityGroupsPerInterfaceLimitExceeded"));
    assert_eq!(with(&[groups[0], groups[0]]), Ok(1));
    assert_eq!(with(&[foreign]), Err("InvalidParameter"));
    assert_eq!(with(&[SecurityGroupId::new(1)]), Err("InvalidGroup.NotFound"));
    let eni = lab.run(create(subnet, |_| {})).id;
    let modify = |groups: Vec<SecurityGroupId>| ModifyNetworkInterfaceAttribute {
        eni,
        change: Change::Groups(groups),
    };
    lab.run(modify(vec![groups[1]]));
    assert_eq!(lab.refused(modify(vec![foreign])), "InvalidGroup.NotFound");
    assert_eq!(lab.refused(modify(vec![])), "MissingParameter");
    assert_eq!(lab.get::<NetworkInterface>(eni).groups, [groups[1]]);
}

#[test]
fn a_client_token_makes_one_interface_and_no_other_request_may_use_it() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let tokened = |description: &str| CreateNetworkInterface {
        client_token: Some("t".into()),
        ..create(subnet, |new| new.description = description.into())
    };
    let first = lab.run(tokened("a"));
    assert_eq!(lab.run(tokened("a")).id, first.id);
    assert_eq!(lab.refused(tokened("b")), "IdempotentParameterMismatch");
    lab.run(DeleteNetworkInterface { id: first.id });
    assert_ne!(lab.run(tokened("b")).id, first.id);
    let mut long = tokened("c");
    long.client_token = Some("x".repeat(65));
    assert_eq!(lab.refused(long), "InvalidParameterValue");
}

/// The six key features: a second interface keeps all it has when it moves; the primary one stays (semantics 64).
#[test]
fn an_interface_moves_between_instances_of_its_zone_with_all_it_has() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(true);
    lab.gateway(vpc);
    let (a, b) = (
        lab.subnet(vpc, "10.0.1.0/24", "a"),
        lab.subnet(vpc, "10.0.2.0/24", "b"),
    );
    let (one, two, far) = (
        lab.instance(a, |_| {}),
        lab.instance(a, |_| {}),
        lab.instance(b, |_| {}),
    );
    let groups = vec![group(&mut lab, vpc, "web")];
    let eni = lab.run(create(a, |new| {
        new.secondary_count = 1;
        new.ipv6_count = Some(1);
        new.groups = groups.clone();
    }));
    let eip = lab.run(AllocateAddress::default()).id;
    lab.run(AssociateAddress {
        address: AddressRef::Allocation(eip),
        target: AssociateTarget::NetworkInterface(eni.id),
        private: None,
        allow_reassociation: false,
    });
    let attach = |instance, device_index| AttachNetworkInterface {
        eni: eni.id,
        instance,
        device_index,
    };
    let before = lab.get::<NetworkInterface>(eni.id);
    let first = lab.run(attach(one, 1));
    assert_eq!(lab.refused(attach(two, 1)), "InvalidNetworkInterface.InUse");
    assert_eq!(
        lab.refused(DeleteNetworkInterface { id: eni.id }),
        "InvalidParameterValue"
    );
    lab.run(DetachNetworkInterface { attachment: first });
    assert_eq!(
        lab.refused(DetachNetworkInterface { attachment: first }),
        "InvalidAttachmentID.NotFound"
    );
    assert_eq!(lab.refused(attach(far, 1)), "InvalidParameterCombination");
    assert_eq!(lab.refused(attach(two, 0)), "InvalidParameterValue");
    lab.run(attach(two, 1));
    let after = lab.get::<NetworkInterface>(eni.id);
    assert_eq!(after.attachment.as_ref().unwrap().instance, two);
    let unattached = NetworkInterface {
        attachment: None,
        ..(*after).clone()
    };
    assert_eq!(unattached, *before);
    let primary = lab.primary(two).attachment.as_ref().unwrap().id;
    assert_eq!(
        lab.refused(DetachNetworkInterface { attachment: primary }),
        "OperationNotPermitted"
    );
}

/// semantics 63: t3.micro has two interfaces with two addresses each.
#[test]
fn the_type_limits_interfaces_and_addresses() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(true);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let instance = lab.instance(subnet, |launch| launch.instance_type = Some("t3.micro".into()));
    let attach = |eni, device_index| AttachNetworkInterface {
        eni,
        instance,
        device_index,
    };
    let three = lab.run(create(subnet, |new| new.secondary_count = 2)).id;
    assert_eq!(lab.refused(attach(three, 1)), "PrivateIpAddressLimitExceeded");
    let fitting = lab.run(create(subnet, |new| new.secondary_count = 1)).id;
    assert_eq!(lab.refused(attach(fitting, 2)), "InvalidParameterValue");
    lab.run(attach(fitting, 1));
    let other = lab.run(create(subnet, |_| {})).id;
    assert_eq!(lab.refused(attach(other, 1)), "AttachmentLimitExceeded");
    let assign = |count| AssignPrivateIpAddresses {
        eni: fitting,
        addresses: vec![],
        count,
        allow_reassignment: false,
    };
    assert_eq!(lab.refused(assign(1)), "PrivateIpAddressLimitExceeded");
    let ipv6 = |count| AssignIpv6Addresses {
        eni: fitting,
        addresses: vec![],
        count,
    };
    assert_eq!(lab.run(ipv6(2)).len(), 2);
    assert_eq!(lab.refused(ipv6(1)), "PrivateIpAddressLimitExceeded");
    assert_eq!(
        lab.refused(create(subnet, |new| new.secondary_count = u32::MAX)),
        "PrivateIpAddressLimitExceeded"
    );
}

#[test]
fn a_secondary_address_moves_with_its_elastic_ip_when_that_is_allowed() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    lab.gateway(vpc);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let from = lab.run(create(subnet, |new| new.secondary = vec![ip("10.0.1.10")]));
    let to = lab.run(create(subnet, |_| {})).id;
    let eip = lab.run(AllocateAddress::default()).id;
    lab.run(AssociateAddress {
        address: AddressRef::Allocation(eip),
        target: AssociateTarget::NetworkInterface(from.id),
        private: Some(ip("10.0.1.10")),
        allow_reassociation: false,
    });
    let assign = |address, allow_reassignment| AssignPrivateIpAddresses {
        eni: to,
        addresses: vec![address],
        count: 0,
        allow_reassignment,
    };
    assert_eq!(
        lab.refused(assign(ip("10.0.1.10"), false)),
        "InvalidIPAddress.InUse"
    );
    assert_eq!(
        lab.refused(assign(from.primary_ip().unwrap(), true)),
        "InvalidParameterValue"
    );
    lab.run(assign(ip("10.0.1.10"), true));
    assert_eq!(lab.get::<NetworkInterface>(from.id).private_addresses.len(), 1);
    let association = lab.get::<atoll_model::ElasticIp>(eip).association.unwrap();
    assert_eq!((association.eni, association.private), (to, ip("10.0.1.10")));
    // Taken off, the Elastic IP stays the account's.
    let unassign = |address| UnassignPrivateIpAddresses {
        eni: to,
        addresses: vec![address],
    };
    let primary = lab.get::<NetworkInterface>(to).primary_ip().unwrap();
    assert_eq!(lab.refused(unassign(primary)), "InvalidParameterValue");
    assert_eq!(lab.refused(unassign(ip("10.0.1.77"))), "InvalidParameterValue");
    lab.run(unassign(ip("10.0.1.10")));
    assert_eq!(lab.get::<atoll_model::ElasticIp>(eip).association, None);
}

/// semantics 46
#[test]
fn attributes_are_changed_within_their_ranges() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let eni = lab.run(create(subnet, |_| {})).id;
    let modify = |change| ModifyNetworkInterfaceAttribute { eni, change };
    let tracking = |tcp, stream, udp| {
        Change::ConnectionTracking(ConnectionTracking {
            tcp_established: tcp,
            udp_stream: stream,
            udp_timeout: udp,
        })
    };
    lab.run(modify(tracking(Some(60), Some(60), Some(30))));
    lab.run(modify(tracking(Some(432_000), Some(180), Some(60))));
    for wrong in [
        tracking(Some(59), None, None),
        tracking(Some(432_001), None, None),
        tracking(None, Some(59), None),
        tracking(None, Some(181), None),
        tracking(None, None, Some(29)),
        tracking(None, None, Some(61)),
    ] {
        assert_eq!(lab.refused(modify(wrong)), "InvalidParameterValue");
    }
    lab.run(modify(Change::SourceDestCheck(false)));
    lab.run(modify(Change::Description("d".repeat(255))));
    assert_eq!(
        lab.refused(modify(Change::Description("d".repeat(256)))),
        "InvalidParameterValue"
    );
    let row = lab.get::<NetworkInterface>(eni);
    assert!(!row.source_dest_check && row.connection_tracking.tcp_established == Some(432_000));
    // Not a primary interface.
    assert_eq!(
        lab.refused(modify(Change::AssociatePublicIpAddress(true))),
        "InvalidParameterValue"
    );
    let nobody = atoll_model::AttachmentId::new(1);
    let stay = Change::DeleteOnTermination {
        attachment: nobody,
        value: false,
    };
    assert_eq!(lab.refused(modify(stay)), "InvalidAttachmentID.NotFound");
}

#[test]
fn delete_on_termination_decides_what_goes_with_the_instance() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let instance = lab.instance(subnet, |_| {});
    let primary = lab.primary(instance);
    let second = lab.run(create(subnet, |_| {})).id;
    let attachment = lab.run(AttachNetworkInterface {
        eni: second,
        instance,
        device_index: 1,
    });
    for (eni, attachment, value) in [
        (primary.id, primary.attachment.as_ref().unwrap().id, false),
        (second, attachment, true),
    ] {
        lab.run(ModifyNetworkInterfaceAttribute {
            eni,
            change: Change::DeleteOnTermination { attachment, value },
        });
    }
    lab.run(crate::instance::TerminateInstances { ids: vec![instance] });
    lab.observe(instance, InstanceState::Terminated);
    assert_eq!(lab.get::<Instance>(instance).state, InstanceState::Terminated);
    assert_eq!(lab.get::<NetworkInterface>(primary.id).attachment, None);
    assert!(lab.region.get::<NetworkInterface>(second).is_none());
}

#[test]
fn a_services_interface_is_not_the_callers_to_change() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    lab.gateway(vpc);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let allocation = lab.run(AllocateAddress::default()).id;
    let nat = lab.run(crate::nat_gateway::CreateNatGateway {
        subnet,
        connectivity: atoll_model::nat_gateway::Connectivity::Public,
        allocation: Some(allocation),
        secondary_allocations: vec![],
        private_ip: None,
        secondary_private_ips: vec![],
        secondary_private_ip_count: None,
        client_token: None,
        tags: Tags::new(),
    });
    let eni = lab.get::<atoll_model::NatGateway>(nat).eni.unwrap();
    assert_eq!(status(&lab.get::<NetworkInterface>(eni)), "in-use");
    assert_eq!(
        lab.refused(DeleteNetworkInterface { id: eni }),
        "OperationNotPermitted"
    );
    let modify = ModifyNetworkInterfaceAttribute {
        eni,
        change: Change::SourceDestCheck(true),
    };
    assert_eq!(lab.refused(modify), "OperationNotPermitted");
    let association = lab
        .get::<atoll_model::ElasticIp>(allocation)
        .association
        .unwrap()
        .id;
    assert_eq!(
        lab.refused(crate::elastic_ip::DisassociateAddress {
            association: crate::elastic_ip::AssociationRef::Association(association)
        }),
        "AuthFailure"
    );
}
