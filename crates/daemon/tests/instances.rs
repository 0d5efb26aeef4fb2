//! The instance reconciler's decision, stepped against a simulated host: whatever callers, guests, the host
//! and restarts of the daemon do, and in whatever order, what runs comes to be what the rows want.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use atoll_daemon::reconcile::instance::{Action, Memory, next, wanted};
use atoll_instance::{
    InstanceKind, InstanceReport, InstanceState as Held, PortReport, PortSpec, UserDataStatus,
};
use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::subnet::HostnameType;
use atoll_model::{
    AccountId, Instance, InstanceId, InstanceState, NetworkInterface, RegionName, Subnet, Timestamp,
};
use atoll_region::instance::{RebootInstances, StartInstances, StopInstances, TerminateInstances};
use atoll_region::network_interface::attachment::{AttachNetworkInterface, DetachNetworkInterface};
use atoll_region::network_interface::{CreateNetworkInterface, NewInterface};
use atoll_region::vpc::CreateDefaultVpc;
use atoll_region::{Command, Config, Context, Error, Region, Transaction};
use proptest::prelude::*;

/// A region, a host that does what it is told at once, and what the daemon remembers.
struct World {
    region: Region,
    seed: u64,
    reports: BTreeMap<InstanceId, InstanceReport>,
    ports: BTreeMap<InstanceId, BTreeMap<String, PortSpec>>,
    memories: BTreeMap<InstanceId, Memory>,
    /// The next launches fail.
    broken: bool,
    reboots: u64,
}

impl World {
    fn new(instances: u32) -> Self {
        let region = Region::new(Config::default_for(RegionName::DEFAULT, 0));
        let mut world = World {
            region,
            seed: 0,
            reports: BTreeMap::new(),
            ports: BTreeMap::new(),
            memories: BTreeMap::new(),
            broken: false,
            reboots: 0,
        };
        world.apply(CreateDefaultVpc).unwrap();
        world.apply(launch(instances)).unwrap();
        world
    }

    fn apply<C: Command>(&mut self, command: C) -> Result<C::Reply, Error> {
        self.seed += 1;
        let context = Context {
            account: AccountId::DEFAULT,
            now: Timestamp(self.seed),
            seed: self.seed,
        };
        let applied = self.region.apply(&context, command)?;
        self.region = applied.region;
        Ok(applied.reply)
    }

    fn instances(&self) -> Vec<Instance> {
        self.region.all::<Instance>().map(|row| (**row).clone()).collect()
    }

    /// One step of one instance; whether there was one.
    fn step(&mut self, row: &Instance) -> bool {
        let report = self.reports.get(&row.id).cloned();
        let memory = self.memories.entry(row.id).or_default();
        if report
            .as_ref()
            .is_some_and(|report| report.state == Held::Running)
        {
            (memory.ran, memory.failure) = (true, None);
        }
        let wanted = wanted(&self.region, row);
        let Some(action) = next(&wanted, report.as_ref(), memory) else {
            return false;
        };
        match action {
            Action::Launch if self.broken => memory.failure = Some("the host is broken".into()),
            Action::Launch => {
                assert!(
                    !report.as_ref().is_some_and(|r| r.state == Held::Running),
                    "launched twice"
                );
                (memory.boots, memory.sent) = (Some(row.boots), BTreeMap::new());
                let boots = report.map_or(0, |report| report.boots) + 1;
                self.boot(row.id, boots, wanted.ports);
            }
            Action::Reboot => {
                self.reboots += 1;
                (memory.boots, memory.sent) = (Some(row.boots), BTreeMap::new());
                let ports = self.ports.get(&row.id).unwrap().values().cloned().collect();
                self.boot(row.id, report.unwrap().boots + 1, ports);
            }
            Action::Stop => {
                *memory = Memory {
                    ran: memory.ran,
                    ..Memory::default()
                };
                self.end(row.id, Held::Stopped);
            }
            Action::Terminate => {
                self.reports.remove(&row.id);
                self.ports.remove(&row.id);
            }
            Action::CreatePort(port) => {
                memory.sent.insert(port.id.clone(), port.clone());
                let ports = self.ports.get_mut(&row.id).unwrap();
                assert!(
                    ports
                        .values()
                        .all(|p| p.id != port.id && p.device_index != port.device_index)
                );
                ports.insert(port.id.clone(), port);
                self.show_ports(row.id);
            }
            Action::UpdatePort(port) => {
                memory.sent.insert(port.id.clone(), port.clone());
                assert!(
                    self.ports
                        .get_mut(&row.id)
                        .unwrap()
                        .insert(port.id.clone(), port)
                        .is_some()
                );
            }
            Action::DeletePort(port) => {
                memory.sent.remove(&port);
                self.ports.get_mut(&row.id).unwrap().remove(&port).unwrap();
                self.show_ports(row.id);
            }
            Action::Observe(observed) => {
                if observed.state != InstanceState::Running {
                    (memory.ran, memory.failure) = (false, None);
                }
                let before = self.region.get::<Instance>(row.id).cloned();
                self.apply(observed).unwrap();
                let after = self.region.get::<Instance>(row.id).cloned();
                assert_ne!(
                    before, after,
                    "an observation that says nothing would be made for ever"
                );
            }
        }
        true
    }

    fn boot(&mut self, id: InstanceId, boots: u64, ports: Vec<PortSpec>) {
        let report = InstanceReport {
            id: id.to_string(),
            kind: InstanceKind::Instance,
            state: Held::Running,
            shim_pid: Some(1),
            init_pid: Some(2),
            boot_time: 0,
            boots,
            user_data_status: UserDataStatus::None,
            ports: Vec::new(),
            signals: Vec::new(),
            next_signal: 0,
            problem: None,
            machine: None,
            version: 0,
        };
        self.reports.insert(id, report);
        self.ports.insert(
            id,
            ports.into_iter().map(|port| (port.id.clone(), port)).collect(),
        );
        self.show_ports(id);
    }

    fn end(&mut self, id: InstanceId, state: Held) {
        if let Some(report) = self.reports.get_mut(&id) {
            report.state = state;
            report.ports.clear();
        }
        self.ports.remove(&id);
    }

    fn show_ports(&mut self, id: InstanceId) {
        let ports = self.ports.get(&id).unwrap().values().map(|port| PortReport {
            id: port.id.clone(),
            host_name: port.host_name(),
            host_index: 1,
            guest_name: port.guest_name(),
            mac: port.mac,
            generation: 1,
        });
        self.reports.get_mut(&id).unwrap().ports = ports.collect();
    }

    /// Steps until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let stepped = self.instances().iter().filter(|row| self.step(row)).count();
            if stepped == 0 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self) {
        for row in self.instances() {
            let held = self.reports.get(&row.id).map(|report| report.state.clone());
            match row.state {
                InstanceState::Running => {
                    assert_eq!(held, Some(Held::Running), "{}", row.id);
                    let want = wanted(&self.region, &row).ports;
                    let want: BTreeMap<_, _> = want.into_iter().map(|port| (port.id.clone(), port)).collect();
                    assert_eq!(self.ports.get(&row.id), Some(&want));
                }
                InstanceState::Stopped => assert_ne!(held, Some(Held::Running), "{}", row.id),
                InstanceState::Terminated => assert_eq!(held, None, "{}", row.id),
                passing => panic!("{} rests in {passing:?}", row.id),
            }
        }
    }
}

fn launch(count: u32) -> impl FnOnce(&mut Transaction) -> Result<(), Error> {
    move |tx| {
        let subnet = tx.region().all::<Subnet>().next().unwrap().clone();
        for index in 0..count {
            let id = tx.fresh_id::<Instance>();
            let reservation = tx.fresh();
            tx.put(Instance {
                id,
                owner: tx.account(),
                reservation,
                launch_index: index,
                vpc: subnet.vpc,
                subnet: subnet.id,
                zone: subnet.zone,
                host: None,
                state: InstanceState::Pending,
                state_reason: None,
                transition_reason: String::new(),
                image: "ami-00000000000000001".parse().unwrap(),
                instance_type: "t3.large".into(),
                key_name: None,
                launched: tx.now(),
                boots: 1,
                user_data: None,
                user_data_run: UserDataRun::None,
                disable_api_termination: false,
                disable_api_stop: false,
                shutdown_behavior: if index % 2 == 0 {
                    ShutdownBehavior::Stop
                } else {
                    ShutdownBehavior::Terminate
                },
                iam_instance_profile: None,
                ebs_optimized: false,
                monitoring: false,
                auto_public: false,
                metadata: Default::default(),
                client_token: None,
                terminated: None,
                tags: Default::default(),
            });
            let eni = atoll_region::network_interface::make(tx, NewInterface::new(subnet.id))?;
            let attachment = AttachNetworkInterface {
                eni: eni.id,
                instance: id,
                device_index: 0,
            };
            let made = tx.fresh();
            tx.update::<NetworkInterface>(eni.id, |eni| {
                eni.attachment = Some(atoll_model::network_interface::Attachment {
                    id: made,
                    instance: attachment.instance,
                    device_index: 0,
                    state: atoll_model::network_interface::AttachmentState::Attached,
                    delete_on_termination: true,
                    attached: Timestamp(0),
                });
            })?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Step(usize),
    Start(usize),
    Stop(usize),
    Reboot(usize),
    Terminate(usize),
    Attach(usize),
    Detach(usize),
    GuestEnds(usize),
    DaemonRestarts,
    HostRestarts,
    HostBreaks,
}

fn happen(world: &mut World, happening: Happening) {
    let instances = world.instances();
    let pick = |n: usize| instances[n % instances.len()].clone();
    // Commands may be refused; what they may not do is leave things half-done.
    match happening {
        Happening::Step(n) => drop(world.step(&pick(n))),
        Happening::Start(n) => drop(world.apply(StartInstances {
            ids: vec![pick(n).id],
        })),
        Happening::Stop(n) => drop(world.apply(StopInstances {
            ids: vec![pick(n).id],
        })),
        Happening::Reboot(n) => drop(world.apply(RebootInstances {
            ids: vec![pick(n).id],
        })),
        Happening::Terminate(n) => drop(world.apply(TerminateInstances {
            ids: vec![pick(n).id],
        })),
        Happening::Attach(n) => {
            let row = pick(n);
            let new = CreateNetworkInterface {
                new: NewInterface::new(row.subnet),
                client_token: None,
            };
            let eni = world.apply(new).unwrap().id;
            drop(world.apply(AttachNetworkInterface {
                eni,
                instance: row.id,
                device_index: 1,
            }));
        }
        Happening::Detach(n) => {
            let second = world
                .region
                .enis_of(pick(n).id)
                .get(1)
                .and_then(|eni| eni.attachment.clone());
            if let Some(attachment) = second {
                drop(world.apply(DetachNetworkInterface {
                    attachment: attachment.id,
                }));
            }
        }
        Happening::GuestEnds(n) => {
            let id = pick(n).id;
            if world
                .reports
                .get(&id)
                .is_some_and(|report| report.state == Held::Running)
            {
                world.end(
                    id,
                    Held::Exited {
                        reason: "poweroff".into(),
                    },
                );
            }
        }
        Happening::DaemonRestarts => world.memories.clear(),
        Happening::HostRestarts => {
            world.memories.clear();
            for row in instances {
                world.end(
                    row.id,
                    Held::Exited {
                        reason: "its shim ended unexpectedly".into(),
                    },
                );
            }
        }
        Happening::HostBreaks => world.broken = !world.broken,
    }
}

fn happenings() -> impl Strategy<Value = Happening> {
    let n = 0..3usize;
    prop_oneof![
        6 => n.clone().prop_map(Happening::Step),
        2 => n.clone().prop_map(Happening::Start),
        2 => n.clone().prop_map(Happening::Stop),
        1 => n.clone().prop_map(Happening::Reboot),
        1 => n.clone().prop_map(Happening::Terminate),
        2 => n.clone().prop_map(Happening::Attach),
        2 => n.clone().prop_map(Happening::Detach),
        1 => n.prop_map(Happening::GuestEnds),
        1 => Just(Happening::DaemonRestarts),
        1 => Just(Happening::HostRestarts),
        1 => Just(Happening::HostBreaks),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_runs_comes_to_be_what_the_rows_want(story in prop::collection::vec(happenings(), 0..40)) {
        let mut world = World::new(3);
        for happening in story {
            happen(&mut world, happening);
        }
        world.settle();
        world.check();
        prop_assert!(world.region.index_is_true());
    }
}

#[test]
fn a_reboot_asked_for_while_the_daemon_was_down_is_done_once() {
    let mut world = World::new(1);
    world.settle();
    let id = world.instances()[0].id;
    world.apply(RebootInstances { ids: vec![id] }).unwrap();
    world.memories.clear();
    world.settle();
    world.memories.clear();
    world.settle();
    assert_eq!(world.reboots, 1);
}

#[test]
fn an_instance_that_the_host_took_with_it_is_started_again() {
    let mut world = World::new(2);
    world.settle();
    happen(&mut world, Happening::HostRestarts);
    world.settle();
    for row in world.instances() {
        assert_eq!(row.state, InstanceState::Running);
    }
    world.check();
}

#[test]
fn an_instance_that_powers_itself_off_is_stopped_or_terminated_as_it_says() {
    let mut world = World::new(2);
    world.settle();
    happen(&mut world, Happening::GuestEnds(0));
    happen(&mut world, Happening::GuestEnds(1));
    world.settle();
    let mut ends: Vec<_> = world
        .instances()
        .iter()
        .map(|row| (row.shutdown_behavior, row.state))
        .collect();
    ends.sort_by_key(|(behavior, _)| behavior.to_string());
    let expected = [
        (ShutdownBehavior::Stop, InstanceState::Stopped),
        (ShutdownBehavior::Terminate, InstanceState::Terminated),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn an_instance_that_cannot_start_says_why() {
    let mut world = World::new(1);
    world.broken = true;
    world.settle();
    let row = &world.instances()[0];
    assert_eq!(row.state, InstanceState::Terminated);
    assert!(
        row.state_reason
            .as_ref()
            .unwrap()
            .1
            .contains("the host is broken")
    );
}

#[test]
fn an_instance_has_the_share_of_its_type() {
    let mut world = World::new(1);
    world.settle();
    let mut row = world.instances()[0].clone();
    for (name, share) in [
        ("t3.nano", (2, 512)),
        ("c5.large", (2, 4096)),
        ("t2.micro", (1, 1024)),
    ] {
        row.instance_type = name.to_owned();
        let resources = wanted(&world.region, &row).spec.resources;
        assert_eq!((resources.vcpus, resources.memory_mib), share, "{name}");
        assert_eq!(resources.processes, 1024);
    }
}

#[test]
fn a_port_has_the_subnets_router_and_length() {
    let mut world = World::new(1);
    world.settle();
    let row = &world.instances()[0];
    let wanted = wanted(&world.region, row);
    let subnet = world.region.get::<Subnet>(row.subnet).unwrap();
    let port = &wanted.ports[0];
    assert_eq!(port.mtu, 9001, "semantics 129");
    assert_eq!(
        port.gateway_v4.map(std::net::IpAddr::V4),
        subnet.router_v4(),
        "semantics 54"
    );
    assert_eq!(port.addresses[0].prefix_len, 20, "a default subnet is a /20");
    assert_eq!(port.gateway_v6, None);
    assert_eq!(subnet.hostname_type, HostnameType::IpName);
    assert!(
        wanted.spec.hostname.starts_with("ip-172-31-"),
        "{}",
        wanted.spec.hostname
    );
}
