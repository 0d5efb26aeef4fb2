use super::launch::*;
use super::*;
use crate::fixture::Lab;
use crate::instance::attribute::{Change, ModifyInstanceAttribute};
use crate::network_interface::{CreateNetworkInterface, NewInterface};
use crate::security_group::GroupRef;
use crate::tick::Tick;
use crate::vpc::CreateDefaultVpc;
use atoll_model::{ImageId, Subnet, SubnetId, Tags, Vpc};

fn launch(subnet: SubnetId) -> RunInstances {
    RunInstances {
        subnet: Some(subnet),
        ..RunInstances::new(ImageId::new(1))
    }
}

fn new_interface(device_index: u8, subnet: SubnetId) -> LaunchInterface {
    LaunchInterface {
        device_index,
        delete_on_termination: None,
        interface: LaunchInterfaceKind::New(LaunchNew {
            subnet: Some(subnet),
            ..LaunchNew::default()
        }),
    }
}

fn terminate(id: InstanceId) -> TerminateInstances {
    TerminateInstances { ids: vec![id] }
}

#[test]
fn an_instance_goes_through_its_life_as_the_host_sees_it() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let made = lab.run(launch(subnet));
    let id = made.instances[0].id;
    use InstanceState::*;
    assert_eq!(lab.state(id), Pending);
    lab.observe(id, Running);
    let change = lab.run(StopInstances { ids: vec![id, id] });
    assert_eq!(
        change,
        [StateChange {
            id,
            previous: Running,
            current: Stopping
        }]
    );
    // A late word of the host changes nothing.
    lab.observe(id, Running);
    assert_eq!(lab.state(id), Stopping);
    assert_eq!(
        lab.refused(StartInstances { ids: vec![id] }),
        "IncorrectInstanceState"
    );
    lab.observe(id, Stopped);
    assert_eq!(lab.state(id), Stopped);
    assert_eq!(
        lab.refused(RebootInstances { ids: vec![id] }),
        "IncorrectInstanceState"
    );
    assert!(
        lab.get::<Instance>(id)
            .transition_reason
            .starts_with("User initiated (20")
    );
    lab.run(StartInstances { ids: vec![id] });
    lab.observe(id, Running);
    lab.run(RebootInstances { ids: vec![id] });
    assert_eq!((lab.state(id), lab.get::<Instance>(id).boots), (Running, 3));
    let address = lab.primary(id).primary_ip();
    lab.run(terminate(id));
    assert_eq!(lab.state(id), ShuttingDown);
    assert_eq!(lab.primary(id).primary_ip(), address);
    lab.observe(id, Terminated);
    assert_eq!(lab.state(id), Terminated);
    assert_eq!(lab.region.addresses_in(subnet).count(), 0);
    lab.run(terminate(id));
    assert_eq!(
        lab.refused(StopInstances { ids: vec![id] }),
        "IncorrectInstanceState"
    );
    // It is listed for about an hour.
    lab.run(Tick);
    assert_eq!(lab.state(id), Terminated);
    lab.now = lab.now.plus_millis(crate::tick::LISTED_MILLIS);
    lab.run(Tick);
    assert_eq!(lab.refused(terminate(id)), "InvalidInstanceID.NotFound");
}

#[test]
fn what_ends_by_itself_stops_or_terminates_and_what_never_ran_is_gone() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let stops = lab.instance(subnet, |_| {});
    let ends = lab.instance(subnet, |launch| {
        launch.shutdown_behavior = ShutdownBehavior::Terminate
    });
    for id in [stops, ends] {
        lab.observe(id, InstanceState::Stopped);
    }
    assert_eq!(lab.state(stops), InstanceState::Stopped);
    assert_eq!(lab.state(ends), InstanceState::Terminated);
    let code = |lab: &Lab, id| lab.get::<Instance>(id).state_reason.clone().unwrap();
    assert_eq!(code(&lab, stops).0, "Client.InstanceInitiatedShutdown");
    let never = lab.run(launch(subnet)).instances[0].id;
    lab.run(InstanceObserved {
        id: never,
        state: InstanceState::Stopped,
        user_data_run: None,
        failure: Some("no sandbox".into()),
    });
    assert_eq!(lab.state(never), InstanceState::Terminated);
    assert_eq!(
        code(&lab, never).1,
        "Server.InternalError: Internal error on launch: no sandbox"
    );
    let nobody = InstanceObserved {
        id: InstanceId::new(1),
        state: InstanceState::Running,
        user_data_run: None,
        failure: None,
    };
    assert_eq!(lab.run(nobody), None);
}

#[test]
fn protected_instances_are_neither_stopped_nor_terminated_and_neither_are_those_named_with_them() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let free = lab.instance(subnet, |_| {});
    let kept = lab.instance(subnet, |launch| {
        launch.disable_api_termination = true;
        launch.disable_api_stop = true;
    });
    let both = vec![free, kept];
    assert_eq!(
        lab.refused(TerminateInstances { ids: both.clone() }),
        "OperationNotPermitted"
    );
    assert_eq!(lab.refused(StopInstances { ids: both }), "OperationNotPermitted");
    assert_eq!(lab.state(free), InstanceState::Running);
    let modify = |change| ModifyInstanceAttribute { id: kept, change };
    lab.run(modify(Change::DisableApiTermination(false)));
    lab.run(terminate(kept));
    assert_eq!(
        lab.refused(modify(Change::DisableApiStop(false))),
        "IncorrectInstanceState"
    );
}

#[test]
fn as_many_are_launched_as_there_is_room_for_but_not_less_than_the_minimum() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/28", "a");
    let many = |min_count, max_count| RunInstances {
        min_count,
        max_count,
        ..launch(subnet)
    };
    let too_many = lab.try_run(many(12, 13)).unwrap_err();
    assert_eq!(
        (too_many.code, too_many.message),
        (
            "InsufficientFreeAddressesInSubnet",
            format!(
                "The subnet '{subnet}' does not have enough free addresses to satisfy the request for 12 instances: there is \
                 room for 11."
            )
        )
    );
    assert_eq!(lab.refused(many(0, 1)), "InvalidParameterValue");
    assert_eq!(lab.refused(many(2, 1)), "InvalidParameterCombination");
    let made = lab.run(many(1, 20));
    assert_eq!(made.instances.len(), 11);
    let indexes: Vec<_> = made.instances.iter().map(|i| i.launch_index).collect();
    assert_eq!(indexes, (0..11).collect::<Vec<_>>());
    assert!(made.instances.iter().all(|i| i.reservation == made.id));
    assert_eq!(lab.region.addresses_in(subnet).count(), 11);
    // What fits into one delta: 128 rows.
    let wide = lab.subnet(vpc, "10.0.2.0/24", "a");
    let hundred = |min_count| RunInstances {
        min_count,
        max_count: 100,
        ..launch(wide)
    };
    assert_eq!(lab.refused(hundred(65)), "InstanceLimitExceeded");
    assert_eq!(lab.run(hundred(1)).instances.len(), 64);
}

#[test]
fn the_same_token_is_the_same_launch() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let tokened = |instance_type: &str| RunInstances {
        client_token: Some("token".into()),
        instance_type: Some(instance_type.into()),
        min_count: 3,
        max_count: 3,
        ..launch(subnet)
    };
    let first = lab.run(tokened("t3.micro"));
    assert_eq!(lab.run(tokened("t3.micro")), first);
    assert_eq!(lab.refused(tokened("t3.small")), "IdempotentParameterMismatch");
}

#[test]
fn without_a_subnet_it_is_the_default_one_of_the_zone() {
    let mut lab = Lab::new();
    let anywhere = RunInstances::new(ImageId::new(1));
    assert_eq!(lab.refused(anywhere.clone()), "VPCIdNotSpecified");
    let vpc = lab.run(CreateDefaultVpc);
    let made = lab.run(anywhere.clone()).instances.remove(0);
    assert_eq!((made.vpc, made.zone.to_string().as_str()), (vpc, "us-east-1a"));
    let zone = "us-east-1c".parse().unwrap();
    let there = RunInstances {
        zone: Some(zone),
        groups: vec![GroupRef::Name("default".into())],
        ..anywhere.clone()
    };
    let made = lab.run(there.clone()).instances.remove(0);
    assert_eq!(lab.get::<Subnet>(made.subnet).zone, zone);
    let eni = lab.primary(made.id);
    assert_eq!(eni.groups, [lab.get::<Vpc>(vpc).default_security_group]);
    // The default subnet gives public addresses.
    assert!(eni.private_addresses[0].public.is_some());
    let named = RunInstances {
        subnet: Some(made.subnet),
        ..there
    };
    assert_eq!(lab.refused(named), "InvalidParameterCombination");
    let other_zone = RunInstances {
        subnet: Some(made.subnet),
        zone: Some("us-east-1d".parse().unwrap()),
        ..anywhere
    };
    assert_eq!(lab.refused(other_zone), "InvalidParameterValue");
}

#[test]
fn interfaces_of_a_launch_are_made_or_taken_and_lie_in_one_zone() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(true);
    let (a, b) = (
        lab.subnet(vpc, "10.0.1.0/24", "a"),
        lab.subnet(vpc, "10.0.2.0/24", "b"),
    );
    let existing = lab.run(CreateNetworkInterface {
        new: NewInterface::new(a),
        client_token: None,
    });
    let with = |interfaces: Vec<LaunchInterface>| RunInstances {
        interfaces,
        instance_type: Some("t3.small".into()),
        ..RunInstances::new(ImageId::new(1))
    };
    let take = |device_index, goes| LaunchInterface {
        device_index,
        delete_on_termination: goes,
        interface: LaunchInterfaceKind::Existing(existing.id),
    };
    assert_eq!(
        lab.refused(with(vec![take(0, Some(true))])),
        "InvalidParameterCombination"
    );
    assert_eq!(lab.refused(with(vec![take(1, None)])), "InvalidParameterValue");
    assert_eq!(
        lab.refused(with(vec![new_interface(0, a), new_interface(1, b)])),
        "InvalidParameterCombination"
    );
    assert_eq!(
        lab.refused(with(vec![new_interface(0, a), new_interface(0, a)])),
        "InvalidParameterValue"
    );
    let four = (0..4).map(|i| new_interface(i, a)).collect();
    assert_eq!(lab.refused(with(four)), "AttachmentLimitExceeded");
    let twice = RunInstances {
        max_count: 2,
        ..with(vec![take(0, None)])
    };
    assert_eq!(lab.refused(twice), "InvalidParameterCombination");
    let both = RunInstances {
        subnet: Some(a),
        ..with(vec![take(0, None)])
    };
    assert_eq!(lab.refused(both), "InvalidParameterCombination");
    let id = lab.run(with(vec![new_interface(1, a), take(0, None)])).instances[0].id;
    let enis = lab.region.enis_of(id);
    assert_eq!(enis[0].id, existing.id);
    let goes = |i: usize| enis[i].attachment.as_ref().unwrap().delete_on_termination;
    assert_eq!((goes(0), goes(1)), (false, true));
    assert_eq!(
        lab.refused(with(vec![take(0, None)])),
        "InvalidNetworkInterface.InUse"
    );
}

#[test]
fn the_public_address_is_the_launchs_to_say_else_the_subnets() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let with = |associate_public| RunInstances {
        interfaces: vec![LaunchInterface {
            device_index: 0,
            delete_on_termination: None,
            interface: LaunchInterfaceKind::New(LaunchNew {
                subnet: Some(subnet),
                associate_public,
                ..LaunchNew::default()
            }),
        }],
        ..RunInstances::new(ImageId::new(1))
    };
    for (map, asked, given) in [
        (false, None, false),
        (false, Some(true), true),
        (true, None, true),
        (true, Some(false), false),
    ] {
        lab.run(move |tx: &mut Transaction| {
            tx.update::<Subnet>(subnet, |subnet| subnet.map_public_ip_on_launch = map)
        });
        let id = lab.run(with(asked)).instances[0].id;
        assert_eq!(
            lab.primary(id).private_addresses[0].public.is_some(),
            given,
            "{map} {asked:?}"
        );
        assert_eq!(lab.get::<Instance>(id).auto_public, given);
    }
}

#[test]
fn user_data_is_a_script_by_its_first_bytes_and_bounded() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let mut with = |data: &[u8]| {
        let command = RunInstances {
            user_data: Some(data.to_vec()),
            ..launch(subnet)
        };
        lab.try_run(command)
            .map(|made| made.instances[0].user_data_run)
            .map_err(|error| error.code)
    };
    assert_eq!(with(b"#!/bin/sh\nexit 0"), Ok(UserDataRun::Pending));
    assert_eq!(with(b"#cloud-config\n"), Ok(UserDataRun::None));
    assert_eq!(with(&vec![b'x'; 16384]), Ok(UserDataRun::None));
    assert_eq!(with(&vec![b'x'; 16385]), Err("InvalidParameterValue"));
}

/// semantics 63
#[test]
fn the_type_is_changed_at_rest_and_only_to_one_that_holds_the_interfaces() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let id = lab.instance(subnet, |launch| {
        launch.subnet = None;
        launch.instance_type = Some("t3.small".into());
        launch.interfaces = (0..3).map(|i| new_interface(i, subnet)).collect();
    });
    let modify = |name: &str| ModifyInstanceAttribute {
        id,
        change: Change::InstanceType(name.into()),
    };
    assert_eq!(lab.refused(modify("m5.large")), "IncorrectInstanceState");
    lab.run(StopInstances { ids: vec![id] });
    lab.observe(id, InstanceState::Stopped);
    lab.run(modify("m5.large"));
    assert_eq!(lab.refused(modify("t3.micro")), "AttachmentLimitExceeded");
    assert_eq!(lab.refused(modify("x9.huge")), "InvalidParameterValue");
    let check = ModifyInstanceAttribute {
        id,
        change: Change::SourceDestCheck(false),
    };
    assert_eq!(lab.refused(check), "InvalidInstanceID");
    assert_eq!(
        lab.refused(RunInstances {
            instance_type: Some("x9.huge".into()),
            ..launch(subnet)
        }),
        "InvalidParameterValue"
    );
}

#[test]
fn tags_go_to_the_instance_and_to_the_interfaces_it_makes() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let tags = |key: &str| Tags::from([(key.to_owned(), "v".to_owned())]);
    let id = lab.instance(subnet, |launch| {
        launch.tags = tags("i");
        launch.interface_tags = tags("e");
    });
    assert_eq!(lab.get::<Instance>(id).tags, tags("i"));
    assert_eq!(lab.primary(id).tags, tags("e"));
}
